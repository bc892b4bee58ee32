"""Layers and sequences against the standard's reference, at random."""

import numpy as np
import onnx
from evaluate import run_model, run_node
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from peers import by_onnxruntime, by_reference

SEEDS = st.integers(0, 10_000)
FLAGS = st.sampled_from([0, 1])
FEW = st.integers(1, 3)
SIDES = st.integers(0, 3)
SHAPES = st.lists(SIDES, max_size=3).map(tuple)
NEWEST = onnx.defs.onnx_opset_version()


class Numbers:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def floats(self, *shape):
        return np.asarray(self.random.standard_normal(shape), np.float32)

    def bytes(self, *shape):
        return np.asarray(self.random.integers(0, 256, shape), np.uint8)

    def whole(self, *shape):
        return np.asarray(self.random.integers(-3, 4, shape))


def same(got, want, rtol=1e-4, atol=1e-5):
    for ours, theirs in zip(got, want, strict=True):
        theirs = np.asarray(theirs)
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        if ours.dtype == object:
            assert ours.tolist() == theirs.tolist()
        else:
            np.testing.assert_allclose(ours, theirs, rtol, atol)


def compare(op, inputs, attributes=None, outputs=1, opset=NEWEST, domain=""):
    call = (op, inputs, attributes, opset, domain, outputs)
    with np.errstate(all="ignore"):
        want = by_reference(*call)
    same(run_node(*call), want)


@given(SEEDS, st.lists(FEW, min_size=1, max_size=3), FEW)
def test_pooling_over_whole_images(seed, sizes, power):
    x = Numbers(seed).floats(2, 3, *sizes)
    axes = tuple(range(2, x.ndim))
    same(run_node("GlobalMaxPool", [x]), [x.max(axes, keepdims=True)])
    same(run_node("GlobalAveragePool", [x]), [x.mean(axes, keepdims=True)])
    want = (abs(x.astype("f8")) ** power).sum(axes, keepdims=True) ** (1 / power)
    (got,) = run_node("GlobalLpPool", [x], {"p": power})
    np.testing.assert_allclose(got, want, 1e-4)


@given(SEEDS, st.sampled_from([1, 2, 4]), st.lists(FEW, max_size=2))
def test_normalizing_groups(seed, groups, sizes):
    numbers = Numbers(seed)
    x, scale, bias = numbers.floats(2, 4, *sizes), numbers.floats(4), numbers.floats(4)
    made = {"num_groups": groups, "epsilon": 1e-3}
    (got,) = run_node("GroupNormalization", [x, scale, bias], made)
    rows = x.astype("f8").reshape(2, groups, -1)
    centred = rows - rows.mean(2, keepdims=True)
    rows = centred / np.sqrt(rows.var(2, keepdims=True) + 1e-3)
    each = (1, 4, *[1] * len(sizes))
    want = rows.reshape(x.shape) * scale.reshape(each) + bias.reshape(each)
    np.testing.assert_allclose(got, want, 1e-4, 1e-4)


