"""Sampling at points of every form gives NumPy's results, over images and other layouts."""

from itertools import product

import numpy as np
import pytest
from beside_numpy import checked, kernels, roles
from draws import Draw

MODES = ("nearest", "linear", "cubic")
PADDINGS = ("zeros", "border", "reflection")
TOLERANCE = {"float32": 8e-6, "float16": 4e-3, "bfloat16": 3e-2}


def image(d, shape, kind):
    """Add an operand, or an image that a convolution has made."""
    x = d.operand("x", d.array(shape, kind))
    if kind != "float32" or d.one(True, False):
        return x
    weights = d.constant(
        "w", d.array((d.one(3, 24), shape[1], *[1] * (len(shape) - 2)))
    )
    return d.add("Conv", [x, weights], "conv")


def points(d, batch, rank, kind="float32"):
    """Return a grid, some of whose points lie outside."""
    sizes = [d.size(7) for _ in range(rank)]
    return d.rng.uniform(-1.6, 1.6, (batch, *sizes, rank)).astype(np.dtype(kind))


@pytest.mark.parametrize(("mode", "padding"), [*product(MODES, PADDINGS)])
@pytest.mark.parametrize("seed", range(12))
def test_grid_sample(mode, padding, seed):
    d = Draw(seed)
    kinds = ("float32", "float32", "float16", "bfloat16")
    kind = d.one(*kinds, "int64", "bool") if mode == "nearest" else d.one(*kinds)
    rank = d.one(1, 2, 2, 3)
    shape = (d.size(2), d.one(1, 3, 20, 70), *(d.size(9) for _ in range(rank)))
    x = image(d, shape, kind)
    grid = d.either("g", points(d, shape[0], rank, d.one("float32", "float16")))
    more = {"mode": mode, "padding_mode": padding, "align_corners": d.one(0, 1)}
    y = d.add("GridSample", [x, grid], "s", **more)
    d.add("Identity", [y], "y")
    tolerance = TOLERANCE.get(kind, 0)
    session = checked(d.model(["y"], 22), d.feed, tolerance=tolerance, least=1.0)
    assert ("GridSample", "native") in roles(session)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_the_names_of_opset_16(mode):
    d = Draw(1)
    d.feed["x"], d.feed["g"] = d.array((2, 5, 6, 7)), points(d, 2, 2)
    d.add("GridSample", ["x", "g"], "y", mode=mode)
    session = checked(d.model(["y"], 16), d.feed, tolerance=8e-6)
    assert ("GridSample", "native") in roles(session)


@pytest.mark.parametrize(("padding", "corners"), [*product(PADDINGS, (0, 1))])
@pytest.mark.parametrize("mode", MODES)
def test_points_at_pixels_and_far_away(mode, padding, corners):
    d = Draw(2)
    d.feed["x"] = d.array((1, 4, 8, 8))
    steps = np.linspace(-8, 8, 129, dtype=np.float32)
    d.feed["g"] = np.stack(np.meshgrid(steps, steps), axis=-1)[None]
    more = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    d.add("GridSample", ["x", "g"], "y", **more)
    checked(d.model(["y"]), d.feed, tolerance=8e-6)


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_pixel_outside_is_not_read(padding):
    d = Draw(3)
    x = d.array((1, 20, 4, 4))
    x[0, ::2, 0, 0], x[0, ::3, 3, 3] = np.inf, np.nan
    d.feed["x"], d.feed["g"] = x, points(d, 1, 2)
    d.add("GridSample", ["x", "g"], "y", padding_mode=padding)
    checked(d.model(["y"]), d.feed, tolerance=8e-6)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_points_that_are_no_number_or_infinite(mode, padding):
    d = Draw(4)
    grid = points(d, 1, 2)
    grid[0, 0, :, 0] = np.nan
    grid[0, :, 0, 1] = np.inf
    grid[0, -1, -1] = -np.inf, np.nan
    d.feed["x"], d.feed["g"] = d.array((1, 3, 5, 6)), grid
    d.add("GridSample", ["x", "g"], "y", mode=mode, padding_mode=padding)
    checked(d.model(["y"]), d.feed, tolerance=8e-6)


@pytest.mark.parametrize("padding", PADDINGS)
def test_axes_of_one_pixel(padding):
    d = Draw(5)
    d.feed["x"], d.feed["g"] = d.array((2, 3, 1, 1)), points(d, 2, 2)
    for corners in (0, 1):
        more = {"padding_mode": padding, "align_corners": corners}
        d.add("GridSample", ["x", "g"], f"y{corners}", **more)
    checked(d.model(["y0", "y1"]), d.feed, tolerance=8e-6)


def test_what_follows_a_convolution_and_precedes_one_stays_an_image():
    d = Draw(6)
    d.feed["x"], d.feed["g"] = d.array((1, 16, 12, 12)), points(d, 1, 2)
    w = d.constant("w", d.array((16, 16, 3, 3)))
    a = d.add("Conv", ["x", w], "a", pads=[1, 1, 1, 1])
    s = d.add("GridSample", [a, "g"], "s")
    b = d.add("Conv", [s, w], "b", pads=[1, 1, 1, 1])
    d.add("GlobalAveragePool", [b], "y")
    session = checked(d.model(["y"]), d.feed, tolerance=2e-5)
    after = kernels(session)[kernels(session).index("grid_sample") :]
    assert "copy_transposed" not in after


@pytest.mark.parametrize("target", ["generic", "avx2"])
@pytest.mark.parametrize(("mode", "padding"), [*product(MODES, PADDINGS)])
def test_lesser_targets(target, mode, padding):
    d = Draw(8)
    d.feed["x"], d.feed["g"] = d.array((2, 37, 6, 7)), points(d, 2, 2)
    d.add("GridSample", ["x", "g"], "y", mode=mode, padding_mode=padding)
    checked(d.model(["y"]), d.feed, tolerance=8e-6, target=target)
