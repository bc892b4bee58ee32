"""Defects once found, each with the program that showed it."""

import gc
import os

import numpy as np
import pytest
import runtime as ort
from doubles import Choosy, Failing
from models import FLOAT, INT64, model, node
from onnx import TensorProto, helper
from runtime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument


def session(proto, **keywords):
    return ort.InferenceSession(proto.SerializeToString(), **keywords)


def test_dims_of_one_name_need_not_have_one_size():
    swapped = model(
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "order"], ["t"]),
            node("Reshape", ["x", "t"], ["y"]),
        ],
        {"x": (FLOAT, ["?", "?"])},
        {"y": (FLOAT, None)},
        {"order": np.array([1, 0])},
    )
    made = session(swapped)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert made.run(None, {"x": x})[0].shape == (3, 2)
    assert made.run(None, {"x": x[:, :2]})[0].shape == (2, 2)
    assert made.run(None, {"x": x})[0].shape == (3, 2)


def test_equal_names_of_two_inputs_are_compared_too():
    same = model(
        [
            node("Shape", ["x"], ["a"]),
            node("Shape", ["y"], ["b"]),
            node("Equal", ["a", "b"], ["e"]),
        ],
        {"x": (FLOAT, ["batch"]), "y": (FLOAT, ["batch"])},
        {"e": (TensorProto.BOOL, [1])},
    )
    made = session(same)
    one, two = np.ones(1, np.float32), np.ones(2, np.float32)
    assert made.run(None, {"x": one, "y": one})[0].tolist() == [True]
    assert made.run(None, {"x": one, "y": two})[0].tolist() == [False]


def test_a_symbol_declared_for_a_result_is_no_fact():
    claimed = model(
        [
            node("NonZero", ["x"], ["z"]),
            node("Shape", ["z"], ["s"]),
            node("Shape", ["x"], ["t"]),
            node("Slice", ["s", "one", "two"], ["n"]),
            node("Equal", ["n", "t"], ["e"]),
        ],
        {"x": (FLOAT, ["n"])},
        {"e": (TensorProto.BOOL, [1])},
        {"one": np.array([1]), "two": np.array([2])},
    )
    claimed.graph.value_info.append(
        helper.make_tensor_value_info("z", TensorProto.INT64, [1, "n"])
    )
    x = np.array([1, 0, 2], np.float32)
    assert session(claimed).run(None, {"x": x})[0].tolist() == [False]


def test_small_weights_of_another_file_are_never_returned(tmp_path):
    kept = []
    for index in range(12):
        values = np.full((64, 128), index % 7, np.float32)
        tensor = helper.make_tensor("w", TensorProto.INT4, [64, 128], values.ravel())
        proto = model(
            [node("DequantizeLinear", ["w", "s"], ["y"])],
            {"s": (FLOAT, [])},
            {"y": (FLOAT, [64, 128])},
            opset=21,
        )
        proto.graph.initializer.append(tensor)
        path = tmp_path / f"m{index}.onnx"
        path.write_bytes(proto.SerializeToString())
        made = ort.InferenceSession(path)
        kept.append(made)
        (got,) = made.run(None, {"s": np.float32(1)})
        assert (got == index % 7).all()


def test_lowering_inside_a_failed_partition_leaves_its_neighbours_whole(registered):
    first = Failing("FirstExecutionProvider", "compile", ["LayerNormalization"])
    body = """Abs Add Cast Constant Div Identity Mul ReduceMean Reshape Sqrt Sub Shape Size
    Slice Concat Flatten Reciprocal Pow Mod ConstantOfShape Unsqueeze Sum"""
    second = Choosy("SecondExecutionProvider", body.split())
    rng = np.random.default_rng(0)
    proto = model(
        [
            node("Neg", ["x"], ["n"]),
            node("LayerNormalization", ["n", "g"], ["l"]),
            node("Gemm", ["x", "w", "l"], ["y"]),
        ],
        {"x": (FLOAT, [4, 8])},
        {"y": (FLOAT, [4, 8])},
        {
            "g": np.ones(8, np.float32),
            "w": rng.standard_normal((8, 8)).astype(np.float32),
        },
    )
    feed = {"x": rng.standard_normal((4, 8)).astype(np.float32)}
    want = session(proto).run(None, feed)[0]
    registered(first, second)
    names = ["FirstExecutionProvider", "SecondExecutionProvider"]
    with pytest.warns(ort.FallbackWarning):
        made = session(proto, providers=names)
    np.testing.assert_allclose(made.run(None, feed)[0], want, rtol=1e-4, atol=1e-5)