@given(SEEDS, st.data(), st.lists(FEW, min_size=1, max_size=3))
def test_normalizing_by_roots_of_mean_squares(seed, data, shape):
    numbers = Numbers(seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = numbers.floats(*shape)
    scale = numbers.floats(*x.shape[axis % x.ndim :])
    compare("RMSNormalization", [x, scale], {"axis": axis, "epsilon": 1e-3})


@given(SEEDS, st.sampled_from([[0, 2, 3], [1], [-1, -2], [0, 1, 2, 3]]))
def test_normalizing_over_chosen_axes(seed, axes):
    x = Numbers(seed).floats(2, 3, 2, 3)
    (got,) = run_node("MeanVarianceNormalization", [x], {"axes": axes})
    wide, places = x.astype("f8"), tuple(axes)
    centred = wide - wide.mean(places, keepdims=True)
    want = centred / (wide.std(places, keepdims=True) + 1e-9)
    np.testing.assert_allclose(got, want, 1e-3, 1e-4)


@given(SEEDS, FEW, FEW, st.integers(0, 4), st.booleans(), st.booleans(), FLAGS)
def test_causal_convolutions(seed, channels, taps, length, biased, begun, silu):
    numbers = Numbers(seed)
    x, w = numbers.floats(2, channels, length), numbers.floats(channels, 1, taps)
    bias = numbers.floats(channels) if biased else None
    past = numbers.floats(2, channels, taps - 1) if begun else None
    made = {"activation": ["none", "silu"][silu]}
    got, state = run_node("CausalConvWithState", [x, w, bias, past], made, 27, "", 2)
    before = np.zeros((2, channels, taps - 1)) if past is None else past
    seen = np.concatenate([before, x], axis=2)
    want = np.zeros(x.shape)
    for tap in range(taps):
        want += seen[:, :, tap : tap + length] * w[:, 0, tap, None]
    want += 0 if bias is None else bias[:, None]
    want = want / (1 + np.exp(-want)) if silu else want
    np.testing.assert_allclose(got, want, 1e-4, 1e-5)
    np.testing.assert_allclose(state, seen[:, :, length:], 1e-5)


RULES = st.sampled_from(["linear", "gated", "delta", "gated_delta"])


@given(SEEDS, RULES, st.integers(1, 4), FEW, st.booleans())
def test_linear_attention_is_a_recurrence(seed, rule, length, groups, begun):
    numbers, size, out = Numbers(seed), 3, 2
    heads = groups * 2
    q = numbers.floats(1, length, heads * size)
    k, v = (
        numbers.floats(1, length, groups * size),
        numbers.floats(1, length, groups * out),
    )
    decay = -abs(numbers.floats(1, length, groups)) if "gated" in rule else None
    beta = abs(numbers.floats(1, length, groups)) if "delta" in rule else None
    past = numbers.floats(1, groups, size, out) if begun else None
    made = {"q_num_heads": heads, "kv_num_heads": groups, "update_rule": rule}
    inputs = [q, k, v, past, decay, beta]
    got, state = run_node("LinearAttention", inputs, made, 27, "", 2)
    want = np.zeros((1, length, heads, out))
    for g in range(groups):
        s = np.zeros((size, out)) if past is None else past[0, g].astype("f8")
        for t in range(length):
            key, value = k[0, t].reshape(groups, -1)[g], v[0, t].reshape(groups, -1)[g]
            s = s * (np.exp(decay[0, t, g]) if decay is not None else 1)
            write = value if beta is None else beta[0, t, g] * (value - key @ s)
            s = s + np.outer(key, write)
            for head in range(2 * g, 2 * g + 2):
                query = q[0, t].reshape(heads, -1)[head]
                want[0, t, head] = query @ s * size**-0.5
        np.testing.assert_allclose(state[0, g], s, 1e-3, 1e-4)
    np.testing.assert_allclose(got, want.reshape(1, length, -1), 1e-3, 1e-4)


@given(SEEDS, SHAPES, st.sampled_from([0.5, 1.0, 2.0]))
def test_gated_units(seed, shape, alpha):
    numbers = Numbers(seed)
    a, b = numbers.floats(*shape), numbers.floats(*shape)
    (got,) = run_node("SwiGLU", [a, b], {"alpha": alpha}, 28)
    wide = a.astype("f8")
    np.testing.assert_allclose(got, wide / (1 + np.exp(-alpha * wide)) * b, 1e-4, 1e-5)


@given(SEEDS, FEW, FEW, st.booleans(), st.sampled_from([1, 2]))
def test_deformed_convolutions_without_offsets_are_convolutions(
    seed, stride, dilation, masked, groups
):
    """Whole offsets move the taps; half ones take the mean of neighbours."""
    numbers = Numbers(seed)
    x, w = numbers.floats(1, 2, 7, 7), numbers.floats(2, 2 // groups, 2, 2)
    made = {"strides": [stride, 1], "dilations": [1, dilation], "group": groups}
    (want,) = run_node("Conv", [x, w], made)
    offset = np.zeros((1, 8, *want.shape[2:]), np.float32)
    mask = np.ones((1, 4, *want.shape[2:]), np.float32) if masked else None
    (got,) = run_node("DeformConv", [x, w, offset, None, mask], made)
    np.testing.assert_allclose(got, want, 1e-4, 1e-5)
    moved = np.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)))[..., 1:]
    offset[:, 1::2] = 1
    (got,) = run_node("DeformConv", [x, w, offset, None, mask], made)
    np.testing.assert_allclose(got, run_node("Conv", [moved, w], made)[0], 1e-4, 1e-5)
    offset[:, 1::2] = 0.5
    (got,) = run_node("DeformConv", [x, w, offset, None, mask], made)
    (want,) = run_node("Conv", [(x + moved) / 2, w], made)
    np.testing.assert_allclose(got, want, 1e-4, 1e-5)


