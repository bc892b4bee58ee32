"""Native transposed convolutions give NumPy's results, whatever their attributes."""

import numpy as np
import pytest
from beside_numpy import checked, groups, opened, roles
from draws import TYPES, Draw
from onnx import helper

TOLERANCES = {"float32": 4e-6, "float16": 4e-3, "bfloat16": 3e-2}
"""Differences from NumPy's kernels, as a part of the largest magnitude of a result."""


def ranked(model, rank, kind="float32"):
    """Return a model whose output has so many axes, which onnx does not always infer."""
    output = model.graph.output[0]
    dims = [f"{output.name}{axis}" for axis in range(rank)]
    output.type.CopyFrom(helper.make_tensor_type_proto(TYPES[kind][0], dims))
    return model


def placement(d, rank, kernel, strides, gaps, sizes):
    """Return attributes that say where the result begins and ends."""
    way = d.one("pads", "pads", "same", "shape", "nothing")
    if way == "same":
        return {"auto_pad": d.one("SAME_UPPER", "SAME_LOWER")}
    if way == "shape":
        axes = zip(sizes, kernel, strides, gaps, strict=True)
        full = [s * (n - 1) + g * (k - 1) + 1 for n, k, s, g in axes]
        return {"output_shape": [max(1, n - d.size(2, 0)) for n in full]}
    if way == "nothing":
        return {}
    pads = [d.size(min(1, k - 1), 0) for k in (*kernel, *kernel)]
    most = [max(s, g) - 1 for s, g in zip(strides, gaps, strict=True)]
    return {"pads": pads, "output_padding": [d.size(m, 0) for m in most]}


@pytest.mark.parametrize("target", ["auto", "avx2", "generic"])
@pytest.mark.parametrize("seed", range(60))
def test_a_transposed_convolution_of_any_attributes(seed, target):
    d = Draw(seed)
    rank, kind = d.one(1, 2, 2, 3), d.one("float32", "float32", "float16", "bfloat16")
    group = d.one(1, 1, 2, 3)
    channels, each = group * d.one(1, 4, 9, 16), d.one(1, 5, 17, 32)
    strides, gaps = ([d.one(1, 2, 2, 3) for _ in range(rank)] for _ in range(2))
    gaps = [1 if s % g == 0 else g for s, g in zip(strides, gaps, strict=True)]
    kernel = [s + d.size(3, 0) for s in strides]
    sizes = [d.size(9, 2) for _ in range(rank)]
    x = d.operand("a", d.array((d.size(2), channels, *sizes), kind))
    weights = d.array((channels, each, *kernel)) / np.sqrt(channels * np.prod(kernel))
    inputs = [x, d.constant("w", weights.astype(TYPES[kind][1]))]
    if d.one(True, False):
        inputs.append(d.constant("b", d.array((group * each,), kind)))
    attributes = placement(d, rank, kernel, strides, gaps, sizes)
    attributes |= {"group": group, "strides": strides, "dilations": gaps}
    y = d.add("ConvTranspose", inputs, "y", **attributes)
    if d.one(True, False):
        row = d.array((1, group * each, *(1,) * rank), kind)
        y = d.add("Tanh", [d.add("Mul", [y, d.either("r", row)], "m")], "t")
    model = ranked(d.model([y], 22), rank + 2, kind)
    session = checked(
        model, d.feed, target=target, tolerance=TOLERANCES[kind], least=0.3
    )
    assert ("ConvTranspose", "native") in roles(session)


def upsampling(shape):
    """Return the model of a net that doubles an image, between two convolutions."""
    d = Draw(4)
    d.feed["x"] = d.array(shape)
    w = [(d.array((16, 16, k, k)) / (4 * k)).astype("f") for k in (3, 2, 3)]
    x = d.add("Conv", ["x", d.constant("u", w[0])], "a", pads=[1] * 4)
    x = d.add("ConvTranspose", [x, d.constant("v", w[1])], "b", strides=[2, 2])
    x = d.add(
        "Conv", [d.add("Relu", [x], "c"), d.constant("w", w[2])], "d", pads=[1] * 4
    )
    return ranked(d.model([x]), 4), d.feed


def test_element_wise_work_is_part_of_it_between_convolutions():
    model, feed = upsampling((1, 16, 9, 10))
    session = checked(model, feed, tolerance=1e-5)
    assert groups(session) == ["Conv", "ConvTranspose+Relu", "Conv"]
    assert {role for _, role in roles(session)} == {"native"}


def test_any_number_of_threads_gives_the_same_bits():
    model, feed = upsampling((2, 16, 33, 20))
    results = [opened(model, threads=n).run(None, feed)[0] for n in (1, 2, 3)]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].view(np.int32), other.view(np.int32))


@pytest.mark.parametrize("target", ["auto", "avx2", "generic"])
@pytest.mark.parametrize("seed", range(24))
def test_results_that_no_tap_reaches_are_the_bias(seed, target):
    d = Draw(seed)
    rank, kind = d.one(1, 2, 2, 3), d.one("float32", "float32", "float16", "bfloat16")
    group = d.one(1, 1, 2)
    channels, each = group * d.one(1, 4, 9), d.one(1, 5, 17)
    strides, gaps = ([d.one(2, 2, 3, 4) for _ in range(rank)] for _ in range(2))
    kernel = [d.size(2) for _ in strides]
    sizes = [d.size(6, 2) for _ in range(rank)]
    x = d.operand("a", d.array((d.size(2), channels, *sizes), kind))
    weights = d.array((channels, each, *kernel)) / np.sqrt(channels * np.prod(kernel))
    inputs = [x, d.constant("w", weights.astype(TYPES[kind][1]))]
    if d.one(True, False):
        inputs.append(d.constant("b", d.array((group * each,), kind)))
    attributes = placement(d, rank, kernel, strides, gaps, sizes)
    attributes |= {"group": group, "strides": strides, "dilations": gaps}
    y = d.add("ConvTranspose", inputs, "y", **attributes)
    model = ranked(d.model([y], 22), rank + 2, kind)
    session = checked(
        model, d.feed, target=target, tolerance=TOLERANCES[kind], least=0.3
    )
    assert ("ConvTranspose", "native") in roles(session)


def test_what_no_tap_reaches_holds_nothing_of_the_image():
    d = Draw(5)
    d.feed["x"] = np.full((1, 3, 5, 5), np.inf, np.float32)
    inputs = ["x", d.constant("w", np.ones((3, 4, 2, 2), np.float32))]
    d.add("ConvTranspose", inputs, "y", strides=[3, 3])
    session = checked(ranked(d.model(["y"]), 4), d.feed)
    assert roles(session) == [("ConvTranspose", "native")]


def test_what_follows_is_done_where_no_tap_reaches_too():
    d = Draw(6)
    d.feed["x"] = d.array((1, 3, 5, 5))
    inputs = ["x", d.constant("w", d.array((3, 4, 2, 2))), d.constant("b", d.array(4))]
    d.add("ConvTranspose", inputs, "p", strides=[3, 3])
    d.add("Relu", ["p"], "y")
    session = checked(ranked(d.model(["y"]), 4), d.feed)
    assert groups(session) == ["ConvTranspose", "Relu"]
