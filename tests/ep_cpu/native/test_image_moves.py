"""Padding, blocks, shuffles and statistics per channel: NumPy's results, images stay such."""

import numpy as np
import pytest
from beside_numpy import checked, groups, kernels, roles
from draws import Draw
from onnx import TensorProto

KINDS = ("float32", "float32", "float16", "bfloat16", "int64", "int32", "bool")
TURNS = {"copy_transposed", "copy_strided", "copy_reversed", "copy_repeated"}


def convolved(d, shape, name="c", filters=None):
    """Add an image with so many channels that a convolution makes of an input."""
    batch, channels, *sizes = shape
    d.feed[f"{name}_x"] = d.array((batch, 3, *sizes))
    filters = d.array((channels, 3, *[1] * len(sizes))) if filters is None else filters
    return d.add("Conv", [f"{name}_x", d.constant(f"{name}_w", filters)], name)


def either(d, shape, kind):
    """Add an operand, or an image."""
    if kind == "float32" and len(shape) > 2 and d.one(True, False):
        return convolved(d, shape)
    return d.operand("x", d.array(shape, kind))


@pytest.mark.parametrize("seed", range(80))
def test_pad(seed):
    d = Draw(seed)
    kind = d.one(*KINDS)
    rank = d.one(1, 2, 3, 4, 4, 5)
    shape = tuple(d.size(9, 3) for _ in range(rank))
    mode = d.one("constant", "constant", "reflect", "edge", "wrap")
    axes = sorted(int(i) for i in d.rng.permutation(rank)[: d.size(rank)])
    least = d.one(0, 0, -1)
    pads = [d.size(3, least) for _ in range(2 * len(axes))]
    inputs = [either(d, shape, kind), d.constant("pads", np.array(pads))]
    if mode == "constant" and d.one(True, False):
        inputs.append(d.either("value", d.array((), kind)))
    if len(axes) < rank:
        inputs += [""] * (3 - len(inputs))
        inputs.append(d.constant("axes", np.array(axes)))
    p = d.add("Pad", inputs, "p", mode=mode)
    d.add("Identity", [p], "y")
    session = checked(d.model(["y"]), d.feed, tolerance=4e-6)
    assert {role for _, role in roles(session)} == {"native"}


@pytest.mark.parametrize("opset", [2, 11, 13, 18])
def test_pad_of_every_opset(opset):
    d = Draw(opset)
    d.feed["x"] = d.array((2, 5, 6, 7))
    pads = [0, 0, 1, 2, 0, 0, 3, 1]
    if opset < 11:
        d.add("Pad", ["x"], "y", pads=pads, mode="constant", value=1.5)
    else:
        names = ["x", d.constant("pads", np.array(pads))]
        d.add("Pad", [*names, d.constant("value", np.float32(1.5))], "y")
    session = checked(d.model(["y"], opset), d.feed)
    assert ("Pad", "native") in roles(session)


def test_an_image_that_is_reflected_stays_an_image():
    d = Draw(1)
    c = convolved(d, (1, 40, 9, 9))
    pads = d.constant("pads", np.array([0, 0, 2, 3, 0, 0, 1, 4]))
    p = d.add("Pad", [c, pads], "p", mode="reflect")
    d.add("Conv", [p, d.constant("w", d.array((24, 40, 3, 3)))], "q")
    d.add("GlobalMaxPool", ["q"], "y")
    session = checked(d.model(["y"]), d.feed, tolerance=4e-6)
    assert ("Pad", "native") in roles(session)


@pytest.mark.parametrize("operator", ["DepthToSpace", "SpaceToDepth"])
@pytest.mark.parametrize("seed", range(16))
def test_blocks(operator, seed):
    d = Draw(seed)
    kind, edge, n = d.one(*KINDS), d.one(1, 2, 3), d.size(2)
    c, h, w = (d.size(4) for _ in range(3))
    deep = (n, c * edge * edge, h, w)
    shape = deep if operator == "DepthToSpace" else (n, c, h * edge, w * edge)
    attributes = {"blocksize": edge}
    if operator == "DepthToSpace":
        attributes["mode"] = d.one("DCR", "CRD")
    p = d.add(operator, [either(d, shape, kind)], "p", **attributes)
    d.add("Identity", [p], "y")
    session = checked(d.model(["y"]), d.feed, tolerance=4e-6)
    assert (operator, "native") in roles(session)


