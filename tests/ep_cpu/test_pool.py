"""Pooling against walks over every window, and against onnxruntime."""

from __future__ import annotations

import itertools
import math

import ml_dtypes
import numpy as np
import pytest
from evaluate import narrow, run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime
from runtime.errors import ExecutionError

pytestmark = pytest.mark.filterwarnings("error")


def random(shape, dtype=np.float32, seed=0):
    """Few different numbers, so that windows have several largest elements."""
    rng = np.random.default_rng(seed)
    low = 0 if np.dtype(dtype).kind == "u" else -5
    return rng.integers(low, 6, shape).astype(dtype)


@st.composite
def pools(draw, most_axes=3):
    rank = draw(st.integers(1, most_axes))

    def each(low, high):
        return [draw(st.integers(low, high)) for _ in range(rank)]

    kernel, strides, dilations = each(1, 3), each(1, 3), each(1, 2)
    sizes = [
        d * (k - 1) + 1 + draw(st.integers(0, 4))
        for k, d in zip(kernel, dilations, strict=True)
    ]
    attributes = {
        "kernel_shape": kernel,
        "strides": strides,
        "dilations": dilations,
        "pads": [draw(st.integers(0, k - 1)) for k in kernel * 2],
        "ceil_mode": draw(st.integers(0, 1)),
    }
    return random((2, draw(st.integers(1, 3)), *sizes)), attributes


def windows(x, kernel_shape, strides, dilations, pads, ceil_mode):
    """Each window's place, the elements it meets, and how much padding it meets."""
    rank = len(kernel_shape)
    begin, end = pads[:rank], pads[rank:]
    counts = []
    for i in range(rank):
        n, span = x.shape[2 + i], dilations[i] * (kernel_shape[i] - 1) + 1
        count = (n + begin[i] + end[i] - span) / strides[i] + 1
        count = math.ceil(count) if ceil_mode else math.floor(count)
        if ceil_mode and (count - 1) * strides[i] >= n + begin[i]:
            count -= 1
        counts.append(count)
    for place in itertools.product(*map(range, counts)):
        met, padding = [], 0
        for tap in itertools.product(*map(range, kernel_shape)):
            at = [
                p * s + t * d - b
                for p, s, t, d, b in zip(
                    place, strides, tap, dilations, begin, strict=True
                )
            ]
            sizes = x.shape[2:]
            if all(0 <= a < n for a, n in zip(at, sizes, strict=True)):
                met.append(tuple(at))
            elif all(
                -b <= a < n + e
                for a, n, b, e in zip(at, sizes, begin, end, strict=True)
            ):
                padding += 1
        yield place, tuple(counts), met, padding


def pooled(x, attributes, reduce):
    """Reduce every window's elements, ``(N, C, count)``, and its padding."""
    y = None
    for place, counts, met, padding in windows(x, **attributes):
        if y is None:
            y = np.zeros((*x.shape[:2], *counts))
        elements = np.stack([narrow(x)[(..., *at)] for at in met], axis=-1)
        y[(..., *place)] = reduce(elements, padding)
    return y


@given(case=pools())
def test_max_pool_takes_the_largest_of_each_window(case):
    x, attributes = case
    [y] = run_node("MaxPool", [x], attributes)
    wanted = pooled(x, attributes, lambda elements, _: elements.max(axis=-1))
    np.testing.assert_array_equal(y, wanted)


@given(case=pools(), by_column=st.integers(0, 1))
def test_max_pool_tells_where_the_first_largest_element_stands(case, by_column):
    x, attributes = case
    y, index = run_node(
        "MaxPool", [x], {**attributes, "storage_order": by_column}, outputs=2
    )
    order = "F" if by_column else "C"
    flat = np.concatenate([image.ravel(order) for image in x.reshape(-1, *x.shape[2:])])
    assert index.dtype == np.int64
    np.testing.assert_array_equal(flat[index], y)
    for place, _, met, _ in windows(x, **attributes):
        for n, c in np.ndindex(*x.shape[:2]):
            best = max(met, key=lambda at: x[(n, c, *at)])
            at = np.ravel_multi_index(best, x.shape[2:], order=order)
            image = (n * x.shape[1] + c) * math.prod(x.shape[2:])
            assert index[(n, c, *place)] == image + at


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16, np.int8])
def test_max_pool_keeps_its_element_type(dtype):
    x = random((1, 2, 5, 5), dtype)
    attributes = {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]}
    plain = run_node("MaxPool", [x], attributes)[0]
    y, index = run_node("MaxPool", [x], attributes, outputs=2)
    assert plain.dtype == y.dtype == dtype
    np.testing.assert_array_equal(narrow(plain), narrow(y))
    np.testing.assert_array_equal(narrow(x).ravel()[index], narrow(y))


