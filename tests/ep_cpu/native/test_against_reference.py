"""Operators that look things up, sample or order give what ONNX's reference does."""

import numpy as np
import pytest
from beside_numpy import opened, roles, same
from draws import Draw
from onnx.reference import ReferenceEvaluator

SEEDS = range(12)


def compared(d, outputs, opset, operator, tolerance=0.0):
    """Assert that native code and the reference give the same for what was drawn."""
    model = d.model(outputs, opset)
    session = opened(model)
    assert (operator, "native") in roles(session)
    want = ReferenceEvaluator(model).run(None, d.feed)
    for one, other in zip(session.run(None, d.feed), want, strict=True):
        same(one, np.asarray(other, one.dtype), tolerance, 1.0)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("seed", SEEDS)
def test_grid_sample(seed, mode):
    d = Draw(seed)
    rank = 2 if mode == "cubic" else d.one(2, 3)
    sizes = [d.size(7, 2) for _ in range(rank)]
    d.feed["x"] = d.array((2, d.one(1, 3, 18), *sizes))
    points = [d.size(4) for _ in range(rank)]
    d.feed["g"] = d.rng.uniform(-1.3, 1.3, (2, *points, rank)).astype(np.float32)
    paddings = ("zeros",) if mode == "cubic" else ("zeros", "border")  # see differences
    more = {"padding_mode": d.one(*paddings), "align_corners": d.one(0, 1)}
    d.add("GridSample", ["x", "g"], "y", mode=mode, **more)
    compared(d, ["y"], 22, "GridSample", 1e-5)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("seed", SEEDS)
def test_roi_align(seed, mode):
    d = Draw(seed)
    d.feed["x"] = d.array((2, d.one(1, 3, 18), 12, 14))
    starts = d.rng.uniform(0, 6, (4, 2))
    ends = starts + d.rng.uniform(0.5, 6, (4, 2))
    d.feed["r"] = np.concatenate([starts, ends], axis=1).astype(np.float32)
    d.feed["b"] = d.rng.integers(0, 2, 4)
    more = {"output_height": d.size(4), "output_width": d.size(4), "mode": mode}
    more["coordinate_transformation_mode"] = d.one("half_pixel", "output_half_pixel")
    more["sampling_ratio"] = d.one(0, 1, 2)
    d.add("RoiAlign", ["x", "r", "b"], "y", **more)
    compared(d, ["y"], 16, "RoiAlign", 1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_non_max_suppression(seed):
    d = Draw(seed)
    number = d.one(1, 20, 70)
    d.feed["b"] = d.rng.uniform(0, 10, (2, number, 4)).astype(np.float32)
    d.feed["s"] = d.rng.random((2, 3, number)).astype(np.float32)
    names = ["b", "s", d.constant("n", np.array([d.one(1, 5, 30)]))]
    names += [d.constant("o", np.float32([0.4])), d.constant("l", np.float32([0.3]))]
    more = {"center_point_box": d.one(0, 1)}
    d.add("NonMaxSuppression", names, "y", **more)
    compared(d, ["y"], 11, "NonMaxSuppression")


@pytest.mark.parametrize("seed", SEEDS)
def test_top_k(seed):
    d = Draw(seed)
    d.feed["x"] = d.array((3, d.one(5, 70, 900)))
    k = d.constant("k", np.array([d.one(1, 5)]))
    d.add("TopK", ["x", k], "v", "i", largest=d.one(0, 1))
    compared(d, ["v", "i"], 11, "TopK")


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("seed", SEEDS)
def test_scatter_nd(seed, reduction):
    d = Draw(seed)
    d.feed["x"] = d.array((4, 5, 20))
    depth = d.one(1, 2)
    i = np.stack([d.rng.integers(0, n, 7) for n in (4, 5)[:depth]], axis=1)
    d.feed["u"] = d.array((7, *(4, 5, 20)[depth:]))
    names = ["x", d.constant("i", i), "u"]
    d.add("ScatterND", names, "y", reduction=reduction)
    compared(d, ["y"], 18, "ScatterND", 1e-6)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("seed", SEEDS)
def test_scatter_elements(seed, reduction):
    d = Draw(seed)
    axis = d.one(0, 1)
    d.feed["x"], d.feed["u"] = d.array((6, 7)), d.array((4, 5))
    i = d.constant("i", d.rng.integers(0, (6, 7)[axis], (4, 5)))
    d.add("ScatterElements", ["x", i, "u"], "y", axis=axis, reduction=reduction)
    compared(d, ["y"], 18, "ScatterElements", 1e-6)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("seed", SEEDS)
def test_filtered_resizing(seed, mode):
    d = Draw(seed)
    d.feed["x"] = d.array((1, d.one(1, 3, 18), d.size(12, 6), d.size(12, 6)))
    sizes = [1, d.feed["x"].shape[1], d.size(5, 2), d.size(5, 2)]
    names = ["x", "", "", d.constant("z", np.array(sizes))]
    d.add("Resize", names, "y", mode=mode, antialias=1, exclude_outside=1)
    compared(d, ["y"], 19, "Resize", 1e-5)
