"""Pooling of every form gives NumPy's results, over images and what lies otherwise."""

import numpy as np
import pytest
from beside_numpy import checked, groups, kernels, roles
from draws import Draw
from onnx import TensorProto
from runtime_ep_cpu.native.steps import pooling

KINDS = ("float32", "float32", "float16", "bfloat16")
NARROW = {"float16": 6e-3, "bfloat16": 4e-2, "float32": 4e-6}
"""NumPy's kernels add up half precision in half precision."""


def window(d, rank, dilated=True):
    """Draw the attributes of windows that fit axes of 7 to 12."""
    kernel = [d.size(3) for _ in range(rank)]
    found = {"kernel_shape": kernel, "strides": [d.size(3) for _ in range(rank)]}
    if dilated and d.one(True, False):
        found["dilations"] = [d.size(2) for _ in range(rank)]
    if d.one(True, False, False):
        found["auto_pad"] = d.one("SAME_UPPER", "SAME_LOWER", "VALID")
    else:
        found["pads"] = [d.size(k - 1, 0) for k in kernel * 2]
    return found


def image(d, name, kind, rank, made):
    """Add an operand, or an image that a convolution has made."""
    sizes = [d.size(12, 7) for _ in range(rank)]
    channels = d.one(1, 3, 16, 37)
    x = d.array((d.size(2), channels, *sizes), kind)
    if d.rng.random() < 0.3:
        x[d.rng.random(x.shape) < 0.05] = np.nan
    given = d.operand(name, x)
    if not made:
        return given
    weights = d.constant("w", d.array((d.one(3, 20, 64), channels, *[1] * rank)))
    return d.add("Conv", [given, weights], "conv")


@pytest.mark.parametrize("seed", range(60))
def test_pooling(seed):
    d = Draw(seed)
    kind, rank, made = d.one(*KINDS), d.one(1, 2, 2, 3), d.one(True, False)
    kind = "float32" if made else kind
    x = image(d, "x", kind, rank, made)
    operator = d.one("MaxPool", "MaxPool", "AveragePool", "LpPool")
    attributes = window(d, rank)
    attributes["ceil_mode"] = d.one(0, 1)
    if operator == "AveragePool":
        attributes["count_include_pad"] = d.one(0, 1)
    if operator == "LpPool":
        attributes["p"] = d.one(1, 2, 3)
    p = d.add(operator, [x], "p", **attributes)
    d.add(d.one("Relu", "Identity"), [p], "y")
    session = checked(d.model(["y"], 22), d.feed, tolerance=NARROW[kind], least=1.0)
    assert (operator, "native") in roles(session)


@pytest.mark.parametrize("seed", range(30))
def test_positions_of_the_largest(seed):
    d = Draw(seed)
    rank, made = d.one(1, 2, 2, 3), d.one(True, False)
    x = image(d, "x", "float32", rank, made)
    x = d.add("Round", [x], "r")
    attributes = window(d, rank) | {"storage_order": d.one(0, 1)}
    d.add("MaxPool", [x], "y", "z", ceil_mode=d.one(0, 1), **attributes)
    outputs = d.one(["y", "z"], ["z"])
    session = checked(d.model(outputs, 22), d.feed)
    assert ("MaxPool", "native") in roles(session)


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("opset", [8, 9, 10, 11, 18, 19, 22])
def test_every_opset(operator, opset):
    d = Draw(opset)
    d.feed["x"] = d.array((2, 19, 9, 8))
    more = {"ceil_mode": 1} if opset >= (18 if operator == "LpPool" else 10) else {}
    d.add(operator, ["x"], "y", kernel_shape=[3, 2], strides=[2, 3], **more)
    session = checked(d.model(["y"], opset), d.feed, tolerance=4e-6)
    assert (operator, "native") in roles(session)


def test_a_window_that_meets_nothing_has_no_largest_element():
    d = Draw(0)
    x = d.array((1, 20, 3, 3))
    attributes = {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [4, 0, 4, 0]}
    d.add("MaxPool", [d.operand("x", x)], "y", "z", **attributes)
    checked(d.model(["y", "z"], 22), d.feed)