@given(SEEDS, st.sampled_from([(1, 1), (2, 2), (3, 2)]), st.sampled_from([1.0, 0.5]))
def test_pooling_over_regions(seed, pooled, scale):
    numbers = Numbers(seed)
    x = numbers.floats(2, 3, 6, 6)
    corners = np.sort(numbers.random.integers(0, 6, (4, 2, 2)), axis=1).reshape(4, 4)
    batch = numbers.random.integers(0, 2, (4, 1))
    rois = np.concatenate([batch, corners], axis=1).astype(np.float32)
    made = {"pooled_shape": list(pooled), "spatial_scale": scale}
    got = run_node("MaxRoiPool", [x, rois], made)
    same(got, by_onnxruntime("MaxRoiPool", [x, rois], made))


@given(SEEDS, st.integers(1, 14), st.integers(1, 14), st.sampled_from([1.0, 0.5, 0.3]))
def test_pooling_over_regions_with_any_corners(seed, height, width, scale):
    """Also where a bound of a cell is a whole number but for its rounding."""
    numbers = Numbers(seed)
    x = numbers.floats(2, 3, 28, 14)
    corners = numbers.random.uniform(-20, 60, (20, 4))
    batch = numbers.random.integers(0, 2, (20, 1))
    rois = np.concatenate([batch, corners], axis=1).astype(np.float32)
    made = {"pooled_shape": [height, width], "spatial_scale": scale}
    got = run_node("MaxRoiPool", [x, rois], made)
    same(got, by_onnxruntime("MaxRoiPool", [x, rois], made))


@given(SEEDS, st.booleans(), st.booleans(), FEW)
def test_quantized_products_and_convolutions(seed, by_column, biased, stride):
    """Within one step: both round, at most in different directions."""
    numbers = Numbers(seed)
    one = lambda: np.float32(numbers.random.uniform(0.01, 0.1)).reshape(())  # noqa: E731
    scale = abs(numbers.floats(4)) / 8 + 1e-3 if by_column else one()
    zero = numbers.bytes(4) if by_column else numbers.bytes()
    a, b, y = numbers.bytes(2, 3), numbers.bytes(3, 4), (one(), numbers.bytes())
    a_is = (a, one(), numbers.bytes())
    (got,) = run_node("QLinearMatMul", [*a_is, b, scale, zero, *y], opset=21)
    exact = (a - float(a_is[2])) * a_is[1] @ ((b - zero.astype("f8")) * scale)
    close_in_steps(got, exact, y)
    x, w = numbers.bytes(1, 2, 5, 4), numbers.bytes(4, 2, 3, 2)
    bias = np.asarray(numbers.random.integers(-999, 999, 4), np.int32)
    bias = bias if biased else None
    inputs = [x, *a_is[1:], w, scale, zero, *y, bias]
    (got,) = run_node("QLinearConv", inputs, {"strides": [stride, 1]})
    each = (-1, 1, 1, 1)
    wide = (w - zero.astype("f8").reshape(each)) * scale.reshape(each)
    extra = None if bias is None else bias * (a_is[1] * scale.astype("f8"))
    parts = [(x - float(a_is[2])) * float(a_is[1]), wide, extra]
    (exact,) = run_node("Conv", parts, {"strides": [stride, 1]})
    close_in_steps(got, exact, y)


def close_in_steps(got, exact, y):
    assert got.dtype == np.uint8
    want = np.clip(exact / float(y[0]) + float(y[1]), 0, 255)
    assert got.shape == want.shape
    assert (abs(got - want) <= 1).all()


@given(SEEDS, st.integers(0, 3), st.sampled_from(["float32", "int64"]))
def test_boxes_that_may_be_empty(seed, count, dtype):
    x = Numbers(seed).whole(2, 3).astype(dtype)
    for op in ("Optional", "OptionalGetElement"):
        (got,) = run_node(op, [x])
        assert got.tolist() == x.tolist()
        assert got.dtype == x.dtype
    items = [x + n for n in range(count)]
    (got,) = run_node("OptionalGetElement", [items])
    assert [item.tolist() for item in got] == [item.tolist() for item in items]
    assert run_node("OptionalHasElement", [x])[0].item() is True
    assert run_node("OptionalHasElement", [])[0].item() is False
    assert run_node("SequenceEmpty", [], {"dtype": 1}) == [[]]


