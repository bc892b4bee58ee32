"""Operators of com.microsoft against onnxruntime: activations, sums, products."""

import inspect

import numpy as np
import onnx
import pytest
from contrib_peer import Numbers, check, run
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime
from runtime.errors import EngineError
from runtime.model import from_proto
from runtime_ep_cpu.ops import contrib
from runtime_ep_cpu.provider import provider

SEEDS = st.integers(0, 10_000)
TYPES = st.sampled_from([np.float32, np.float16])


def test_every_signature_is_onnxruntimes():
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    schemas = {(s.domain, s.name): s for s in state.get_all_operator_schema()}
    for kernel in contrib.table:
        found = schemas.get((kernel.domain, kernel.op_type))
        found = found or schemas["", kernel.op_type]
        parameters = list(inspect.signature(kernel.function).parameters.values())
        inputs = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
        assert len(inputs) == len(found.inputs), kernel.op_type
        ours = {
            p.name: "required" if p.default is p.empty else p.default
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.name != "call"
        }
        theirs = {name: _default(entry) for name, entry in found.attributes.items()}
        assert ours == theirs, kernel.op_type
        assert kernel.function.__doc__


def test_every_operator_of_onnxruntime_has_a_kernel_or_a_reason():
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    names = {s.name for s in state.get_all_operator_schema() if s.domain == contrib.MS}
    kernels = {kernel.op_type for kernel in contrib.table}
    assert names <= kernels | contrib.REFUSED.keys()
    assert not kernels & contrib.REFUSED.keys()


def test_the_reason_is_told():
    node = onnx.helper.make_node("BeamSearch", ["x"], ["y"], domain=contrib.MS)
    graph = onnx.helper.make_graph(
        [node], "g", [onnx.ValueInfoProto(name="x")], [onnx.ValueInfoProto(name="y")]
    )
    imports = [onnx.helper.make_opsetid(contrib.MS, 1)]
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)
    nodes = list(from_proto(model).graph)
    (refusal,) = provider.get_capability(nodes)
    assert "a whole decoding loop" in refusal.reason


def _default(entry):
    if entry.required:
        return "required"
    proto = onnx.AttributeProto()
    proto.ParseFromString(entry._default_value)
    if not proto.type:
        return None
    value = onnx.helper.get_attribute_value(proto)
    return value.decode() if isinstance(value, bytes) else value


@given(SEEDS, TYPES, st.sampled_from(["Gelu", "QuickGelu", "FastGelu"]))
def test_gelus(seed, dtype, op):
    check(op, [Numbers(seed, dtype).floats(3, 5) * 3])


def gated(gate, up, alpha=1.0, beta=0.0, limit=np.inf):
    gate = np.minimum(gate.astype(np.float64), limit)
    up = np.clip(up.astype(np.float64), -limit, limit)
    return gate / (1 + np.exp(-alpha * gate)) * (up + beta)


@given(SEEDS, TYPES, st.booleans())
def test_swiglu_is_its_formula_with_both_halves_in_one_or_two_inputs(
    seed, dtype, bounded
):
    numbers = Numbers(seed, dtype)
    gate, up = numbers.floats(3, 4) * 3, numbers.floats(3, 4) * 3
    numeric = {"alpha": 1.7, "beta": 1.0} | ({"limit": 2.0} if bounded else {})
    names = {"alpha": "activation_alpha", "beta": "activation_beta", "limit": "limit"}
    attributes = {names[name]: value for name, value in numeric.items()}
    want = gated(gate, up, **numeric)
    for inputs in ([gate, up], [np.concatenate([gate, up], -1)]):
        (got,) = run("SwiGLU", inputs, **attributes)
        assert got.dtype == dtype
        np.testing.assert_allclose(
            got, want, rtol=2e-3 if dtype == np.float16 else 1e-5
        )


def test_swiglu_may_round_its_activation_before_the_product():
    gate, up = np.float16([1.2345]), np.float16([7.891])
    (got,) = run("SwiGLU", [gate, up], round_activation=1)
    rounded = np.float16(gated(gate, np.float16([1])))
    assert got == np.float16(rounded.astype(np.float64) * up)


def test_swiglu_refuses_halves_that_do_not_fit():
    x = np.ones((2, 3), np.float32)
    with pytest.raises(EngineError, match="two halves"):
        run("SwiGLU", [x])
    with pytest.raises(EngineError, match="one shape"):
        run("SwiGLU", [x, x[:, :2]])


@given(SEEDS, TYPES)
def test_gelus_of_sums(seed, dtype):
    numbers = Numbers(seed, dtype)
    x, bias = numbers.floats(2, 3, 4), numbers.floats(4)
    check("BiasGelu", [x, bias])
    check("FastGelu", [x, bias])
    check("QuickGelu", [x], alpha=1.25)


