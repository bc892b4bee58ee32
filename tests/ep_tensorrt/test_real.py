"""What nobody could run where this was written: TensorRT itself, on a GPU.

``pytest -m tensorrt tests/ep_tensorrt`` runs it in a few minutes; everything here is
skipped where the provider's probe says that it is not usable.
"""

import numpy as np
import onnx
import pytest
import runtime as ort
from runtime_ep_tensorrt.info import NAME, info
from runtime_ep_tensorrt.operators import OPERATORS
from trt_models import RNG, distance, model
from trt_sessions import CPU, CUDA, alone, opened, placed, programs, share

from benchmarks.zoo import ZOO

found = info.probe()
pytestmark = [
    pytest.mark.tensorrt,
    pytest.mark.skipif(not found.usable, reason=f"{found.reason}; {found.remedy}"),
    pytest.mark.timeout(1800),
]
LIMITS = {"": 5e-3, "trt_fp16_enable": 1e-2, "trt_bf16_enable": 8e-2}
"""Largest errors relative to the largest output; float32 is TF32 on tensor cores."""
CHOOSING = ("NonMaxSuppression",)
"""Operators that make more or fewer rows for the last bit of a number."""
W = RNG.standard_normal((64, 64)).astype(np.float32)
TEXT = "(float[n,64] x) => (float[n,64] y) { a = MatMul(x, w) y = Relu(a) }"
SHAPES = {
    "trt_profile_min_shapes": "x:1x64",
    "trt_profile_opt_shapes": "x:4x64",
    "trt_profile_max_shapes": "x:8x64",
}


def x(rows=4):
    return RNG.standard_normal((rows, 64)).astype(np.float32)


def near(got, want, limit=5e-3):
    assert distance(got, want) < limit


def test_the_parser_takes_what_the_list_says():
    """The list is of one release; what a newer one lacks would be found here."""
    from runtime_ep_tensorrt import adapter

    trt = adapter.opened()._trt
    builder = trt.Builder(adapter.opened()._logger)
    parser = trt.OnnxParser(builder.create_network(0), adapter.opened()._logger)
    lacking = [name for name in OPERATORS if not parser.supports_operator(name)]
    assert not lacking


@pytest.mark.parametrize("option", LIMITS)
@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_model_of_the_zoo_is_near_the_cpu(name, option):
    entry = ZOO[name]
    feed = entry.feeds("tiny", **entry.cases("tiny")[0])
    options = {option: 1} if option else {}
    session = opened(entry.build("tiny"), CUDA, **options)
    assert share(session) >= 0.9, session.explain()
    want = alone(entry.build("tiny")).run(None, feed)
    chosen = any(node.op_type in CHOOSING for node in entry.build("tiny").graph.node)
    for got, wanted in zip(session.run(None, feed), want, strict=True):
        assert got.dtype == wanted.dtype
        assert chosen or got.shape == wanted.shape
        if wanted.dtype.kind == "f" and got.shape == wanted.shape:
            near(got, wanted, LIMITS[option])


def test_profiles_that_are_told_admit_all_shapes_within():
    session = opened(model(TEXT, w=W), **SHAPES)
    for rows in (1, 8, 3):
        given = x(rows)
        near(session.run(None, {"x": given})[0], np.maximum(given @ W, 0))


def test_the_range_grows_with_the_shapes_that_come():
    session = opened(model(TEXT, w=W))
    for rows in (4, 2, 16, 7):
        given = x(rows)
        near(session.run(None, {"x": given})[0], np.maximum(given @ W, 0))


def test_a_second_session_loads_the_engine(tmp_path):
    options = {"trt_engine_cache_enable": 1, "trt_engine_cache_path": str(tmp_path)}
    opened(model(TEXT, w=W), **SHAPES, **options)
    second = opened(model(TEXT, w=W), **SHAPES, **options)
    assert programs(second)[0].facts["source"] == "loaded from the engine cache"
    given = x()
    near(second.run(None, {"x": given})[0], np.maximum(given @ W, 0))


def test_a_timing_cache_is_written_and_taken(tmp_path):
    options = {"trt_timing_cache_enable": 1, "trt_timing_cache_path": str(tmp_path)}
    opened(model(TEXT, w=W), **SHAPES, **options)
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size > 100
    opened(model(TEXT, w=-W), **SHAPES, **options)


