"""Pooling over windows, over whole images and over regions, and its partial inverse."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._axes import ints
from runtime_ep_cpu.ops._maxima import largest, largest_with_index
from runtime_ep_cpu.ops._windows import (
    Windows,
    explicit_pads,
    per_axis,
    place,
    reduce_windows,
)

table = KernelTable()


@table("MaxPool", since=1)
def max_pool_1(x, /, *, auto_pad="NOTSET", kernel_shape, pads=None, strides=None):
    """MaxPool of opset 1: values only."""
    windows = _windows(x, kernel_shape, strides, None, pads, auto_pad)
    return largest(x, windows)


@table("MaxPool", since=8)
def max_pool_8(
    x,
    /,
    *,
    call,
    auto_pad="NOTSET",
    kernel_shape,
    pads=None,
    storage_order=0,
    strides=None,
):
    """MaxPool of opset 8 and 9: with indices."""
    windows = _windows(x, kernel_shape, strides, None, pads, auto_pad)
    return _max_pool(x, windows, storage_order, call)


@table("MaxPool", since=10)
def max_pool(
    x,
    /,
    *,
    call,
    auto_pad="NOTSET",
    ceil_mode=0,
    dilations=None,
    kernel_shape,
    pads=None,
    storage_order=0,
    strides=None,
):
    """MaxPool: the largest element of each window, and its index in the whole input.

    Padding never wins; of equal elements the first does. ``storage_order`` 1 counts
    spatial indices with the first axis fastest.
    """
    windows = _windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    return _max_pool(x, windows, storage_order, call)


def _windows(
    x: Any,
    kernel: Any,
    strides: Any,
    dilations: Any,
    pads: Any,
    auto_pad: str,
    ceil_mode: int = 0,
) -> Windows:
    if x.ndim < 3:
        raise ValueError(f"pooling needs spatial axes, found shape {list(x.shape)}")
    if kernel is None:
        raise ValueError("pooling needs a kernel_shape")
    windows = place(
        x.shape[2:],
        kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
    )
    check_size((*x.shape[:2], *windows.out), x.dtype)
    return windows


def _max_pool(x: Any, windows: Windows, storage_order: int, call: Any) -> Any:
    if any(call.wanted[1:]):
        return largest_with_index(x, windows, storage_order)
    return largest(x, windows)


@table("AveragePool", since=1)
def average_pool_1(x, /, *, auto_pad="NOTSET", kernel_shape, pads=None, strides=None):
    """AveragePool of opset 1 to 6: padding does not count."""
    return average_pool(
        x, auto_pad=auto_pad, kernel_shape=kernel_shape, pads=pads, strides=strides
    )


@table("AveragePool", since=7)
def average_pool_7(
    x,
    /,
    *,
    auto_pad="NOTSET",
    count_include_pad=0,
    kernel_shape,
    pads=None,
    strides=None,
):
    """AveragePool of opset 7 to 9: padding may count."""
    return average_pool(
        x,
        auto_pad=auto_pad,
        count_include_pad=count_include_pad,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )


@table("AveragePool", since=10)
def average_pool_10(
    x,
    /,
    *,
    auto_pad="NOTSET",
    ceil_mode=0,
    count_include_pad=0,
    kernel_shape,
    pads=None,
    strides=None,
):
    """AveragePool of opset 10 to 18: sizes may round up."""
    return average_pool(
        x,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )


@table("AveragePool", since=19)
def average_pool(
    x,
    /,
    *,
    auto_pad="NOTSET",
    ceil_mode=0,
    count_include_pad=0,
    dilations=None,
    kernel_shape,
    pads=None,
    strides=None,
):
    """AveragePool: the mean of each window's elements.

    ``count_include_pad`` counts padding as zeros, though not what ``ceil_mode`` reaches
    beyond it.
    """
    windows = _windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    xp = namespace_of(x)
    with np.errstate(all="ignore"):
        y = reduce_windows(xp, x, windows, xp.add, 0)
        y /= _counts(xp, windows, x.shape[2:], bool(count_include_pad), x.dtype)
    return y


def _counts(
    xp: Any, windows: Windows, sizes: tuple[int, ...], with_padding: bool, dtype: Any
) -> Any:
    """Return how many elements each window meets, at least 1."""
    whole = xp.asarray(1, dtype=dtype)
    for axis, size in enumerate(sizes):
        counts = _counts_along(windows, axis, size, with_padding)
        if counts.min(initial=windows.kernel[axis]) == windows.kernel[axis]:
            counts = counts[:1]
        counts = counts.reshape(-1, *(1,) * (len(windows) - axis - 1))
        whole = whole * xp.asarray(counts, dtype=dtype)
    return whole


def _counts_along(
    windows: Windows, axis: int, size: int, with_padding: bool
) -> np.ndarray:
    """Count the taps of each window along an axis that meet an element, at least 1."""
    begin, end = windows.begin[axis], windows.end[axis]
    low, high = (-begin, size + end) if with_padding else (0, size)
    starts = np.arange(windows.out[axis]) * windows.strides[axis] - begin
    dilation, taps = windows.dilations[axis], windows.kernel[axis]
    first = np.maximum(-((starts - low) // dilation), 0)
    last = np.minimum(-((starts - high) // dilation), taps)
    return np.maximum(last - first, 1)


@table("LpPool", since=1)
def lp_pool_1(
    x, /, *, auto_pad="NOTSET", kernel_shape=None, p=2.0, pads=None, strides=None
):
    """LpPool of opset 1: ``p`` is a float."""
    windows = _windows(x, kernel_shape, strides, None, pads, auto_pad)
    return _lp_pool(x, windows, p)


@table("LpPool", since=2)
def lp_pool_2(x, /, *, auto_pad="NOTSET", kernel_shape, p=2, pads=None, strides=None):
    """LpPool of opset 2 to 17: neither dilations nor sizes that round up."""
    windows = _windows(x, kernel_shape, strides, None, pads, auto_pad)
    return _lp_pool(x, windows, p)


@table("LpPool", since=18)
def lp_pool(
    x,
    /,
    *,
    auto_pad="NOTSET",
    ceil_mode=0,
    dilations=None,
    kernel_shape,
    p=2,
    pads=None,
    strides=None,
):
    """LpPool: the p-norm of each window's elements."""
    windows = _windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    return _lp_pool(x, windows, p)