@given(SEEDS, TYPES, st.sampled_from([(2, 3, 4), (1, 3, 4), (3, 4)]), st.booleans())
def test_layers_are_normalized_after_a_sum(seed, dtype, shape, biased):
    numbers = Numbers(seed, dtype)
    x, skip = numbers.floats(2, 3, 4), numbers.floats(*shape)
    gamma, beta = numbers.floats(4), numbers.floats(4)
    bias = numbers.floats(4) if biased else None
    check("SkipLayerNormalization", [x, skip, gamma, beta, bias], epsilon=1e-5)
    check("SkipSimplifiedLayerNormalization", [x, skip, gamma, bias], epsilon=1e-5)


def test_the_sum_and_the_statistics_are_results_too():
    x = np.array([[[1, 3]]], np.float16)
    one = np.ones(2, np.float16)
    y, mean, inverse, total = run(
        "SkipLayerNormalization", [x, x, one, one * 0, one], 4, epsilon=0.0
    )
    assert y.tolist() == [[[-1, 1]]]
    assert total.tolist() == [[[3, 7]]]
    assert (mean.dtype, inverse.dtype) == (np.float32, np.float32)
    assert (mean.item(), inverse.item()) == (5, 0.5)


@given(SEEDS, TYPES, st.sampled_from([-1, 1]))
def test_simplified_normalization_is_onnxruntimes(seed, dtype, axis):
    numbers = Numbers(seed, dtype)
    x, scale = numbers.floats(2, 3, 4), numbers.floats(*([4] if axis < 0 else [3, 4]))
    inputs, attributes = [x, scale], {"axis": axis}
    op = "SimplifiedLayerNormalization"
    want = by_onnxruntime(op, inputs, attributes, 17, "", 2)
    got = run(op, inputs, 2, **attributes)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-2)


@given(SEEDS, TYPES, st.booleans(), st.booleans(), st.sampled_from([0, 1, 2]))
def test_embeddings_are_summed_and_normalized(seed, dtype, masked, segments, places):
    numbers = Numbers(seed, dtype)
    ids = numbers.random.integers(0, 7, (2, 3)).astype(np.int32)
    mask = numbers.random.integers(0, 2, (2, 3)).astype(np.int32) if masked else None
    rows = (places, 3)
    positions = numbers.random.integers(0, 5, rows).astype(np.int32) if places else None
    inputs = [
        ids,
        ids % 2 if segments else None,
        numbers.floats(7, 4),
        numbers.floats(5, 4),
        numbers.floats(2, 4) if segments else None,
        numbers.floats(4),
        numbers.floats(4),
        mask,
        positions,
    ]
    check("EmbedLayerNormalization", inputs, 3)


FLAGS = st.sampled_from([0, 1])


@given(SEEDS, FLAGS, FLAGS, FLAGS, FLAGS)
def test_fused_products_are_transposed_first(seed, a_last, b_last, a_batch, b_batch):
    numbers = Numbers(seed)

    def stored(x, last, batch):
        x = x.swapaxes(-1, -2) if last else x
        return np.ascontiguousarray(np.moveaxis(x, -2, 0) if batch else x)

    a, b = numbers.floats(2, 3, 4, 5), numbers.floats(2, 3, 5, 4)
    inputs = [stored(a, a_last, a_batch), stored(b, b_last, b_batch)]
    flags = {
        "transA": a_last,
        "transB": b_last,
        "transBatchA": a_batch,
        "transBatchB": b_batch,
    }
    check("FusedMatMul", inputs, alpha=0.5, **flags)


