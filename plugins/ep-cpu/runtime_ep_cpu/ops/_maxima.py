"""The largest elements of windows, and where they stand."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._windows import Windows, reduce_windows, taps


def largest(x: Any, windows: Windows) -> Any:
    """Return the largest element of each window; padding never wins."""
    xp = namespace_of(x)
    return reduce_windows(xp, x, windows, xp.maximum, _least(x.dtype))


def _least(dtype: Any) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def largest_with_index(x: Any, windows: Windows, by_column: int) -> tuple[Any, Any]:
    """Return the largest elements and their indices, axis after axis, the last first.

    That order keeps the first of equal elements in row-major order.
    """
    xp = namespace_of(x)
    sizes = x.shape[2:]
    index = xp.zeros((1,) * x.ndim, np.int64)
    for axis in reversed(range(len(windows))):
        later = sizes[:axis] if by_column else sizes[axis + 1 :]
        x, index = _reduce_with_index(xp, x, index, windows, axis, prod(later))
    images = xp.arange(prod(x.shape[:2]), dtype=np.int64) * prod(sizes)
    return x, index + images.reshape(*x.shape[:2], *(1,) * len(windows))


def _reduce_with_index(
    xp: Any, x: Any, index: Any, windows: Windows, axis: int, step: int
) -> tuple[Any, Any]:
    """Take the largest along one spatial axis; ``index`` grows by ``step`` on it."""
    size = x.shape[axis + 2]
    before = (slice(None),) * (axis + 2)
    shape = (*x.shape[: axis + 2], windows.out[axis], *x.shape[axis + 3 :])
    y = xp.full(shape, _least(x.dtype), x.dtype)
    chosen = xp.full(shape, -1, np.int64)
    along = xp.arange(size, dtype=np.int64) * step
    index = index + along.reshape(-1, *(1,) * (x.ndim - axis - 3))
    index = xp.broadcast_to(index, x.shape)
    for target, source, _ in taps(windows, axis, size):
        candidate, there = x[(*before, source)], index[(*before, source)]
        best, where = y[(*before, target)], chosen[(*before, target)]
        better = (candidate > best) | (where < 0)
        if x.dtype.kind == "f":
            better |= xp.isnan(candidate) & ~xp.isnan(best)
        xp.copyto(best, candidate, where=better)
        xp.copyto(where, there, where=better)
    return y, chosen