@pytest.mark.parametrize("seed", range(12))
def test_shuffled_channels_are_an_image_again(seed):
    d = Draw(seed)
    parts, each = d.size(4, 2), d.size(20, 2)
    sizes = [d.size(6, 2) for _ in range(d.one(1, 2, 3))]
    shape = (d.size(2), parts * each, *sizes)
    c = convolved(d, shape)
    split = d.constant("split", np.array([0, parts, each, *sizes]))
    order = [0, 2, 1, *range(3, len(shape) + 1)]
    r = d.add("Reshape", [c, split], "r")
    t = d.add("Transpose", [r], "t", perm=order)
    s = d.add("Reshape", [t, d.constant("whole", np.array([0, -1, *sizes]))], "s")
    weights = d.constant("v", d.array((24, shape[1], *[1] * len(sizes))))
    d.add("Conv", [s, weights], "v_y")
    d.add("GlobalMaxPool", ["v_y"], "y")
    checked(d.model(["y"]), d.feed, tolerance=4e-6)


@pytest.mark.parametrize("seed", range(24))
def test_batch_normalization_and_what_follows(seed):
    d = Draw(seed)
    shape = (d.size(2), d.one(1, 3, 40), *(d.size(6) for _ in range(d.size(3, 0))))
    x = either(d, shape, "float32")
    if d.one(True, False):
        x = d.add("Concat", [x, x], "two", axis=1)
        shape = (shape[0], 2 * shape[1], *shape[2:])
    rows = [d.array(shape[1:2]) for _ in range(3)] + [np.abs(d.array(shape[1:2]))]
    names = [d.constant(f"s{i}", row) for i, row in enumerate(rows)]
    b = d.add("BatchNormalization", [x, *names], "b", epsilon=1e-3)
    outputs = ["y"]
    if d.one(True, False):
        outputs.append("b")
    last = d.add(d.one("Relu", "Sigmoid", "Identity"), [b], "e")
    if d.one(True, False):
        slope = d.constant("slope", d.array((shape[1], *[1] * (len(shape) - 2))))
        last = d.add("PRelu", [last, slope], "pr")
    other = d.operand("o", d.array(d.narrower(shape)))
    d.add("Add", [last, other], "y")
    session = checked(d.model(outputs, 15), d.feed, tolerance=1e-5, least=1.0)
    assert {role for _, role in roles(session)} == {"native"}


def test_statistics_are_applied_with_the_activation_where_channels_were_joined():
    d = Draw(2)
    c, e = convolved(d, (1, 20, 8, 8)), convolved(d, (1, 12, 8, 8), "e")
    joined = d.add("Concat", [c, e], "j", axis=1)
    rows = [np.abs(d.array((32,))) for _ in range(4)]
    names = [d.constant(f"s{i}", row) for i, row in enumerate(rows)]
    b = d.add("BatchNormalization", [joined, *names], "b")
    r = d.add("Relu", [b], "r")
    d.add("Conv", [r, d.constant("v", d.array((24, 32, 1, 1)))], "q")
    d.add("GlobalMaxPool", ["q"], "y")
    session = checked(d.model(["y"], 15), d.feed, tolerance=1e-5)
    assert "BatchNormalization+Relu" in groups(session)
    assert kernels(session)[-3:] == ["elementwise", "convolution", "pool"]


@pytest.mark.parametrize("seed", range(24))
def test_lrn(seed):
    d = Draw(seed)
    shape = (d.size(2), d.one(1, 2, 5, 40), *(d.size(6) for _ in range(d.size(3))))
    x = either(d, shape, "float32")
    attributes = {"alpha": d.one(1e-4, 0.3), "bias": d.one(1.0, 2.0)}
    beta = d.one(0.75, 0.75, 0.5, 0.9)
    n = d.add("LRN", [x], "n", size=d.size(8), beta=beta, **attributes)
    d.add("Relu", [n], "y")
    session = checked(d.model(["y"]), d.feed, tolerance=4e-6)
    assert {role for _, role in roles(session)} == {"native"}


def test_a_response_to_channels_beside_stays_an_image():
    d = Draw(7)
    c = convolved(d, (1, 40, 9, 9))
    n = d.add("LRN", [c], "n", size=5)
    p = d.add("MaxPool", [n], "p", kernel_shape=[3, 3], strides=[2, 2])
    d.add("GlobalMaxPool", [p], "y")
    session = checked(d.model(["y"]), d.feed, tolerance=4e-6)
    assert kernels(session)[-3:] == ["elementwise", "pool", "pool"]