def _lp_pool(x: Any, windows: Windows, p: float) -> Any:
    xp = namespace_of(x)
    with np.errstate(all="ignore"):
        powers = _powers(xp, x, p)
        return _root(xp, reduce_windows(xp, powers, windows, xp.add, 0), p)


def _powers(xp: Any, x: Any, p: float) -> Any:
    if p < 1:
        raise ValueError(f"p must be at least 1, found {p}")
    if p == 1:
        return xp.abs(x)
    return x * x if p == 2 else xp.abs(x) ** x.dtype.type(p)


def _root(xp: Any, y: Any, p: float) -> Any:
    if p == 1:
        return y
    return xp.sqrt(y) if p == 2 else y ** y.dtype.type(1 / p)


def _spatial(x: Any) -> tuple[int, ...]:
    if x.ndim < 3:
        raise ValueError(f"pooling needs spatial axes, found shape {list(x.shape)}")
    return tuple(range(2, x.ndim))


@table("GlobalAveragePool", since=1)
def global_average_pool(x, /):
    """GlobalAveragePool: the mean of each channel's image."""
    with np.errstate(all="ignore"):
        return x.sum(axis=_spatial(x), keepdims=True) / x.dtype.type(prod(x.shape[2:]))


@table("GlobalMaxPool", since=1)
def global_max_pool(x, /):
    """GlobalMaxPool: the largest element of each channel's image."""
    return x.max(axis=_spatial(x), keepdims=True)


@table("GlobalLpPool", since=1)
def global_lp_pool_1(x, /, *, p=2.0):
    """GlobalLpPool of opset 1: ``p`` is a float."""
    return global_lp_pool(x, p=p)


@table("GlobalLpPool", since=2)
def global_lp_pool(x, /, *, p=2):
    """GlobalLpPool: the p-norm of each channel's image."""
    xp = namespace_of(x)
    with np.errstate(all="ignore"):
        return _root(xp, _powers(xp, x, p).sum(axis=_spatial(x), keepdims=True), p)