@pytest.mark.parametrize(
    "option",
    [
        "trt_engine_hw_compatible",
        "version_compatible",
        "trt_weight_stripped_engine_enable",
        "trt_load_user_initializer",
        "trt_sparsity_enable",
        "trt_detailed_build_log",
        "trt_context_memory_sharing_enable",
    ],
)
def test_an_option_is_taken_and_changes_no_answer(option):
    session = opened(model(TEXT, w=W), **SHAPES, **{option: 1})
    (program,) = programs(session)
    assert program is not None
    given = x()
    near(session.run(None, {"x": given})[0], np.maximum(given @ W, 0))


def test_a_recorded_run_gives_the_same():
    fixed = model(TEXT.replace("n,64", "4,64"), w=W)
    session = opened(fixed, trt_cuda_graph_enable=1)
    source = ort.OrtValue.ortvalue_from_numpy(x(), "cuda", 0)
    room = ort.OrtValue.ortvalue_from_shape_and_type([4, 64], np.float32, "cuda", 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", source)
    binding.bind_ortvalue_output("y", room)
    results = []
    for _ in range(5):
        session.run_with_iobinding(binding)
        results.append(room.numpy())
    for each in results:
        np.testing.assert_array_equal(each, results[0])
    near(results[0], np.maximum(source.numpy() @ W, 0))


def test_outputs_whose_shapes_only_the_run_tells_are_right():
    text = "(float[5,4] x) => (int64[2,k] y) { z = Relu(x) y = NonZero(z) }"
    session = opened(model(text), trt_op_types_to_exclude="")
    given = RNG.standard_normal((5, 4)).astype(np.float32)
    (got,) = session.run(None, {"x": given})
    np.testing.assert_array_equal(got, np.array(np.nonzero(np.maximum(given, 0))))


def test_sizes_that_are_fed_are_followed():
    text = (
        "(float[n,64] x, int64[2] s) => (float[k,m] y) { a = MatMul(x, w)"
        " y = Reshape(a, s) }"
    )
    session = opened(model(text, w=W))
    given = x(4)
    for shape in ([4, 64], [8, 32], [256, 1]):
        (got,) = session.run(None, {"x": given, "s": np.array(shape)})
        near(got, (given @ W).reshape(shape))


def test_eight_bits_are_computed_from_the_models_own_scales():
    text = (
        "(float[4,64] x) => (float[4,64] y) { q = QuantizeLinear(x, s, z)"
        " d = DequantizeLinear(q, s, z) v = DequantizeLinear(i, t)"
        " a = MatMul(d, v) y = Relu(a) }"
    )
    whole = RNG.integers(-127, 127, (64, 64)).astype(np.int8)
    made = model(
        text, i=whole, s=np.array(0.05, np.float32), z=np.array(0, np.int8),
        t=np.array(0.01, np.float32),
    )  # fmt: skip
    session = opened(made, trt_int8_enable=1)
    assert placed(session)
    given = {"x": x()}
    near(session.run(None, given)[0], alone(made).run(None, given)[0], 2e-2)


def test_a_compiled_model_runs_without_building():
    options = ort.SessionOptions()
    options.add_session_config_entry("session.cost_rule", "0")
    options.add_provider(NAME, SHAPES)
    source = model(TEXT, w=W).SerializeToString()
    made = ort.ModelCompiler(options, source).compile_to_bytes()
    kinds = [n.op_type for n in onnx.ModelProto.FromString(made).graph.node]
    assert kinds == ["EPContext"]
    session = ort.InferenceSession(made, providers=[NAME, CPU])
    given = x()
    near(session.run(None, {"x": given})[0], np.maximum(given @ W, 0))


def test_several_threads_run_one_engine():
    from concurrent.futures import ThreadPoolExecutor

    session = opened(model(TEXT, w=W), **SHAPES)
    given = [x(rows) for rows in (1, 2, 4, 8) * 8]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda one: session.run(None, {"x": one})[0], given))
    for one, got in zip(given, results, strict=True):
        near(got, np.maximum(one @ W, 0))
