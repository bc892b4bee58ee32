"""Look-ups and scatters by indices give exactly NumPy's results, duplicates in order."""

import numpy as np
import pytest
from beside_numpy import checked, kernels, roles
from draws import Draw

KINDS = ("float32", "float16", "bfloat16", "int64", "int32", "bool")
SEEDS = range(40)


def indices(d, limits, shape, kind):
    """Return integers of a shape, each below the limit of its last axis, also negative."""
    limits = np.broadcast_to(np.asarray(limits), shape)
    return d.rng.integers(-limits, limits).astype(kind)


def cut(d, shape, axis):
    """Return a shape no longer than another but along one axis."""
    found = [d.size(size) for size in shape]
    found[axis] = d.size(7)
    return tuple(found)


@pytest.mark.parametrize("seed", SEEDS)
def test_gather_elements(seed):
    d = Draw(seed)
    shape = d.shape(1, 4, 6)
    axis = d.size(len(shape) - 1, 0)
    x = d.operand("x", d.array(shape, d.one(*KINDS)))
    i = indices(d, shape[axis], cut(d, shape, axis), d.one("int64", "int32"))
    i = d.either("i", i)
    d.add("GatherElements", [x, i], "y", axis=d.one(axis, axis - len(shape)))
    session = checked(d.model(["y"]), d.feed)
    assert ("GatherElements", "native") in roles(session)


@pytest.mark.parametrize("seed", SEEDS)
def test_gather_nd(seed):
    d = Draw(seed)
    shape = d.shape(1, 4, 6)
    batch = d.size(len(shape) - 1, 0)
    depth = d.size(len(shape) - batch)
    tuples = (*shape[:batch], *d.shape(1, 2, 5), depth)
    x = d.operand("x", d.array(shape, d.one(*KINDS)))
    chosen = shape[batch : batch + depth]
    i = d.constant("i", indices(d, chosen, tuples, "int64"))
    d.add("GatherND", [x, i], "y", batch_dims=batch)
    session = checked(d.model(["y"]), d.feed)
    assert ("GatherND", "native") in roles(session)


def reduced(d):
    """Return a reduction, and an element type that has it natively."""
    operation = d.one("none", "add", "mul", "max", "min")
    kinds = KINDS if operation == "none" else ("float32", "int64", "int32")
    return operation, d.one(*kinds)


@pytest.mark.parametrize("seed", SEEDS)
def test_scatter_elements(seed):
    d = Draw(seed)
    operation, kind = reduced(d)
    shape = d.shape(1, 4, 6)
    axis = d.size(len(shape) - 1, 0)
    x = d.operand("x", d.array(shape, kind))
    i = indices(d, shape[axis], cut(d, shape, axis), d.one("int64", "int32"))
    updates = d.operand("u", d.array(i.shape, kind))
    names = [x, d.either("i", i), updates]
    d.add("ScatterElements", names, "y", axis=axis, reduction=operation)
    session = checked(d.model(["y"]), d.feed, tolerance=0)
    assert ("ScatterElements", "native") in roles(session)


@pytest.mark.parametrize("seed", SEEDS)
def test_scatter_nd(seed):
    d = Draw(seed)
    operation, kind = reduced(d)
    shape = (*d.shape(1, 3, 4), d.one(3, 16, 70))
    depth = d.size(len(shape))
    i = indices(d, shape[:depth], (*d.shape(1, 2, 9), depth), "int64")
    x = d.operand("x", d.array(shape, kind))
    updates = d.operand("u", d.array((*i.shape[:-1], *shape[depth:]), kind))
    names = [x, d.constant("i", i), updates]
    d.add("ScatterND", names, "y", reduction=operation)
    session = checked(d.model(["y"]), d.feed, tolerance=0)
    assert ("ScatterND", "native") in roles(session)


@pytest.mark.parametrize("reduction", ["none", "add", "max"])
@pytest.mark.parametrize("threads", [1, 2])
def test_updates_of_one_row_follow_each_other(reduction, threads):
    d = Draw(7)
    d.feed["x"], d.feed["u"] = d.array((5, 40000)), d.array((64, 40000))
    i = d.constant("i", d.rng.integers(0, 5, (64, 1)))
    d.add("ScatterND", ["x", i, "u"], "y", reduction=reduction)
    session = checked(d.model(["y"]), d.feed, threads=threads, tolerance=0)
    wanted = "scatter_rows" if reduction == "none" else "combine_rows"
    assert wanted in kernels(session)


@pytest.mark.parametrize("reduction", ["max", "min"])
def test_nan_is_the_largest_and_the_smallest(reduction):
    d = Draw(8)
    x, u = d.array((4, 20)), d.array((6, 20))
    x[1, ::3], u[2, ::4] = np.nan, np.nan
    d.feed["x"], d.feed["u"] = x, u
    i = d.constant("i", np.array([[0], [1], [1], [3], [3], [3]]))
    d.add("ScatterND", ["x", i, "u"], "y", reduction=reduction)
    checked(d.model(["y"]), d.feed, tolerance=0)


@pytest.mark.parametrize("operator", ["GatherElements", "ScatterElements"])
def test_an_index_out_of_range_is_for_numpy_to_refuse(operator):
    d = Draw(9)
    d.feed["x"], d.feed["i"] = d.array((4, 5)), np.full((1, 5), 2)
    names = ["x", "i"]
    if operator == "ScatterElements":
        d.feed["u"] = d.array((1, 5))
        names.append("u")
    d.add(operator, names, "y", axis=0)
    session = checked(d.model(["y"]), d.feed)
    with pytest.raises(Exception, match="4"):
        session.run(None, {**d.feed, "i": np.full((1, 5), 4)})


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "bool"])
def test_reductions_of_other_types_are_numpys(kind):
    d = Draw(10)
    x = d.array((4, 5), "float32" if kind == "bool" else kind)
    d.feed["x"], d.feed["u"] = x, x[:1]
    i = d.constant("i", np.zeros((1, 1), np.int64))
    d.add("Neg", ["x"], "n")
    operation = "add"
    d.add("ScatterND", ["n", i, "u"], "y", reduction=operation)
    session = checked(d.model(["y"]), d.feed)
    role = "native" if kind == "bool" else "host"
    assert ("ScatterND", role) in roles(session)


@pytest.mark.parametrize("target", ["generic", "avx2"])
def test_lesser_targets(target):
    d = Draw(11)
    d.feed["x"], d.feed["u"] = d.array((5, 70)), d.array((9, 70))
    i = d.constant("i", d.rng.integers(0, 5, (9, 1)))
    e = d.constant("e", d.rng.integers(0, 5, (9, 70)))
    s = d.add("ScatterND", ["x", i, "u"], "s", reduction="add")
    t = d.add("ScatterElements", [s, e, "u"], "t", reduction="mul")
    d.add("GatherElements", [t, e], "y")
    checked(d.model(["y"]), d.feed, target=target, tolerance=0)