@table("MaxUnpool", since=9, traits=("moves",))
def max_unpool(
    x, indices, output_shape=None, /, *, kernel_shape, pads=None, strides=None
):
    """MaxUnpool: puts elements where MaxPool found them, and zeros elsewhere.

    ``indices`` count in the size that MaxPool's input must have had;
    ``output_shape`` adds zeros after it.
    """
    xp = namespace_of(x)
    rank = x.ndim - 2
    if rank < 1 or len(kernel_shape) != rank or indices.shape != x.shape:
        raise ValueError(
            f"indices {list(indices.shape)} and kernel_shape {list(kernel_shape)} do "
            f"not fit an input of shape {list(x.shape)}"
        )
    kernel = per_axis("kernel_shape", kernel_shape, rank)
    begin, end = explicit_pads(pads or None, rank)
    strides = per_axis("strides", strides, rank)
    sizes = tuple(
        (n - 1) * s - b - e + k
        for n, s, b, e, k in zip(x.shape[2:], strides, begin, end, kernel, strict=True)
    )
    check_size((*x.shape[:2], *sizes), x.dtype)
    y = xp.zeros(prod((*x.shape[:2], *sizes)), x.dtype)
    if indices.size and not (0 <= int(indices.min()) <= int(indices.max()) < y.size):
        raise ValueError(f"indices reach outside the {y.size} elements of the output")
    y[indices.reshape(-1)] = x.reshape(-1)
    y = y.reshape(*x.shape[:2], *sizes)
    if output_shape is None:
        return y
    return _grown(xp, y, tuple(ints(output_shape)))


def _grown(xp: Any, y: Any, shape: tuple[int, ...]) -> Any:
    """Return an array with zeros after it along each axis, up to a shape."""
    if shape == y.shape:
        return y
    fits = len(shape) == y.ndim and shape[:2] == y.shape[:2]
    if not fits or any(n < m for n, m in zip(shape, y.shape, strict=True)):
        raise ValueError(
            f"output_shape {list(shape)} does not hold the pooled {list(y.shape)}"
        )
    check_size(shape, y.dtype)
    larger = xp.zeros(shape, y.dtype)
    larger[tuple(slice(0, n) for n in y.shape)] = y
    return larger


@table("MaxRoiPool", since=1)
def max_roi_pool(x, rois, /, *, pooled_shape, spatial_scale=1.0):
    """MaxRoiPool: the largest element of each cell of a grid over each region.

    A region is ``(image, x1, y1, x2, y2)``, scaled and rounded, ends included; cells
    overlap where it does not divide, and an empty cell is 0. Coordinates are computed in
    float32, as in Caffe and onnxruntime: a bound that is a whole number may be rounded up.
    """
    xp = namespace_of(x, rois)
    if x.ndim != 4 or rois.ndim != 2 or rois.shape[1] != 5 or len(pooled_shape) != 2:
        raise ValueError(
            f"regions {list(rois.shape)} pooled to {list(pooled_shape)} do not fit an "
            f"input of shape {list(x.shape)}"
        )
    shape = (rois.shape[0], x.shape[1], *pooled_shape)
    check_size(shape, x.dtype)
    y = xp.zeros(shape, x.dtype)
    for number, (image, *given) in enumerate(rois.tolist()):
        with np.errstate(all="ignore"):
            corners = np.asarray(given, np.float32) * np.float32(spatial_scale)
        if not 0 <= image < x.shape[0]:
            raise ValueError(f"region {number} is of image {image} of {x.shape[0]}")
        if not np.isfinite(corners).all():
            raise ValueError(f"region {number} is not finite: {corners}")
        x1, y1, x2, y2 = map(_away_from_zero, corners)
        rows = _cells(y1, y2, pooled_shape[0], x.shape[2])
        columns = _cells(x1, x2, pooled_shape[1], x.shape[3])
        for i, (top, bottom) in enumerate(rows):
            if top < bottom:
                band = x[int(image), :, top:bottom].max(axis=1)
                for j, (left, right) in enumerate(columns):
                    if left < right:
                        y[number, :, i, j] = band[:, left:right].max(axis=1)
    return y


def _away_from_zero(number: np.float32) -> int:
    """Round to the nearest integer, halves away from zero."""
    return int(np.copysign(np.floor(abs(number) + np.float32(0.5)), number))


def _cells(first: int, last: int, count: int, size: int) -> list[tuple[int, int]]:
    """Cut ``first`` to ``last`` into cells that may overlap, clipped to the image."""
    step = np.float32(max(last - first + 1, 1)) / np.float32(max(count, 1))
    edges = np.arange(count + 1, dtype=np.float32) * step
    bounds = [
        (int(np.floor(a)) + first, int(np.ceil(b)) + first) for a, b in pairwise(edges)
    ]
    return [(min(max(a, 0), size), min(max(b, 0), size)) for a, b in bounds]
