"""Integers: exact or refused, and what does not fit at a run goes to the next provider."""

import numpy as np
import pytest
import runtime as ort

pytest.importorskip("openvino")

from runtime_ep_openvino import integers
from small import NAME, SUBJECT, model, session

BIG = np.array([2**24 + 1, 2**24 + 3, 7], np.int64)
EDGE = {np.dtype(np.int8): 100, np.dtype(np.uint8): 200}


def binary(operator, kind):
    return model(
        f"({kind}[3] x, {kind}[3] z) => ({kind}[3] y) {{ y = {operator}(x, z) }}"
    )


def reduced(operator, kind):
    return model(
        f"({kind}[3] x) => ({kind}[1] y) <int64[1] a = {{0}}> {{ y = {operator}(x, a) }}"
    )


REFUSED = [
    *[
        (operator, dtype, "eight bits saturates", binary)
        for operator in ("Add", "Mul", "Sub")
        for dtype in ("int8", "uint8")
    ],
    ("Mul", "int64", "64-bit integers are computed in 32 bits", binary),
    ("ReduceSum", "int64", "computed in float32", reduced),
    ("ReduceMax", "int32", "computed in float32", reduced),
    ("ReduceProd", "int64", "64-bit integers are computed in 32 bits", reduced),
]


@pytest.mark.parametrize(("operator", "kind", "reason", "make"), REFUSED)
def test_what_would_lose_integers_is_refused_and_would_lose_them(
    operator, kind, reason, make, monkeypatch
):
    dtype = np.dtype(kind)
    source = make(operator, kind)
    x = np.full(3, EDGE[dtype], dtype) if dtype in EDGE else BIG.astype(dtype)
    z = x[::-1].copy() if operator != "Sub" else (x + np.asarray(3, dtype))
    if operator == "Sub" and kind == "int8":
        z = np.full(3, -100, np.int8)
    feed = {"x": x, "z": z} if make is binary else {"x": x}
    opened = SUBJECT.open(source)
    assert not opened.owned
    assert any(reason in told for told in opened.refusals)
    (want,) = opened(feed)
    monkeypatch.setattr(integers, "against", lambda node: "")
    nothing = integers.Guard((), 0)
    monkeypatch.setattr("runtime_ep_openvino.requests.guard", lambda part: nothing)
    taken = SUBJECT.open(source, cache=False)
    assert taken.owned
    (got,) = taken(feed)
    assert (got != want).any(), "OpenVINO is right: the line can go"


@pytest.mark.parametrize("value", [2**40, -(2**40), 2**31])
def test_an_integer_that_does_not_fit_moves_the_partition_loudly(value):
    source = model("(int64[n] x) => (int64[n] y) <int64 k = {1}> { y = Add(x, k) }")
    opened = session(source, strict=False)
    (y,) = opened.run(None, {"x": np.array([1, 2, 3])})
    np.testing.assert_array_equal(y, [2, 3, 4])
    with pytest.warns(ort.FallbackWarning, match=f"{NAME}.*'x' holds integers beyond"):
        (y,) = opened.run(None, {"x": np.array([1, value])})
    np.testing.assert_array_equal(y, [2, value + 1])


def test_a_constant_that_does_not_fit_is_refused():
    source = model(
        f"(int64[n] x) => (int64[n] y) <int64 k = {{{2**40}}}> {{ y = Add(x, k) }}"
    )
    opened = SUBJECT.open(source)
    assert not opened.owned
    np.testing.assert_array_equal(opened({"x": np.array([5])})[0], [2**40 + 5])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "bool"])
def test_integers_that_fit_pass_exactly(dtype):
    kind = np.dtype(dtype)
    source = model(
        f"({dtype}[n,4] x) => ({dtype}[4,n] y) {{ y = Transpose<perm = [1, 0]>(x) }}"
    )
    opened = SUBJECT.open(source, cache=False)
    assert opened.owned
    limit = 2 if dtype == "bool" else min(np.iinfo(kind).max, integers.HALF)
    x = np.random.default_rng(0).integers(0, limit, (6, 4)).astype(kind)
    np.testing.assert_array_equal(opened({"x": x})[0], x.T)