def test_a_convolution_reads_what_was_pooled_with_zeros_around_it():
    d = Draw(1)
    d.feed["x"] = d.array((1, 3, 20, 20))
    first = d.constant("w", d.array((24, 3, 3, 3)))
    then = d.constant("v", d.array((40, 24, 3, 3)))
    c = d.add("Conv", ["x", first], "c", pads=[1, 1, 1, 1])
    p = d.add("MaxPool", [c], "p", kernel_shape=[2, 2], strides=[2, 2])
    d.add("Conv", [p, then], "y", pads=[1, 1, 1, 1])
    session = checked(d.model(["y"]), d.feed, tolerance=4e-6)
    assert groups(session) == ["Conv", "MaxPool", "Conv"]


def test_positions_are_numbers_like_any():
    d = Draw(2)
    x = d.operand("x", d.array((2, 5, 8, 8)))
    d.add("MaxPool", [x], "y", "z", kernel_shape=[3, 3])
    d.add("Cast", ["z"], "f", to=TensorProto.FLOAT)
    checked(d.model(["y", "f"]), d.feed)


@pytest.mark.parametrize("outputs", [["y", "z"], ["z"]])
def test_more_positions_than_native_code_counts_are_numpys(outputs, monkeypatch):
    monkeypatch.setattr(pooling, "_POSITIONS", 64)
    for size, is_numpys in ((7, False), (8, True)):
        d = Draw(3)
        x = d.operand("x", d.array((1, 3, size, size)))
        d.add("MaxPool", [x], "y", "z", kernel_shape=[3, 3])
        checked(d.model(outputs), d.feed, moves=is_numpys)


@pytest.mark.parametrize("target", ["generic", "avx2"])
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
def test_lesser_targets(target, operator):
    d = Draw(3)
    x = image(d, "x", "float32", 2, True)
    d.add(operator, [x], "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    checked(d.model(["y"], 22), d.feed, tolerance=4e-6, target=target)


GLOBAL = ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
SPATIAL = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL1", "ReduceL2")
SPATIAL += ("ReduceSumSquare", "ReduceLogSumExp", "ReduceProd")


@pytest.mark.parametrize("operator", GLOBAL)
@pytest.mark.parametrize("seed", range(8))
def test_whole_images(operator, seed):
    d = Draw(seed)
    rank, made = d.one(1, 2, 2, 3), d.one(True, True, False)
    kind = "float32" if made else d.one(*KINDS)
    x = image(d, "x", kind, rank, made)
    attributes = {"p": d.one(1, 2)} if operator == "GlobalLpPool" else {}
    p = d.add(operator, [x], "p", **attributes)
    d.add(d.one("Flatten", "Relu"), [p], "y")
    session = checked(d.model(["y"], 22), d.feed, tolerance=NARROW[kind], least=16.0)
    assert (operator, "native") in roles(session)


@pytest.mark.parametrize("operator", SPATIAL)
@pytest.mark.parametrize("seed", range(5))
def test_reductions_over_axes_of_an_image(operator, seed):
    d = Draw(seed)
    rank = d.one(2, 2, 3)
    x = image(d, "x", "float32", rank, True)
    x = d.add("Sigmoid", [x], "s")
    axes = [axis + 2 for axis in range(rank) if d.rng.random() < 0.7] or [2]
    axes = [axis if d.one(True, False) else axis - rank - 2 for axis in axes]
    names = [x, d.constant("axes", np.array(axes))]
    p = d.add(operator, names, "p", keepdims=d.one(0, 1))
    d.add(d.one("Neg", "Identity"), [p], "y")
    checked(d.model(["y"]), d.feed, tolerance=1e-5)


@pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(1, 3, 150, 170), (2, 70, 90, 90)])
def test_a_large_image_is_shared_by_threads_and_bits_are_the_same(operator, shape):
    d = Draw(5)
    d.feed["x"] = d.array(shape)
    weights = d.constant("w", d.array((shape[1], shape[1], 1, 1)))
    d.add("Conv", ["x", weights], "c", pads=[1, 1, 1, 1])
    d.add(operator, ["c"], "y")
    model = d.model(["y"])
    found = [
        checked(model, d.feed, tolerance=1e-5, least=1.0, threads=n).run(None, d.feed)
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(*found)


def test_an_image_is_reduced_where_it_lies():
    d = Draw(6)
    d.feed["x"] = d.array((1, 32, 30, 30))
    weights = d.constant("w", d.array((256, 32, 1, 1)))
    d.add("Conv", ["x", weights], "c")
    d.add("GlobalAveragePool", ["c"], "g")
    d.add("Flatten", ["g"], "y")
    session = checked(d.model(["y"]), d.feed, tolerance=1e-5)
    assert kernels(session) == ["copy_transposed", "convolution", "pool"]