def test_writing_the_models_file_anew_leaves_live_sessions_alone(tmp_path):
    def scaled(factor):
        weights = np.full(4096, factor, np.float32)
        return model(
            [node("Mul", ["x", "w"], ["y"])],
            {"x": (FLOAT, [4096])},
            {"y": (FLOAT, [4096])},
            {"w": weights},
        ).SerializeToString()

    path = tmp_path / "model.onnx"
    path.write_bytes(scaled(2))
    made = ort.InferenceSession(path)
    path.write_bytes(scaled(3)[:100])
    x = np.ones(4096, np.float32)
    assert (made.run(None, {"x": x})[0] == 2).all()


def test_an_initializer_of_an_old_model_cannot_be_fed():
    old = model(
        [node("Mul", ["x", "w"], ["y"])],
        {"x": (FLOAT, [2]), "w": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
        {"w": np.array([1, 2], np.float32)},
        opset=8,
        ir_version=3,
    )
    x = np.ones(2, np.float32)
    with pytest.raises(InvalidArgument, match="Invalid input name: w"):
        session(old).run(None, {"x": x, "w": x})


@pytest.mark.parametrize(
    ("dtype", "value"), [("uint8", 300), ("uint8", -1), ("int8", 200), ("int32", 2**40)]
)
def test_integers_of_a_list_never_wrap(dtype, value):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    proto = model(
        [node("Identity", ["x"], ["y"])], {"x": (kind, [1])}, {"y": (kind, [1])}
    )
    with pytest.raises(InvalidArgument, match="input x"):
        session(proto).run(None, {"x": [value]})


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_cache_of_links_into_one_folder_is_loaded(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "x"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    proto = model(
        [node("Add", ["x", "w"], ["y"])], {"x": (FLOAT, [4])}, {"y": (FLOAT, [4])}
    )
    tensor = proto.graph.initializer.add(name="w", dims=[4], data_type=FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="model.onnx_data")
    (blobs / "h1").write_bytes(proto.SerializeToString())
    (blobs / "h2").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (snapshot / "model.onnx").symlink_to("../../blobs/h1")
    (snapshot / "model.onnx_data").symlink_to("../../blobs/h2")
    made = ort.InferenceSession(snapshot / "model.onnx")
    assert made.run(None, {"x": np.zeros(4, np.float32)})[0].tolist() == [0, 1, 2, 3]


def test_a_dropped_session_gives_its_weights_back_at_once():
    import weakref

    weights = np.arange(1 << 16, dtype=np.float32)
    proto = model(
        [node("Mul", ["x", "w"], ["y"])],
        {"x": (FLOAT, [1 << 16])},
        {"y": (FLOAT, [1 << 16])},
        {"w": weights},
    )
    gc.disable()
    try:
        made = session(proto)
        made.run(None, {"x": weights})
        seen = weakref.ref(made.graph.initializers["w"].const.numpy())
        del made
        assert seen() is None
    finally:
        gc.enable()


def test_an_island_only_one_provider_can_run_stays_there(registered):
    odd = Choosy("OddExecutionProvider", ["Odd"], flops=1e12, overhead=1e-3)
    registered(odd)
    proto = model(
        [node("Odd", ["x"], ["y"], domain="acme")],
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
        domains={"acme": 1},
    )
    made = session(proto, providers=["OddExecutionProvider"], dry_run=True)
    assert made.explain().counts() == {"OddExecutionProvider": 1}


def pair():
    return session(
        model(
            [node("Neg", ["x"], ["y"]), node("Reshape", ["x", "s"], ["z"])],
            {"x": (FLOAT, [4])},
            {"y": (FLOAT, [4]), "z": (FLOAT, [2, 2])},
            {"s": np.array([2, 2])},
        )
    )


def test_no_bound_output_is_written_when_another_does_not_fit():
    made, good, bad = pair(), np.zeros(4, np.float32), np.zeros(3, np.float32)
    binding = made.io_binding()
    binding.bind_cpu_input("x", np.ones(4, np.float32))
    binding.bind_ortvalue_output("y", ort.OrtValue.ortvalue_from_numpy(good))
    binding.bind_ortvalue_output("z", ort.OrtValue.ortvalue_from_numpy(bad))
    with pytest.raises(RuntimeError, match="shape"):
        made.run_with_iobinding(binding)
    assert not good.any()


def test_an_output_bound_to_an_inputs_memory_leaves_other_outputs_right():
    made, x = pair(), np.arange(1, 5, dtype=np.float32)
    binding = made.io_binding()
    value = ort.OrtValue.ortvalue_from_numpy(x)
    binding.bind_ortvalue_input("x", value)
    binding.bind_ortvalue_output("y", value)
    binding.bind_output("z")
    made.run_with_iobinding(binding)
    y, z = binding.copy_outputs_to_cpu()
    assert y.tolist() == [-1, -2, -3, -4]
    assert z.tolist() == [[1, 2], [3, 4]]


def test_sequences_given_back_share_nothing_with_what_was_fed():
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, [2]))
    proto = model([node("Identity", ["s"], ["t"])], {}, {})
    proto.graph.input.append(helper.make_value_info("s", kind))
    proto.graph.output.append(helper.make_value_info("t", kind))
    x = np.ones(2, np.float32)
    ((got,),) = session(proto).run(None, {"s": [x]})
    assert not np.shares_memory(got, x)