ACTIVATIONS = {
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
    "LeakyRelu": (0.25,),
    "HardSigmoid": (0.25, 0.5),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_fused_behind_products_and_convolutions(activation):
    numbers = Numbers(1)
    given_ = ACTIVATIONS[activation]
    names = ("activation_alpha", "activation_beta")
    attributes = dict(zip(names, given_, strict=False))
    a, b, c = numbers.floats(3, 4), numbers.floats(5, 4), numbers.floats(5)
    check("FusedGemm", [a, b, c], transB=1, activation=activation, **attributes)
    attributes = {"activation_params": given_} if given_ else {}
    x, w, b = numbers.floats(1, 4, 5, 5), numbers.floats(4, 4, 3, 3), numbers.floats(4)
    for z in (None, numbers.floats(1, 4, 5, 5)):
        check(
            "FusedConv",
            [x, w, b, z],
            pads=[1, 1, 1, 1],
            activation=activation,
            **attributes,
        )


def test_channels_may_come_last():
    numbers = Numbers(2)
    x, w, b = numbers.floats(2, 6, 5, 4), numbers.floats(3, 2, 2, 4), numbers.floats(3)
    got = run("NhwcConv", [x, w, b], strides=[2, 1])[0]
    inputs = [np.moveaxis(x, -1, 1), np.moveaxis(w, -1, 1), b]
    want = run_node("Conv", inputs, {"strides": [2, 1]})[0]
    np.testing.assert_allclose(got, np.moveaxis(want, 1, -1), rtol=1e-5)


@given(SEEDS)
def test_inverses_and_distances(seed):
    numbers = Numbers(seed)
    x = numbers.floats(2, 3, 3) + 4 * np.eye(3, dtype=np.float32)
    check("Inverse", [x])
    a, b = numbers.floats(4, 3), numbers.floats(5, 3)
    check("CDist", [a, b], metric="euclidean")
    check("CDist", [a, b], metric="sqeuclidean")


def test_old_names_of_standard_operators():
    numbers = Numbers(3)
    x = numbers.floats(2, 3, 4)
    check("Trilu", [x, np.array(-1)], upper=0)
    check("Pad", [x[0], np.array([[1, 0, 0, 2]])], mode="edge")
    check("Pad", [x[0], np.array([1, 0, 0, 2]), np.array([7], np.float32)])
    check("Unique", [np.array([2, 1, 1, 3, 4, 3], np.float32)], 3)


ONES = np.ones((2, 2), np.float32)
SCALE = np.array(1, np.float32)
ZERO = np.array(0, np.uint8)


def ints(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("FusedGemm", [ONES, ONES], {"activation": "Step"}, "no fused activation"),
        ("Inverse", [np.ones((2, 3))], {}, "square matrices"),
        ("Inverse", [np.zeros((2, 2))], {}, "cannot be inverted"),
        ("CDist", [ONES, ONES], {"metric": "cosine"}, "no distance"),
        ("CDist", [ONES, np.ones((2, 3))], {}, "as many columns"),
        ("Unique", [ONES], {}, "takes a vector"),
        ("SkipLayerNormalization", [ONES, ONES[:1], ONES[0]], {}, "skip of shape"),
        ("SkipLayerNormalization", [ONES, ONES, ONES], {}, "gamma"),
        ("QLinearConcat", [SCALE, ZERO, ZERO[None]], {"axis": 0}, "in threes"),
        ("QLinearSigmoid", [ZERO[None], ONES, ZERO, SCALE], {}, "must be one number"),
        (
            "MatMulNBits",
            [ONES, ZERO, ONES],
            {"K": 2, "N": 1, "bits": 3, "block_size": 16},
            "3 bits",
        ),
        (
            "MatMulNBits",
            [ONES, ZERO, ONES],
            {"K": 2, "N": 1, "block_size": 24},
            "power of two",
        ),
        (
            "MatMulNBits",
            [ONES, ZERO, ONES],
            {"K": 3, "N": 1, "block_size": 16},
            "has not K = 3",
        ),
        (
            "GatherBlockQuantized",
            [ZERO.reshape(1, 1), np.zeros(1, np.int64), ONES],
            {"gather_axis": 1},
            "cannot be gathered",
        ),
        (
            "GatherBlockQuantized",
            [np.ones((3, 4), np.int8), np.zeros(1, np.int64), ONES],
            {"block_size": 16},
            "scales of shape",
        ),
        (
            "MatMulNBits",
            [ONES, np.ones((1, 1, 8), np.uint8), ONES[0, :1], None, ints(5, 0)],
            {"K": 2, "N": 1, "block_size": 16},
            "g_idx names a block outside",
        ),
        (
            "EmbedLayerNormalization",
            [ints(1), None, ONES, ONES, None, ONES[0], ONES[0]],
            {},
            "input_ids",
        ),
        (
            "MoE",
            [ONES, ONES, np.ones((2, 2, 2), np.float32), None, ONES[None]],
            {},
            "differ in their number of experts",
        ),
        (
            "QAttention",
            [ZERO[None, None], ZERO, ONES[0], SCALE, SCALE],
            {"num_heads": 1},
            "a matrix",
        ),
        ("SimplifiedLayerNormalization", [ONES, ONES[0]], {"stash_type": 7}, "float"),
    ],
)
def test_what_makes_no_sense_is_refused(op, inputs, attributes, message):
    with pytest.raises(EngineError, match=message):
        run(op, inputs, **attributes)


def test_words_without_an_embedding_are_refused():
    table = np.ones((2, 2), np.float32)
    one = np.ones(2, np.float32)
    inputs = [np.array([[5]], np.int32), None, table, table, None, one, one]
    with pytest.raises(EngineError, match="beyond the 2 embeddings"):
        run("EmbedLayerNormalization", inputs)
