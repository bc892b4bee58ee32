"""Convolution as matrix products over columns of input windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._products import product
from runtime_ep_cpu.ops._windows import Windows, fold, pad, view

Multiply = Callable[..., Any]

_COLUMNS = 8 << 20
"""Bytes of columns made at a time: they should still be in cache when multiplied."""


def check_channels(
    x: Any, w: Any, group: int, kernel_shape: Sequence[int] | None, transposed: bool
) -> None:
    """Refuse weights that do not fit the input, the groups or the kernel's shape."""
    if x.ndim < 3 or w.ndim != x.ndim:
        raise ValueError(
            "input and weights must have the same rank of at least 3, found "
            f"{x.ndim} and {w.ndim}"
        )
    given, taken = (w.shape[0], 1) if transposed else (w.shape[1] * group, w.shape[0])
    divided = x.shape[1] if transposed else taken
    if group < 1 or given != x.shape[1] or divided % group:
        raise ValueError(
            f"weights {list(w.shape)} in {group} groups do not fit an input of "
            f"shape {list(x.shape)}"
        )
    if kernel_shape is not None and tuple(kernel_shape) != w.shape[2:]:
        raise ValueError(
            f"kernel_shape {list(kernel_shape)} is not that of the weights, "
            f"{list(w.shape[2:])}"
        )


def convolve(
    x: Any,
    w: Any,
    windows: Windows,
    group: int = 1,
    multiply: Multiply = product,
    dtype: Any = None,
) -> Any:
    """Return the convolution of ``x (N, C, *in)`` with ``w (M, C/group, *kernel)``.

    ``multiply(a, b, out=)`` is the matrix product and ``dtype`` what it yields.
    """
    xp = namespace_of(x, w)
    dtype = dtype or x.dtype
    batch, channels = x.shape[:2]
    shape = (batch, group, w.shape[0] // group, prod(windows.out))
    check_size(shape, dtype)
    weights = w.reshape(group, shape[2], prod(w.shape[1:]))
    if windows.pointwise and x.flags.c_contiguous:
        y = xp.empty(shape, dtype)
        flat = x.reshape(batch, group, channels // group, shape[3])
        multiply(weights, flat, out=y)
    else:
        padded = pad(xp, x, windows)
        spread = view(xp, padded, windows)
        spread = spread.reshape(batch, group, channels // group, *spread.shape[2:])
        y = xp.empty(shape, dtype)
        _by_columns(xp, spread, weights, windows, multiply, y)
    return y.reshape(batch, w.shape[0], *windows.out)


def _by_columns(
    xp: Any, spread: Any, w: Any, windows: Windows, multiply: Multiply, y: Any
) -> None:
    """Fill ``y (N, G, M/G, L)`` from windows ``(N, G, C/G, *kernel, *out)``."""
    batch, groups, depth = spread.shape[0], spread.shape[1], w.shape[-1]
    inner = prod(windows.out[1:])
    first = spread.ndim - len(windows)
    buffer = None
    for some, rows in _chunks(groups, windows.out[0], depth * inner * y.itemsize):
        for n in range(batch):
            source = spread[(n, some, *(slice(None),) * (first - 2), rows)]
            count = prod(source.shape)
            if buffer is None:
                buffer = xp.empty(count, spread.dtype)
            columns = buffer[:count]
            xp.copyto(columns.reshape(source.shape), source)
            here = slice(rows.start * inner, rows.stop * inner)
            target = y[n, some, :, here]
            columns = columns.reshape(len(target), depth, target.shape[-1])
            multiply(w[some], columns, out=target)


def _chunks(groups: int, rows: int, row_bytes: int) -> Iterator[tuple[slice, slice]]:
    """Cut groups, then the rows of a group, so that the columns of each stay small.

    The first chunk is the largest.
    """
    if rows * row_bytes <= _COLUMNS:
        step = max(1, min(groups, _COLUMNS // max(1, rows * row_bytes)))
        for start in range(0, groups, step):
            yield slice(start, min(start + step, groups)), slice(0, rows)
        return
    step = max(1, _COLUMNS // row_bytes)
    for group in range(groups):
        for start in range(0, rows, step):
            yield slice(group, group + 1), slice(start, min(start + step, rows))


def convolve_transposed(x: Any, w: Any, windows: Windows, group: int, y: Any) -> None:
    """Add onto ``y (N, M, *out)`` the transposed convolution of ``x (N, C, *in)``.

    ``w`` is ``(C, M/group, *kernel)``; ``windows`` lie over ``y``, one per element of
    ``x``.
    """
    batch, channels, wide, taps = *x.shape[:2], w.shape[1], prod(w.shape[2:])
    flat = x.reshape(batch, group, channels // group, prod(x.shape[2:]))
    w = w.reshape(group, channels // group, wide * taps).swapaxes(1, 2)
    target = y.reshape(batch, group, wide, *y.shape[2:])
    row_bytes = taps * flat.shape[-1] * y.itemsize
    for some, rows in _chunks(group, wide, row_bytes):
        weights = w[some, rows.start * taps : rows.stop * taps]
        count = (some.stop - some.start, rows.stop - rows.start)
        for n in range(batch):
            columns = product(weights, flat[n, some])
            columns = columns.reshape(*count, *windows.kernel, *windows.out)
            with np.errstate(all="ignore"):
                fold(target[n, some, rows], columns, windows)