def test_max_pool_passes_what_is_no_number_on_and_finds_infinities():
    x = np.array([[[1, np.nan, 3, -np.inf, -np.inf]]], np.float32)
    y, index = run_node("MaxPool", [x], {"kernel_shape": [2]}, outputs=2)
    np.testing.assert_array_equal(y, [[[np.nan, np.nan, 3, -np.inf]]])
    assert index.tolist() == [[[1, 1, 2, 3]]]
    [y] = run_node("MaxPool", [x], {"kernel_shape": [2]})
    np.testing.assert_array_equal(y, [[[np.nan, np.nan, 3, -np.inf]]])


@pytest.mark.parametrize("opset", [1, 8, 10, 11, 12, 22])
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
def test_automatic_padding_is_onnxruntimes(op_type, auto_pad, opset):
    x = random((1, 2, 7, 6))
    attributes = {"kernel_shape": [3, 2], "strides": [3, 1], "auto_pad": auto_pad}
    [y] = run_node(op_type, [x], attributes, opset)
    [wanted] = by_onnxruntime(op_type, [x], attributes, max(opset, 8))
    np.testing.assert_allclose(y, wanted, rtol=1e-5)


@given(case=pools(), include=st.integers(0, 1))
def test_average_pool_counts_padding_only_when_told(case, include):
    x, attributes = case
    [y] = run_node("AveragePool", [x], {**attributes, "count_include_pad": include})

    def mean(elements, padding):
        return elements.sum(-1) / (elements.shape[-1] + include * padding)

    np.testing.assert_allclose(y, pooled(x, attributes, mean), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("opset", [1, 7, 10, 11, 19])
def test_early_average_pools_take_what_they_knew(opset):
    x = random((1, 2, 6, 6))
    attributes = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    attributes |= {"count_include_pad": 1} if opset >= 7 else {}
    attributes |= {"ceil_mode": 1} if opset >= 10 else {}
    [y] = run_node("AveragePool", [x], attributes, opset)
    [wanted] = by_onnxruntime("AveragePool", [x], attributes, max(opset, 7))
    np.testing.assert_allclose(y, wanted, rtol=1e-5)


def test_average_pool_leaves_its_input_alone():
    x = random((1, 1, 4, 4))
    kept = x.copy()
    run_node("AveragePool", [x], {"kernel_shape": [1, 1]})
    np.testing.assert_array_equal(x, kept)


@given(case=pools(), p=st.sampled_from([1, 2, 3]))
def test_lp_pool_is_the_norm_of_each_window(case, p):
    x, attributes = case
    [y] = run_node("LpPool", [x], {**attributes, "p": p})

    def norm(elements, _):
        return (np.abs(elements) ** p).sum(-1) ** (1 / p)

    np.testing.assert_allclose(y, pooled(x, attributes, norm), rtol=1e-4, atol=1e-5)


def test_the_first_lp_pool_has_a_real_exponent():
    x = random((1, 1, 4))
    attributes = {"kernel_shape": [2], "p": 1.5}
    [y] = run_node("LpPool", [x], attributes, 1)
    pairs = np.abs(narrow(x)[0, 0]) ** 1.5
    np.testing.assert_allclose(y[0, 0], (pairs[1:] + pairs[:-1]) ** (1 / 1.5), 1e-5)
    [y] = run_node("GlobalLpPool", [x], {"p": 1.5}, 1)
    np.testing.assert_allclose(y.item(), pairs.sum() ** (1 / 1.5), 1e-5)
    with pytest.raises(ExecutionError, match="kernel_shape"):
        run_node("LpPool", [x], {}, 1)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_global_pools_leave_one_element_per_channel(rank, dtype):
    x = random((2, 3, *(4,) * rank), dtype)
    axes = tuple(range(2, 2 + rank))
    wide = narrow(x)
    for op_type, wanted in {
        "GlobalAveragePool": wide.mean(axes, keepdims=True),
        "GlobalMaxPool": wide.max(axes, keepdims=True),
        "GlobalLpPool": np.sqrt((wide**2).sum(axes, keepdims=True)),
    }.items():
        [y] = run_node(op_type, [x])
        assert y.dtype == dtype
        np.testing.assert_allclose(narrow(y), wanted, rtol=1e-3, atol=1e-3)


@given(case=pools(2))
def test_max_unpool_puts_back_what_max_pool_took(case):
    x, attributes = case
    attributes = {key: attributes[key] for key in ("kernel_shape", "strides")}
    x = np.unique(x, return_inverse=True)[1].reshape(x.shape).astype(np.float32)
    y, index = run_node("MaxPool", [x], attributes, outputs=2)
    sizes = [
        (n - 1) * s + k
        for n, s, k in zip(
            y.shape[2:], attributes["strides"], attributes["kernel_shape"], strict=True
        )
    ]
    x = x[(..., *map(slice, sizes))]
    y, index = run_node("MaxPool", [x], attributes, outputs=2)
    [back] = run_node("MaxUnpool", [y, index], attributes)
    wanted = np.zeros(x.size, np.float32)
    wanted[index.ravel()] = y.ravel()
    np.testing.assert_array_equal(back, wanted.reshape(x.shape))
    larger = np.array([*x.shape[:2], *(n + 2 for n in x.shape[2:])])
    [grown] = run_node("MaxUnpool", [y, index, larger], attributes)
    assert grown.shape == tuple(larger)
    np.testing.assert_array_equal(grown[tuple(map(slice, x.shape))], back)


def test_max_unpool_refuses_indices_outside_and_shapes_too_small():
    x, attributes = random((1, 1, 2, 2)), {"kernel_shape": [2, 2], "strides": [2, 2]}
    index = np.array([[[[0, 3], [8, 15]]]])
    for bad in (index + 1, index - 1):
        with pytest.raises(ExecutionError, match="outside"):
            run_node("MaxUnpool", [x, bad], attributes)
    with pytest.raises(ExecutionError, match="does not hold"):
        run_node("MaxUnpool", [x, index, np.array([1, 1, 3, 4])], attributes)
    with pytest.raises(ExecutionError, match="do not fit"):
        run_node("MaxUnpool", [x, index[0]], attributes)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.0625])
