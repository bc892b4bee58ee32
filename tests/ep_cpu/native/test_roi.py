"""Regions of images, aligned or pooled, give NumPy's results whatever the regions are."""

from itertools import product

import numpy as np
import pytest
from beside_numpy import checked, opened, roles
from draws import Draw

TOLERANCE = {"float32": 8e-6, "float16": 4e-3, "bfloat16": 3e-2}
COORDINATES = ("half_pixel", "output_half_pixel")
SEEDS = range(25)


def drawn(d, kind="float32"):
    """Return an image, and corners of regions within and beyond it, also turned over."""
    shape = (d.size(2), d.one(1, 3, 20, 70), d.size(20), d.size(20))
    count = d.size(6)
    corners = d.rng.uniform(-6, 30, (count, 4))
    if d.one(True, True, False):
        corners = np.sort(corners.reshape(count, 2, 2), axis=1).reshape(count, 4)
    return d.array(shape, kind), corners, d.rng.integers(0, shape[0], count)


@pytest.mark.parametrize(
    ("mode", "coordinates"), [*product(["avg", "max"], COORDINATES)]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_roi_align(mode, coordinates, seed):
    d = Draw(seed)
    kind = d.one("float32", "float32", "float16", "bfloat16")
    x, corners, images = drawn(d, kind)
    names = [
        d.operand("x", x),
        d.either("r", corners.astype(x.dtype)),
        d.either("b", images),
    ]
    more = {
        "mode": mode, "coordinate_transformation_mode": coordinates,
        "output_height": d.size(5), "output_width": d.size(5),
        "sampling_ratio": d.one(0, 0, 1, 2, 3), "spatial_scale": d.one(1.0, 0.25, 0.3),
    }  # fmt: skip
    y = d.add("RoiAlign", names, "a", **more)
    d.add("Identity", [y], "y")
    model = d.model(["y"], 22)
    session = checked(model, d.feed, tolerance=TOLERANCE[kind], least=1.0)
    assert ("RoiAlign", "native") in roles(session)


def test_coordinates_of_opset_10_are_not_shifted():
    d = Draw(1)
    x, corners, images = drawn(d)
    d.feed["x"], d.feed["r"], d.feed["b"] = x, corners.astype(np.float32), images
    d.add("RoiAlign", ["x", "r", "b"], "y", output_height=3, output_width=2)
    session = checked(d.model(["y"], 10), d.feed, tolerance=8e-6)
    assert ("RoiAlign", "native") in roles(session)


@pytest.mark.parametrize("seed", SEEDS)
def test_max_roi_pool(seed):
    d = Draw(seed)
    kind = d.one("float32", "float32", "float16")
    x, corners, images = drawn(d, kind)
    regions = np.concatenate([images[:, None], corners], axis=1).astype(x.dtype)
    names = [d.operand("x", x), d.either("r", regions)]
    shape = [d.size(6), d.size(6)]
    more = {"pooled_shape": shape, "spatial_scale": d.one(1.0, 0.5, 0.3)}
    y = d.add("MaxRoiPool", names, "p", **more)
    d.add("Identity", [y], "y")
    session = checked(d.model(["y"]), d.feed, tolerance=0)
    assert ("MaxRoiPool", "native") in roles(session)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_pixels_that_no_point_sees_do_not_count(mode):
    d = Draw(2)
    x = d.array((1, 20, 12, 12))
    d.feed["r"] = np.float32([[4.5, 4.5, 6.5, 6.5], [9, 9, 11, 11]])
    d.feed["b"], d.feed["x"] = np.zeros(2, np.int64), x
    more = {"output_height": 2, "output_width": 2, "mode": mode}
    d.add("RoiAlign", ["x", "r", "b"], "y", sampling_ratio=2, **more)
    session = opened(d.model(["y"]))
    (want,) = session.run(None, d.feed)
    x[:, ::2, 7], x[:, ::3, 0], x[:, ::4, 3, 3] = np.nan, np.inf, np.nan
    (got,) = session.run(None, d.feed)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("wrong", ["image", "infinite"])
@pytest.mark.parametrize("operator", ["RoiAlign", "MaxRoiPool"])
def test_a_region_that_is_wrong_is_for_numpy_to_refuse(operator, wrong):
    d = Draw(3)
    regions, images = np.float32([[1, 1, 3, 3]]), np.array([0])
    more = {"pooled_shape": [2, 2]}
    d.feed["x"] = d.array((1, 3, 5, 5))
    names = ["x", "r"]
    if operator == "RoiAlign":
        more = {}
        d.feed["b"] = images
        names.append("b")
    else:
        regions = np.concatenate([images[:, None], regions], 1).astype(np.float32)
    d.feed["r"] = regions
    d.add(operator, names, "y", **more)
    session = checked(d.model(["y"]), d.feed, tolerance=8e-6)
    spoiled = {**d.feed, "r": regions.copy()}
    if wrong == "infinite":
        spoiled["r"][0, -1] = np.inf
    elif operator == "RoiAlign":
        spoiled["b"] = np.array([1])
    else:
        spoiled["r"][0, 0] = 1
    with pytest.raises(Exception, match="finite|batch|image"):
        session.run(None, spoiled)


@pytest.mark.parametrize("target", ["generic", "avx2"])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_lesser_targets(target, mode):
    d = Draw(4)
    x, corners, images = drawn(d)
    d.feed["x"], d.feed["r"], d.feed["b"] = x, corners.astype(np.float32), images
    more = {"output_height": 3, "output_width": 4, "mode": mode}
    d.add("RoiAlign", ["x", "r", "b"], "y", **more)
    d.feed["q"] = np.concatenate([images[:, None], corners], 1).astype(np.float32)
    d.add("MaxRoiPool", ["x", "q"], "z", pooled_shape=[3, 3])
    checked(d.model(["y", "z"]), d.feed, tolerance=8e-6, target=target)
