"""Resizing of every form gives NumPy's results, over images and what lies otherwise."""

from itertools import product

import numpy as np
import pytest
from beside_numpy import checked, kernels, roles
from draws import Draw

COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
COORDINATES += ("align_corners", "asymmetric")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def sizes_of(d, rank):
    return [d.size(9, 2) for _ in range(rank)]


def image(d, shape, kind):
    """Add an operand, or an image that a convolution has made."""
    x = d.operand("x", d.array(shape, kind))
    if kind != "float32" or d.one(True, False):
        return x
    weights = d.constant(
        "w", d.array((d.one(3, 24), shape[1], *[1] * (len(shape) - 2)))
    )
    return d.add("Conv", [x, weights], "conv")


def attributes(d, mode):
    found = {"mode": mode, "coordinate_transformation_mode": d.one(*COORDINATES)}
    if mode == "nearest":
        found["nearest_mode"] = d.one(*NEAREST)
    if mode == "cubic":
        found["cubic_coeff_a"] = d.one(-0.5, -0.75)
        found["exclude_outside"] = d.one(0, 1)
    return found


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("seed", range(40))
def test_resize(mode, seed):
    d = Draw(seed)
    kinds = ("float32", "float32", "float16", "bfloat16")
    kind = d.one(*kinds, "int64", "int32") if mode == "nearest" else d.one(*kinds)
    rank = d.one(1, 2, 2, 3)
    shape = (d.size(2), d.one(1, 3, 20, 70), *sizes_of(d, rank))
    x = image(d, shape, kind)
    every = [d.one(1.0, 2.0, 0.6, 1.7, 3.0) for _ in range(rank)]
    if all(scale == 1.0 for scale in every):
        every[0] = 2.0
    more = attributes(d, mode)
    if d.one(True, False):
        more["axes"] = [axis + 2 for axis in range(rank)]
    else:
        every = [1.0, 1.0, *every]
    if d.one(True, False):
        inputs = [x, "", d.constant("scales", np.float32(every))]
    else:
        dims = shape[-len(every) :]
        wanted = [max(1, int(n * s)) for n, s in zip(dims, every, strict=True)]
        policy = d.one("stretch", "stretch", "not_larger", "not_smaller")
        if "axes" in more:
            more["keep_aspect_ratio_policy"] = policy
        else:
            more["axes"], wanted = [axis + 2 for axis in range(rank)], wanted[2:]
        inputs = [x, "", "", d.constant("sizes", np.array(wanted))]
    y = d.add("Resize", inputs, "r", **more)
    d.add("Identity", [y], "y")
    tolerance = {"float16": 4e-3, "bfloat16": 3e-2}.get(kind, 6e-6)
    session = checked(d.model(["y"]), d.feed, tolerance=tolerance, least=1.0)
    assert ("Resize", "native") in roles(session)


@pytest.mark.parametrize(
    ("mode", "opset"),
    [
        *product(["nearest", "linear"], [10, 11, 13, 18, 19]),
        *product(["cubic"], [11, 13, 18, 19]),
    ],
)
def test_every_opset(mode, opset):
    d = Draw(opset)
    d.feed["x"] = d.array((2, 19, 5, 8))
    scales = d.constant("scales", np.float32([1, 1, 0.6, 1.5]))
    roi = [d.constant("roi", np.zeros(0, np.float32))] if opset > 10 else []
    d.add("Resize", ["x", *roi, scales], "y", mode=mode)
    session = checked(d.model(["y"], opset), d.feed, tolerance=4e-6)
    assert ("Resize", "native") in roles(session)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [7, 9])
def test_upsample(mode, opset):
    d = Draw(opset)
    d.feed["x"] = d.array((2, 19, 5, 8))
    scales = [1.0, 1.0, 2.0, 1.5]
    if opset == 7:
        d.add("Upsample", ["x"], "y", mode=mode, scales=scales)
    else:
        names = ["x", d.constant("scales", np.float32(scales))]
        d.add("Upsample", names, "y", mode=mode)
    session = checked(d.model(["y"], opset), d.feed, tolerance=4e-6)
    assert roles(session) == [("Resize", "native")]


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_infinities_and_nan_spread_as_in_the_numpy_kernel(mode):
    d = Draw(1)
    x = d.array((1, 20, 6, 6))
    x[0, ::2, 2, 3], x[0, ::3, 4, 1], x[0, 5, 0, 0] = np.inf, np.nan, -np.inf
    d.feed["x"] = x
    scales = d.constant("scales", np.float32([1, 1, 2, 1.5]))
    d.add("Resize", ["x", "", scales], "y", mode=mode)
    checked(d.model(["y"]), d.feed, tolerance=4e-6)


def test_an_image_that_stays_as_large_is_not_touched():
    d = Draw(2)
    d.feed["x"] = d.array((1, 3, 9, 9))
    weights = d.constant("w", d.array((24, 3, 1, 1)))
    c = d.add("Conv", ["x", weights], "c")
    scales = d.constant("scales", np.ones(4, np.float32))
    r = d.add("Resize", [c, "", scales], "r", mode="linear")
    d.add("GlobalMaxPool", [r], "y")
    session = checked(d.model(["y"]), d.feed, tolerance=4e-6)
    assert "resample" not in kernels(session)