def test_channels_bounds_and_slopes_are_part_of_a_convolution():
    d = Draw(3)
    c = convolved(d, (2, 40, 6, 6))
    p = d.add("PRelu", [c, d.constant("slope", d.array((40, 1, 1)))], "p")
    low, high = (d.constant(n, np.float32(v)) for n, v in (("low", -1), ("high", 0.5)))
    d.add("Clip", [p, low, high], "y")
    session = checked(d.model(["y"]), d.feed, tolerance=4e-6)
    assert groups(session) == ["Conv+PRelu+Clip"]


def test_flattened_pixels_and_parts_of_channels_are_views():
    d = Draw(4)
    c = convolved(d, (1, 48, 8, 8))
    d.add("Split", [c, d.constant("sizes", np.array([16, 32]))], "a", "b", axis=1)
    d.add("Conv", ["b", d.constant("v", d.array((16, 32, 3, 3)))], "q", pads=[1] * 4)
    s = d.add("Add", ["a", "q"], "s")
    g = d.add("GlobalAveragePool", [s], "g")
    f = d.add("Flatten", [g], "f")
    d.add("MatMul", [f, d.constant("m", d.array((16, 10)))], "y")
    session = checked(d.model(["y"]), d.feed, tolerance=1e-5)
    assert len(TURNS.intersection(kernels(session)[1:])) <= 1


def test_channels_that_are_split_and_joined_again_are_never_copied():
    d = Draw(8)
    c = convolved(d, (1, 48, 8, 8))
    d.add("Split", [c, d.constant("sizes", np.array([16, 32]))], "a", "b", axis=1)
    d.add("Conv", ["b", d.constant("v", d.array((16, 32, 3, 3)))], "q", pads=[1] * 4)
    d.add("Conv", ["q", d.constant("u", d.array((8, 16, 3, 3)))], "r", pads=[1] * 4)
    j = d.add("Concat", ["a", "b", "q", "r"], "j", axis=1)
    d.add("Conv", [j, d.constant("t", d.array((16, 72, 1, 1)))], "s")
    d.add("GlobalAveragePool", ["s"], "y")
    session = checked(d.model(["y"]), d.feed, tolerance=1e-5)
    copying = {"copy_rows", "copy_transposed", "copy_strided"}
    assert not copying.intersection(kernels(session)[1:])


@pytest.mark.parametrize("seed", range(30))
def test_channels_are_split_and_joined_in_any_order(seed):
    d = Draw(seed)
    sizes = [d.size(20) for _ in range(d.size(3, 2))]
    rank = d.one(1, 2, 3)
    shape = (d.size(2), sum(sizes), *(d.size(6, 3) for _ in range(rank)))
    c = either(d, shape, "float32")
    names = [f"a{i}" for i in range(len(sizes))]
    d.add("Split", [c, d.constant("sizes", np.array(sizes))], *names, axis=1)
    filters = d.array((d.size(20), sizes[1], *[3] * rank))
    pads = [1] * (2 * rank)
    q = d.add("Conv", [names[1], d.constant("v", filters)], "q", pads=pads)
    parts = d.one([*names, q], [q, *names], [*names[::-1], q], [names[0], q, *names])
    j = d.add("Concat", parts, "j", axis=1)
    whole = sum(
        {**dict(zip(names, sizes, strict=True)), q: len(filters)}[n] for n in parts
    )
    last = d.constant("t", d.array((9, whole, *[d.one(1, 3)] * rank)))
    outputs = ["y", *([q] if d.one(True, False) else [])]
    d.add("Conv", [j, last], "y", auto_pad="SAME_UPPER")
    checked(d.model(outputs), d.feed, tolerance=1e-5)


@pytest.mark.parametrize("target", ["generic", "avx2"])
def test_lesser_targets(target):
    d = Draw(5)
    c = convolved(d, (1, 24, 6, 6))
    pads = d.constant("pads", np.array([0, 0, 2, 3, 0, 0, 1, 4]))
    p = d.add("Pad", [c, pads], "p", mode="reflect")
    b = d.add("SpaceToDepth", [d.add("Relu", [p], "r")], "b", blocksize=1)
    d.add("Cast", [b], "y", to=TensorProto.FLOAT16)
    checked(d.model(["y"]), d.feed, tolerance=2e-3, target=target)
