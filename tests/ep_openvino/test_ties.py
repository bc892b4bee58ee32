"""TopK gives equal values in the order of their indices, as ONNX prescribes."""

import numpy as np
import pytest

pytest.importorskip("openvino")

from small import SUBJECT, model


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize(
    ("dims", "shape", "axis"),
    [
        ("4,64", (4, 64), 1),
        ("n,300", (5, 300), 1),
        ("64,n", (64, 3), 0),
        ("2,n,3", (2, 9, 3), 1),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int64", "uint8"])
def test_equal_values_come_by_index(dtype, dims, shape, axis, count, largest):
    kind = "float" if dtype == "float32" else dtype
    outer = ",".join("abc"[: len(shape)])
    source = model(
        f"({kind}[{dims}] x) => ({kind}[{outer}] y, int64[{outer}] i) "
        f"<int64[1] k = {{{count}}}> "
        f"{{ y, i = TopK<axis = {axis}, largest = {largest}>(x, k) }}"
    )
    opened = SUBJECT.open(source, cache=False)
    assert opened.owned
    x = np.random.default_rng(count).integers(0, 4, shape).astype(dtype)
    values, indices = opened({"x": x})
    wide = x.astype(np.float64)
    order = np.argsort(-wide if largest else wide, axis, kind="stable")
    want = np.take(order, range(count), axis)
    np.testing.assert_array_equal(indices, want)
    np.testing.assert_array_equal(values, np.take_along_axis(x, want, axis))
    assert not opened.faults


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_large_integers_are_told_apart(dtype):
    source = model(
        f"({dtype}[n] x) => ({dtype}[a] y, int64[a] i) <int64[1] k = {{5}}> "
        "{ y, i = TopK(x, k) }"
    )
    x = (2**29 + np.random.default_rng(0).permutation(64)).astype(dtype)
    opened = SUBJECT.open(source, cache=False)
    values, indices = opened({"x": x})
    np.testing.assert_array_equal(indices, np.argsort(-x)[:5])
    np.testing.assert_array_equal(values, x[indices])
    assert not opened.faults
