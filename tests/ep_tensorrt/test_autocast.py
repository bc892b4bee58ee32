"""Subgraphs in halves: what is converted, what stays, and what comes out of it.

float16 is run by onnxruntime's CPU provider. It has no kernels for bfloat16, which is run
by this runtime's.
"""

import json

import ml_dtypes
import numpy as np
import onnx
import pytest
import runtime as ort
from onnx import TensorProto, helper
from runtime.cli import demo_tasks
from runtime_ep_tensorrt.autocast import BF16, FP16, Wishes, autocast
from runtime_ep_tensorrt.carve import carved
from runtime_ep_tensorrt.facts import element_types
from trt_models import RNG, distance, feed, model, whole, zoo
from typed import FLOATS, cancelling, mixtures

from benchmarks.zoo import ZOO

LIMITS = {FP16: 2e-3, BF16: 2e-2}
"""Largest error of a model of the zoo, relative to its largest output."""
DEEPEST = {"detector": 4e-2}
"""In bfloat16: eight bits through sixty convolutions; islands make no difference."""
CRASHING = ("lstm", "lstm_small")
"""onnxruntime 1.32 crashes when it optimises an LSTM of halves."""
EXPORTED = ("raise_attention", "raise_silu")
"""Passes whose operators TensorRT lacks, or takes in other ranks."""


def peer(source: onnx.ModelProto, plain: bool = False):
    """Return an onnxruntime session."""
    other = pytest.importorskip("onnxruntime")
    options = other.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if plain:
        options.graph_optimization_level = other.GraphOptimizationLevel.ORT_DISABLE_ALL
    data, providers = source.SerializeToString(), ["CPUExecutionProvider"]
    return other.InferenceSession(data, options, providers=providers)


def check(source: onnx.ModelProto, made: onnx.ModelProto):
    """Hold what was made to what a strongly typed network is held to."""
    assert not list(mixtures(made))
    assert not cancelling(made)
    for kind in ("input", "output"):
        before, after = getattr(source.graph, kind), getattr(made.graph, kind)
        assert [v.SerializeToString() for v in before] == [
            v.SerializeToString() for v in after
        ]
    read = [name for node in made.graph.node for name in node.input]
    constants = [tensor.name for tensor in made.graph.initializer]
    assert len(set(constants)) == len(constants)
    floats = {t.name for t in made.graph.initializer if t.data_type in FLOATS}
    casts = {n.input[0] for n in made.graph.node if n.op_type == "Cast"}
    assert not casts & floats, "constants are converted, not cast"
    assert set(constants) <= set(read), "none is left that nobody reads"


def names(made, op_type=None):
    """Return the types that nodes make, by the name of the node."""
    types = element_types(made.model)
    return {
        node.name or node.output[0].removesuffix("/half"): types[node.output[0]]
        for node in made.model.graph.node
        if op_type in (None, node.op_type)
    }


# the zoo


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_model_of_the_zoo_in_float16_is_within_tolerance(name):
    source, given = zoo(name), feed(name)
    made = autocast(source, FP16)
    check(source, made.model)
    assert made.halves > 3
    plain = name in CRASHING
    pairs = zip(
        peer(made.model, plain).run(None, given),
        peer(source).run(None, given),
        strict=True,
    )
    assert max(distance(*pair) for pair in pairs) < LIMITS[FP16]


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_carved_model_of_the_zoo_in_bfloat16_is_within_tolerance(name):
    source, given = zoo(name), feed(name)
    part = carved(whole(source.SerializeToString(), disabled_passes=EXPORTED), name)
    assert part.opset_import[0].version == 24, "where convolutions have bfloat16"
    made = autocast(part, BF16)
    check(part, made.model)
    outputs = [value.name for value in source.graph.output]
    sessions = [
        ort.InferenceSession(m.SerializeToString()) for m in (made.model, source)
    ]
    pairs = zip(*(s.run(outputs, given) for s in sessions), strict=True)
    assert max(distance(*pair) for pair in pairs) < DEEPEST.get(name, LIMITS[BF16])


