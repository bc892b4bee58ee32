"""TopK gives exactly NumPy's elements and places, ties and NaN included."""

import numpy as np
import pytest
from beside_numpy import checked, kernels, roles
from draws import Draw


def numbers(d, shape, kind, steps):
    """Return numbers many of which are alike, with NaN and both zeros among floats."""
    if kind == "int32":
        return d.rng.integers(-steps, steps, shape).astype(np.int32)
    x = (d.rng.integers(-steps, steps, shape) % 60000 / 8).astype(
        d.array(1, kind).dtype
    )
    spoiled = d.rng.random(shape)
    x[spoiled < 0.03], x[spoiled > 0.97] = d.one(np.nan, np.inf), -0.0
    return x


@pytest.mark.parametrize("seed", range(80))
def test_top_k(seed):
    d = Draw(seed)
    kind = d.one("float32", "float32", "float16", "bfloat16", "int32")
    shape = [d.size(4) for _ in range(d.size(3))]
    axis = d.size(len(shape) - 1, 0)
    shape[axis] = d.one(1, 7, 63, 65, 200, 1500, 5000)
    k = min(shape[axis], d.one(1, 2, 30, 200, 10**4))
    x = d.operand("x", numbers(d, shape, kind, d.one(3, 100, 10**6)))
    more = {"largest": d.one(0, 1), "sorted": d.one(0, 1, 1), "axis": axis}
    d.add("TopK", [x, d.constant("k", np.array([k]))], "v", "i", **more)
    session = checked(d.model(["v", "i"], 24), d.feed, tolerance=0)
    assert ("TopK", "native") in roles(session)


@pytest.mark.parametrize("way", ["rising", "falling", "alike"])
@pytest.mark.parametrize("k", [1, 50, 600])
def test_rows_in_any_order(way, k):
    d = Draw(1)
    x = np.arange(20000, dtype=np.float32)
    d.feed["x"] = {"rising": x, "falling": -x, "alike": np.ones_like(x)}[way]
    d.add("TopK", ["x", d.constant("k", np.array([k]))], "v", "i")
    checked(d.model(["v", "i"]), d.feed, tolerance=0)


def test_a_number_that_a_run_tells():
    d = Draw(2)
    d.feed["x"], d.feed["k"] = d.array((3, 40)), np.array([2])
    d.add("TopK", ["x", "k"], "v", "i")
    d.add("Exp", ["v"], "y")
    feeds = [{**d.feed, "k": np.array([n])} for n in (2, 40, 7)]
    session = checked(d.model(["y", "i"]), *feeds)
    assert ("TopK", "native") in roles(session)


def test_places_alone_and_values_alone():
    d = Draw(3)
    d.feed["x"] = d.array((5, 90))
    k = d.constant("k", np.array([3]))
    d.add("TopK", ["x", k], "v", "")
    d.add("TopK", ["x", k], "", "i", largest=0)
    session = checked(d.model(["v", "i"]), d.feed, tolerance=0)
    assert kernels(session).count("top_k") == 2


@pytest.mark.parametrize("k", [-1, 41])
def test_more_than_there_are_is_for_numpy_to_refuse(k):
    d = Draw(4)
    d.feed["x"], d.feed["k"] = d.array((3, 40)), np.array([2])
    d.add("TopK", ["x", "k"], "v", "i")
    session = checked(d.model(["v", "i"]), d.feed, tolerance=0)
    with pytest.raises(Exception, match="k is"):
        session.run(None, {**d.feed, "k": np.array([k])})


@pytest.mark.parametrize("opset", [1, 10, 11])
def test_every_opset(opset):
    d = Draw(5)
    d.feed["x"] = d.array((3, 40))
    if opset == 1:
        d.add("TopK", ["x"], "v", "i", k=4)
    else:
        d.add("TopK", ["x", d.constant("k", np.array([4]))], "v", "i")
    session = checked(d.model(["v", "i"], opset), d.feed, tolerance=0)
    assert ("TopK", "native") in roles(session)


@pytest.mark.parametrize("target", ["generic", "avx2"])
def test_lesser_targets(target):
    d = Draw(6)
    d.feed["x"] = numbers(d, (3, 9000), "float32", 500)
    d.add("TopK", ["x", d.constant("k", np.array([70]))], "v", "i")
    checked(d.model(["v", "i"]), d.feed, tolerance=0, target=target)