def test_max_roi_pool_is_onnxruntimes(scale):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2, 3, 9, 7)).astype(np.float32)
    corners = rng.uniform(-3, 20, (12, 4)).round(1)
    rois = np.concatenate([rng.integers(0, 2, (12, 1)), corners], axis=1)
    inputs = [x, rois.astype(np.float32)]
    attributes = {"pooled_shape": [3, 2], "spatial_scale": scale}
    [y] = run_node("MaxRoiPool", inputs, attributes)
    [wanted] = by_onnxruntime("MaxRoiPool", inputs, attributes)
    np.testing.assert_allclose(y, wanted, rtol=1e-6)


def test_max_roi_pool_refuses_regions_of_no_image():
    x, attributes = random((1, 1, 4, 4)), {"pooled_shape": [2, 2]}
    for image in (1, -1):
        with pytest.raises(ExecutionError, match="image"):
            rois = np.array([[image, 0, 0, 2, 2]], np.float32)
            run_node("MaxRoiPool", [x, rois], attributes)
    with pytest.raises(ExecutionError, match="do not fit"):
        run_node("MaxRoiPool", [x, np.zeros((2, 4), np.float32)], attributes)


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize(
    ("shape", "attributes", "message"),
    [
        ((2, 3), {"kernel_shape": [1]}, "spatial"),
        ((1, 1, 2), {"kernel_shape": [3]}, "does not fit"),
        ((1, 1, 2), {"kernel_shape": [2, 2]}, "kernel_shape"),
        ((1, 1, 2), {"kernel_shape": [0]}, "kernel_shape"),
        ((1, 1, 2), {"kernel_shape": [1], "pads": [0, -1]}, "pads"),
    ],
)
def test_windows_that_cannot_be_are_refused(op_type, shape, attributes, message):
    with pytest.raises(ExecutionError, match=message):
        run_node(op_type, [random(shape)], attributes)