def test_sizes_follow_from_another_image():
    d = Draw(3)
    d.feed["x"], d.feed["z"] = d.array((2, 20, 5, 6)), d.array((2, 7, 11, 9))
    d.add("Shape", ["z"], "whole", start=2)
    first = d.constant("first", np.array([2, 20]))
    d.add("Concat", [first, "whole"], "sizes", axis=0)
    r = d.add("Resize", ["x", "", "", "sizes"], "r", mode="linear")
    d.add("Concat", [r, "z"], "y", axis=1)
    session = checked(d.model(["y"]), d.feed, tolerance=4e-6)
    assert ("Resize", "native") in roles(session)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("seed", range(20))
def test_filters(mode, seed):
    d = Draw(seed)
    kind = d.one("float32", "float32", "float16", "bfloat16")
    rank = d.one(1, 2, 2, 3)
    shape = (d.size(2), d.one(1, 3, 20, 70), *(d.size(12, 5) for _ in range(rank)))
    x = image(d, shape, kind)
    every = [d.one(1.0, 1.6, 0.6, 0.3, 0.2) for _ in range(rank)]
    every[-1] = 0.4
    more = {**attributes(d, mode), "antialias": 1}
    if mode == "linear":
        more["exclude_outside"] = 1
    scales = d.constant("scales", np.float32([1.0, 1.0, *every]))
    y = d.add("Resize", [x, "", scales], "r", **more)
    d.add("Identity", [y], "y")
    tolerance = {"float16": 4e-3, "bfloat16": 3e-2}.get(kind, 6e-6)
    session = checked(d.model(["y"]), d.feed, tolerance=tolerance, least=1.0)
    assert ("Resize", "native") in roles(session)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("seed", range(20))
def test_crops(mode, seed):
    d = Draw(seed)
    kinds = ("float32", "float32", "float16", "bfloat16")
    kind = d.one(*kinds, "int64", "bool") if mode == "nearest" else d.one(*kinds)
    rank = d.one(1, 2, 2, 3)
    shape = (d.size(2), d.one(1, 3, 20, 70), *sizes_of(d, rank))
    x = image(d, shape, kind)
    sizes = [d.size(9) for _ in range(rank)]
    ends = [sorted(d.rng.uniform(-0.4, 1.4, 2))[:: d.one(1, 1, -1)] for _ in sizes]
    if d.one(True, False):
        sizes[0], ends[0] = shape[2], [0.0, 1.0]
    roi = [*(start for start, _ in ends), *(end for _, end in ends)]
    more = attributes(d, mode) | {"axes": list(range(2, rank + 2))}
    more["coordinate_transformation_mode"] = "tf_crop_and_resize"
    more["extrapolation_value"] = d.one(0.0, 1.0, -2.5)
    names = [x, d.constant("roi", np.float32(roi)), "", d.constant("sizes", sizes)]
    y = d.add("Resize", names, "r", **more)
    d.add("Identity", [y], "y")
    tolerance = {"float16": 4e-3, "bfloat16": 3e-2}.get(kind, 6e-6)
    session = checked(d.model(["y"]), d.feed, tolerance=tolerance, least=1.0)
    assert ("Resize", "native") in roles(session)


def test_a_pixel_that_a_filter_does_not_see_does_not_count():
    d = Draw(6)
    x = d.array((1, 20, 8, 8))
    x[0, ::2, 7], x[0, ::3, :, 7] = np.inf, np.nan
    d.feed["x"] = x
    scales = d.constant("scales", np.float32([1, 1, 0.5, 0.5]))
    d.add("Resize", ["x", "", scales], "y", mode="linear", antialias=1)
    checked(d.model(["y"]), d.feed, tolerance=4e-6)


def test_channels_are_left_to_numpy():
    d = Draw(4)
    d.feed["x"] = d.array((1, 4, 6, 6))
    d.add("Relu", ["x"], "r")
    scales = d.constant("scales", np.float32([1, 2, 1, 1]))
    d.add("Resize", ["r", "", scales], "y", mode="linear")
    checked(d.model(["y"]), d.feed, tolerance=4e-6, moves=True)


@pytest.mark.parametrize("target", ["generic", "avx2"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_lesser_targets(target, mode):
    d = Draw(5)
    d.feed["x"] = d.array((2, 37, 6, 7))
    scales = d.constant("scales", np.float32([1, 1, 2, 0.7]))
    d.add("Resize", ["x", "", scales], "y", mode=mode)
    half = d.constant("half", np.float32([1, 1, 0.5, 0.4]))
    d.add("Resize", ["x", "", half], "z", mode=mode, antialias=1)
    checked(d.model(["y", "z"]), d.feed, tolerance=4e-6, target=target)