@pytest.mark.parametrize("half", [FP16, BF16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("task", demo_tasks.TASKS, ids=lambda task: task.file)
def test_a_trained_model_loses_at_most_half_a_point(monkeypatch, task, half):
    monkeypatch.setattr(demo_tasks, "DATES", 400)
    source = onnx.load(demo_tasks.FOLDER / task.file)
    facts = {entry.key: entry.value for entry in source.metadata_props}
    if half is BF16:
        domains = {entry.domain for entry in source.opset_import}
        del source.opset_import[:]
        newer = {"": 22, "ai.onnx.ml": 3}
        source.opset_import.extend(helper.make_opsetid(d, newer[d]) for d in domains)
    made = autocast(source, half).model
    check(source, made)
    session = (
        peer(made) if half is FP16 else ort.InferenceSession(made.SerializeToString())
    )
    examples, _ = task.read(session, facts)
    accuracy = sum(example.right for example in examples) / len(examples)
    assert accuracy >= float(facts["accuracy"]) - 0.005
    assert json.loads(facts["labels"])


# what is converted


def test_products_are_in_halves_and_the_ends_keep_their_types():
    w = RNG.standard_normal((4, 4)).astype(np.float32)
    source = model(
        "(float[2,4] x) => (float[2,4] y) { a = MatMul(x, w) b = Relu(a) y = Add(b, a) }",
        w=w,
    )
    made = autocast(source, FP16)
    check(source, made.model)
    kinds = [node.op_type for node in made.model.graph.node]
    assert kinds == ["Cast", "MatMul", "Relu", "Add", "Cast"]
    assert made.halves == 3
    assert made.casts == 2
    assert not made.islands
    (weight,) = made.model.graph.initializer
    assert onnx.numpy_helper.to_array(weight).dtype == np.float16
    assert source.graph.node[0].input[0] == "x", "the source is as it was"


def test_a_value_is_cast_once_for_all_who_read_it():
    source = model(
        "(float[2,4] x) => (float[2,4] y, float[2,4] z)"
        "{ a = Softmax(x) b = Relu(x) c = Add(a, b) y = Pow(c, two) z = Exp(c) }",
        two=np.array(2, np.float32),
    )
    made = autocast(source, FP16)
    check(source, made.model)
    assert sorted(names(made, "Cast")) == ["c/cast", "x/half/cast"]


def test_a_constant_is_kept_in_both_types_where_both_are_read():
    w = RNG.standard_normal((4, 4)).astype(np.float32)
    source = model(
        "(float[4,4] x) => (float[4,4] y) { a = MatMul(x, w) b = Pow(x, w)"
        " y = Add(a, b) }",
        w=w,
    )
    made = autocast(source, FP16)
    check(source, made.model)
    kinds = {tensor.name: tensor.data_type for tensor in made.model.graph.initializer}
    assert kinds == {"w": TensorProto.FLOAT, "w/half": TensorProto.FLOAT16}


def test_constants_of_nodes_are_converted_like_initializers():
    source = model(
        "(float[1,2] x) => (float[1,2] y) { c = Constant<value = float[2] {1.5, 2}>()"
        " a = Sigmoid(x) y = Mul(a, c) }"
    )
    made = autocast(source, FP16)
    check(source, made.model)
    (constant,) = made.model.graph.initializer
    assert constant.data_type == TensorProto.FLOAT16


# what stays


def test_statistics_stay_with_the_arithmetic_that_follows_them():
    source = model(
        "(float[2,8] x) => (float[2,8] y) { t = Tanh(x) m = ReduceMean(t, last)"
        " d = Sub(t, m) q = Mul(d, d) v = ReduceMean(q, last) e = Add(v, eps)"
        " s = Sqrt(e) n = Div(d, s) y = MatMul(n, w) }",
        last=np.array([-1]),
        eps=np.array(1e-12, np.float32),
        w=RNG.standard_normal((8, 8)).astype(np.float32),
    )
    made = autocast(source, FP16)
    check(source, made.model)
    assert {*made.islands} == {"m", "d", "q", "v", "e", "s", "n"}
    assert made.islands["d"] == "it goes on with a statistic"


def test_a_normalisation_keeps_its_own_statistics_unless_asked_otherwise():
    source = model(
        "(float[2,8] x) => (float[2,8] y) { y = LayerNormalization(x, w) }",
        w=np.ones(8, np.float32),
    )
    assert not autocast(source, FP16).islands
    wished = autocast(source, FP16, Wishes(normalizations=True))
    assert wished.islands == {"y": "normalisations were asked for"}
    assert wished.casts == 0


@pytest.mark.parametrize(
    ("number", "half", "reason"),
    [
        (1e5, FP16, "the constant 'c' overflows"),
        (1e5, BF16, ""),
        (-3.4028235e38, BF16, "the constant 'c' overflows"),
        (1e-7, FP16, "the constant 'c' would vanish"),
        (1e-7, BF16, ""),
        (-np.inf, FP16, ""),
        (0.0, FP16, ""),
    ],
)
def test_a_constant_without_an_equal_keeps_its_node(number, half, reason):
    source = model(
        "(float[1,2] x) => (float[1,2] y) { a = Tanh(x) y = Mul(a, c) }",
        c=np.array(number, np.float32),
    )
    made = autocast(source, half)
    check(source, made.model)
    assert made.islands.get("y", "") == reason


def test_what_may_overflow_stays_until_something_bounds_it():
    source = model(
        "(float[2,4] x, bool[2,4] m) => (float[2,4] y)"
        "{ a = MatMul(x, w) b = Where(m, a, lowest) c = Transpose<perm=[1,0]>(b)"
        " d = Softmax(c) e = Transpose<perm=[1,0]>(d) y = MatMul(e, w) }",
        w=RNG.standard_normal((4, 4)).astype(np.float32),
        lowest=np.array(np.finfo(np.float32).min),
    )
    made = autocast(source, FP16)
    check(source, made.model)
    assert {*made.islands} == {"b", "c", "d", "e"}
    x = RNG.standard_normal((2, 4)).astype(np.float32)
    masked = {"x": x, "m": np.zeros((2, 4), bool)}
    (got,) = peer(made.model).run(None, masked)
    (want,) = peer(source).run(None, masked)
    assert np.isfinite(got).all(), "rows that are masked entirely are no NaN"
    assert distance(got, want) < LIMITS[FP16]


def test_a_bias_of_tiny_numbers_keeps_no_convolution():
    source = model(
        "(float[1,2,4,4] x) => (float[1,2,4,4] y) { y = Conv(x, w, b) }",
        w=RNG.standard_normal((2, 2, 1, 1)).astype(np.float32),
        b=np.full(2, 1e-7, np.float32),
    )
    assert not autocast(source, FP16).islands


def test_positions_are_counted_in_float32():
    """Halves tell 2,048 from 2,049 no more, and angles of positions would be others."""
    source = model(
        "(int64[3] p, float[3,4] x) => (float[3,4] y)"
        "{ f = Cast<to=1>(p) u = Unsqueeze(f, last) a = Mul(u, rates) c = Cos(a)"
        " m = MatMul(x, w) y = Mul(m, c) }",
        last=np.array([-1]),
        rates=np.array([[1, 0.1, 0.01, 0.001]], np.float32),
        w=np.eye(4, dtype=np.float32),
    )
    made = autocast(source, FP16)
    check(source, made.model)
    assert {*made.islands} == {"f", "u", "a", "c"}
    given = {"p": np.array([2049, 4097, 9999]), "x": np.ones((3, 4), np.float32)}
    (got,), (want,) = (peer(m).run(None, given) for m in (made.model, source))
    assert distance(got, want) < LIMITS[FP16]


def test_coordinates_and_whole_numbers_are_made_in_float32():
    source = model(
        "(float[1,4] x) => (int64[1,4] y) { a = MatMul(x, w) b = Mul(a, many)"
        " c = Round(b) y = Cast<to=7>(c) }",
        w=np.eye(4, dtype=np.float32),
        many=np.array(3000, np.float32),
    )
    made = autocast(source, FP16)
    check(source, made.model)
    assert {*made.islands} >= {"b", "c"}
    assert "a" not in made.islands


def test_what_a_user_lists_stays():
    source = model(
        "(float[4,4] x) => (float[4,4] y) { a = MatMul(x, x) b = Relu(a)"
        " y = MatMul(b, b) }"
    )
    by_kind = autocast(source, FP16, Wishes(operators={"MatMul"}))
    assert {*by_kind.islands} == {"a", "y"}
    by_name = autocast(source, FP16, Wishes(nodes={"b"}))
    check(source, by_name.model)
    assert by_name.islands == {"b": "it was asked for"}


def test_operators_that_lack_the_type_stay():
    text = (
        "(float[1,1,4,4] x, float[1,2,2,2] g) => (float[1,1,2,2] y)"
        "{ a = Mish(x) y = GridSample(a, g) }"
    )
    assert autocast(model(text), FP16).islands == {"y": "halves would be too coarse"}
    assert autocast(model(text), BF16).islands == {
        "a": "TensorRT has it in float32 only",
        "y": "TensorRT has it in float32 only",
    }


def test_sizes_of_a_resize_stay_float32():
    source = model(
        "(float[1,1,4,4] x) => (float[1,1,8,8] y) { y = Resize(x, , s) }",
        s=np.array([1, 1, 2, 2], np.float32),
    )
    made = autocast(source, FP16)
    check(source, made.model)
    assert not made.islands
    assert made.model.graph.initializer[0].data_type == TensorProto.FLOAT


# what is there already


def test_casts_of_the_model_meet_ours():
    source = model(
        "(float16[4,4] x) => (float16[4,4] y) { a = Cast<to=1>(x) b = MatMul(a, a)"
        " y = Cast<to=10>(b) }"
    )
    made = autocast(source, FP16)
    check(source, made.model)
    kinds = [node.op_type for node in made.model.graph.node]
    assert kinds == ["MatMul", "Identity"]
    assert made.casts == 0


def test_nodes_of_halves_are_left_alone():
    source = model(
        "(float16[4,4] x, float[4,4] z) => (float16[4,4] y, float[4,4] w)"
        "{ y = MatMul(x, x) w = MatMul(z, z) }"
    )
    made = autocast(source, BF16)
    check(source, made.model)
    types = element_types(made.model)
    assert types["y"] == TensorProto.FLOAT16
    assert types["w/half"] == TensorProto.BFLOAT16


def test_quantised_weights_come_out_in_halves():
    source = model(
        "(float[2,4] x) => (float[2,4] y) { q = QuantizeLinear(x, s, z)"
        " d = DequantizeLinear(q, s, z) v = DequantizeLinear<axis=1>(w, t)"
        " y = MatMul(d, v) }",
        s=np.array(0.02, np.float32),
        z=np.array(0, np.int8),
        w=RNG.integers(-9, 9, (4, 4)).astype(np.int8),
        t=np.full(4, 0.01, np.float32),
    )
    made = autocast(source, FP16)
    check(source, made.model)
    assert not made.islands
    kinds = [node.op_type for node in made.model.graph.node]
    assert kinds.count("Cast") == 2, "none between a weight and its product"


def test_bodies_stay_in_float32_and_read_what_they_read():
    text = (
        "(float[4,4] x, bool c) => (float[4,4] y) { a = MatMul(x, x)"
        " b = If(c) <then_branch = t () => (float[4,4] p) { p = Exp(a) },"
        " else_branch = e () => (float[4,4] q) { q = Neg(a) }> y = MatMul(b, b) }"
    )
    source = model(text)
    made = autocast(source, FP16)
    check(source, made.model)
    given = {"x": RNG.standard_normal((4, 4)).astype(np.float32) / 4}
    for choice in (True, False):
        both = {**given, "c": np.array(choice)}
        (got,), (want,) = (peer(m).run(None, both) for m in (made.model, source))
        assert distance(got, want) < LIMITS[FP16]


def test_bfloat16_is_rounded_to_even():
    numbers = np.array([1.00390625, 1.01171875, 3.14159], np.float32)
    source = model(
        "(float[1,3] x) => (float[1,3] y) { a = Tanh(x) y = Add(a, c) }", c=numbers
    )
    (constant,) = autocast(source, BF16).model.graph.initializer
    got = onnx.numpy_helper.to_array(constant)
    np.testing.assert_array_equal(got, numbers.astype(ml_dtypes.bfloat16))


def test_types_that_cannot_be_told_are_an_error():
    node = helper.make_node("Strange", ["x"], ["y"], domain="com.acme")
    source = model("(float[2] x) => (float[2] z) { z = Relu(x) }")
    source.graph.node.insert(0, node)
    source.opset_import.append(helper.make_opsetid("com.acme", 1))
    with pytest.raises(ValueError, match="the type of 'y' cannot be inferred"):
        autocast(source, FP16)
