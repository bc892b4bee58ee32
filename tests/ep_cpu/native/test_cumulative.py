"""Running sums and triangles are NumPy's, to the bit, along any axis of any operand."""

import numpy as np
import pytest
from beside_numpy import checked, kernels, roles
from draws import Draw

KINDS = ("float32", "float32", "float16", "bfloat16", "int64", "int32")


@pytest.mark.parametrize("seed", range(60))
def test_running_sums_and_products(seed):
    d = Draw(seed)
    operator = d.one("CumSum", "CumSum", "CumProd")
    shape = [d.one(1, 3, 8, 17, 70) for _ in range(d.size(3))]
    axis = d.size(len(shape) - 1, 0)
    x = d.operand("x", d.array(shape, d.one(*KINDS)))
    place = d.constant("a", np.int64(d.one(axis, axis - len(shape))))
    more = {"exclusive": d.one(0, 1), "reverse": d.one(0, 1)}
    d.add(operator, [x, place], "y", **more)
    session = checked(d.model(["y"], 26), d.feed, tolerance=0)
    assert (operator, "native") in roles(session)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize(
    ("axis", "columns", "family"),
    [(0, 300, "columns"), (1, 300, "lines"), (0, 700, "rows"), (0, 5001, "rows")],
)
def test_columns_that_lie_behind_each_other_are_vectors(
    axis, columns, family, exclusive
):
    d = Draw(1)
    d.feed["x"] = d.array((60, columns))
    a = d.constant("a", np.int64(axis))
    d.add("CumSum", ["x", a], "y", exclusive=exclusive)
    session = checked(d.model(["y"]), d.feed, tolerance=0)
    assert kernels(session) == [f"cumulative_{family}"]


def test_an_axis_that_a_run_tells():
    d = Draw(2)
    d.feed["x"], d.feed["a"] = d.array((5, 6, 7)), np.int64(0)
    d.add("CumSum", ["x", "a"], "y")
    feeds = [{**d.feed, "a": np.int64(axis)} for axis in (0, 1, -1)]
    session = checked(d.model(["y"]), *feeds, tolerance=0)
    assert ("CumSum", "native") in roles(session)


@pytest.mark.parametrize("seed", range(60))
def test_triangles(seed):
    d = Draw(seed)
    shape = [*d.shape(0, 2, 3), d.one(1, 4, 33), d.one(1, 5, 40)]
    x = d.operand("x", d.array(shape, d.one(*KINDS, "bool")))
    names = [x]
    diagonal = d.one(None, 0, 1, -1, 7, -50, 2**40)
    if diagonal is not None:
        names.append(d.constant("k", np.int64(diagonal)))
    d.add("Trilu", names, "y", upper=d.one(0, 1))
    session = checked(d.model(["y"]), d.feed, tolerance=0)
    assert ("Trilu", "native") in roles(session)


@pytest.mark.parametrize("target", ["generic", "avx2"])
def test_lesser_targets(target):
    d = Draw(3)
    d.feed["x"] = d.array((37, 41))
    for axis in (0, 1):
        a = d.constant(f"a{axis}", np.int64(axis))
        d.add("CumSum", ["x", a], f"s{axis}")
    d.feed["z"] = d.array((5, 900))
    d.add("CumSum", ["z", a], "s2")
    d.add("CumSum", ["z", "a0"], "s3", reverse=1)
    d.add("Trilu", ["x"], "t", upper=0)
    outputs = ["s0", "s1", "s2", "s3", "t"]
    checked(d.model(outputs), d.feed, tolerance=0, target=target)