def test_objects_fed_as_strings_become_strings():
    text = TensorProto.STRING
    proto = model(
        [node("Identity", ["x"], ["y"])], {"x": (text, [2])}, {"y": (text, [2])}
    )
    (got,) = session(proto).run(None, {"x": np.array([1, None], object)})
    assert got.tolist() == ["1", "None"]
    assert [type(item) for item in got] == [str, str]


def test_a_contradicting_output_type_is_refused_when_the_model_is_loaded():
    proto = model(
        [node("Shape", ["x"], ["y"])], {"x": (FLOAT, [2])}, {"y": (FLOAT, [1])}
    )
    with pytest.raises(Fail, match="Type Error"):
        session(proto)


def test_nodes_of_a_domain_that_is_not_imported_are_read():
    proto = model(
        [node("Gelu", ["x"], ["y"], domain="com.microsoft")],
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
    )
    (got,) = session(proto).run(None, {"x": np.zeros(2, np.float32)})
    assert got.tolist() == [0, 0]


def test_bad_data_on_an_earlier_provider_does_not_pile_up(registered):
    choosy = Choosy("AnyExecutionProvider", ["Gather"])
    registered(choosy)
    proto = model(
        [node("Gather", ["x", "i"], ["y"])],
        {"x": (FLOAT, [3]), "i": (INT64, [1])},
        {"y": (FLOAT, [1])},
    )
    made = session(proto, providers=["AnyExecutionProvider"])
    events = len(made.explain().events)
    feed = {"x": np.ones(3, np.float32), "i": np.array([7])}
    with pytest.warns(ort.FallbackWarning), pytest.raises(RuntimeError):
        made.run(None, feed)
    for _ in range(20):
        with pytest.raises(RuntimeError):
            made.run(None, feed)
    assert len(made.explain().events) == events
    feed["i"] = np.array([2])
    assert made.run(None, feed)[0].tolist() == [1]
    assert made.explain().counts() == {"AnyExecutionProvider": 1}