def body(make, inputs, outputs, names=("x",)):
    """A graph of one node, for bodies."""
    infos = [onnx.ValueInfoProto(name=name) for name in names]
    results = [
        helper.make_tensor_value_info(name, 9 if name == "go" else 1, None)
        for name in outputs
    ]
    nodes = [helper.make_node(op, ins, outs) for op, ins, outs in make]
    return helper.make_graph(nodes, "body", infos if inputs else [], results)


def with_graph(node, inputs, outputs):
    graph = helper.make_graph(
        [node],
        "g",
        [onnx.ValueInfoProto(name=name) for name in inputs],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    imports = [helper.make_opsetid("", 21)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


@given(SEEDS, SHAPES, st.booleans())
def test_branches(seed, shape, taken):
    x = Numbers(seed).floats(*shape)
    branches = {
        "then_branch": body([("Neg", ["x"], ["t"])], False, ["t"]),
        "else_branch": body([("Abs", ["x"], ["e"])], False, ["e"]),
    }
    node = helper.make_node("If", ["c"], ["y"], **branches)
    got = run_model(with_graph(node, ["c", "x"], ["y"]), [np.array(taken), x])
    same(got, [-x if taken else abs(x)])


@given(SEEDS, SHAPES, st.integers(0, 5), st.integers(0, 5))
def test_loops_carry_and_collect(seed, shape, trips, most):
    """The condition ends the loop once it has been false, checked after each trip."""
    x = Numbers(seed).floats(*shape)
    nodes = [
        ("Add", ["v", "x"], ["more"]),
        ("Identity", ["more"], ["row"]),
        ("Less", ["i", "last"], ["go"]),
    ]
    names = ("i", "c", "v")
    graph = body(nodes, True, ["go", "more", "row"], names)
    node = helper.make_node("Loop", ["m", "c0", "x"], ["y", "rows"], body=graph)
    model = with_graph(node, ["m", "c0", "x", "last"], ["y", "rows"])
    inputs = [np.array(trips), np.array(True), x, np.array(most - 1)]
    y, rows = run_model(model, inputs)
    count = min(trips, max(1, most))
    sums = [x]
    for _ in range(count):
        sums.append(sums[-1] + x)
    np.testing.assert_allclose(y, sums[-1], 1e-5)
    assert len(rows) == count
    if count:
        np.testing.assert_allclose(rows, np.stack(sums[1:]), 1e-5)


@given(SEEDS, SHAPES, st.integers(0, 3))
def test_bodies_over_sequences(seed, shape, count):
    numbers = Numbers(seed)
    items, more = [numbers.floats(*shape) for _ in range(count)], numbers.floats(*shape)
    graph = body([("Add", ["a", "b"], ["s"])], True, ["s"], ("a", "b"))
    node = helper.make_node("SequenceMap", ["q", "m"], ["y"], body=graph)
    (got,) = run_model(with_graph(node, ["q", "m"], ["y"]), [items, more])
    same(got, [item + more for item in items])


@given(SEEDS, SHAPES, st.sampled_from([0.0, 0.5, None]), st.booleans())
def test_dropout_does_nothing_but_in_training(seed, shape, ratio, masked):
    x = Numbers(seed).floats(*shape)
    share = None if ratio is None else np.array(ratio, np.float32)
    inputs = [x, share, np.array(False)]
    results = run_node("Dropout", inputs, {}, outputs=1 + masked)
    same(results, [x, np.ones(shape, bool)][: 1 + masked])


@given(SEEDS, st.sampled_from(["nearest", "linear"]), FEW, FEW)
def test_the_older_way_to_enlarge(seed, mode, tall, broad):
    x = Numbers(seed).floats(1, 2, 3, 2)
    scales = np.array([1, 1, tall, broad], np.float32)
    got = run_node("Upsample", [x, scales], {"mode": mode}, 9)
    same(got, by_onnxruntime("Upsample", [x, scales], {"mode": mode}, 9))


@given(SEEDS, SHAPES, st.sampled_from(["float32", "int64", "uint8", "bool"]))
def test_constants(seed, shape, dtype):
    x = np.asarray(Numbers(seed).whole(*shape) > 0, dtype)
    value = onnx.numpy_helper.from_array(x)
    (got,) = run_node("Constant", [], {"value": value})
    assert (got.dtype, got.shape, got.tolist()) == (x.dtype, x.shape, x.tolist())
