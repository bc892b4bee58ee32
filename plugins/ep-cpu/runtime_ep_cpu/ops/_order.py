"""TopK and Unique: operators that need their elements in order."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.kernels import Call, KernelTable

from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._axes import axis_of, scalar

table = KernelTable()


@table("TopK", since=1)
def top_k_1(x, /, *, k, axis=-1):
    """TopK of opset 1: k is an attribute."""
    return _top_k(x, k, axis, True, True)


@table("TopK", since=10)
def top_k_10(x, k, /, *, axis=-1):
    """TopK of opset 10: the largest, sorted."""
    return _top_k(x, scalar(k, "k"), axis, True, True)


@table("TopK", since=11)
def top_k(x, k, /, *, axis=-1, largest=1, sorted=1):
    """TopK: ties go to the lower index, NaN counts as larger than every number.

    Unsorted results come in the order of their indices.
    """
    return _top_k(x, scalar(k, "k"), axis, bool(largest), bool(sorted))


def _top_k(x: Any, k: int, axis: int, largest: bool, in_order: bool) -> tuple[Any, Any]:
    axis = axis_of(axis, x.ndim)
    length = x.shape[axis]
    if not 0 <= k <= length:
        raise ValueError(f"k is {k}, but the axis has {length} elements")
    xp = namespace_of(x)
    last = xp.ascontiguousarray(xp.moveaxis(x, axis, -1))
    rows = last.reshape(-1, length) if last.size else last.reshape(0, length)
    found = _candidates(xp, rows, k, largest)
    if found is None:
        found = _sorted(xp, rows, largest)[:, :k]
        found = found if in_order else xp.sort(found, axis=1)
    elif in_order and k > 1:
        values = xp.take_along_axis(rows, found, axis=1)
        order = _sorted(xp, values, largest)
        found = xp.take_along_axis(found, order, axis=1)
    values = xp.take_along_axis(rows, found, axis=1)
    shape = (*last.shape[:-1], k)
    return tuple(
        xp.ascontiguousarray(xp.moveaxis(part.reshape(shape), -1, axis))
        for part in (values, found.astype(np.int64, copy=False))
    )


def _sorted(xp: Any, rows: Any, largest: bool) -> Any:
    """Return the indices that sort each row, the lower index first among equals."""
    if not largest:
        return xp.argsort(rows, axis=1, kind="stable")
    order = xp.argsort(rows[:, ::-1], axis=1, kind="stable")
    return rows.shape[1] - 1 - order[:, ::-1]


def _candidates(xp: Any, rows: Any, k: int, largest: bool) -> Any:
    """Return the indices of each row's k best, ascending; ``None`` to sort instead.

    All that beat the k-th value, then the first that equal it: far cheaper than
    sorting for small k. Where the k-th value is NaN, comparing cannot tell.
    """
    length = rows.shape[1]
    if not rows.size or k == 0 or k * 4 > length:
        return None
    if k == 1:
        found = (xp.argmax if largest else xp.argmin)(rows, axis=1)[:, None]
        limit = xp.take_along_axis(rows, found, axis=1)
    else:
        nth = length - k if largest else k - 1
        limit = xp.partition(rows, nth, axis=1)[:, nth : nth + 1]
    if limit.dtype.kind == "f" and bool((limit != limit).any()):
        return None
    if k == 1:
        return found
    better = ~(rows <= limit) if largest else rows < limit
    missing = k - better.sum(axis=1, keepdims=True)
    equal = rows == limit
    chosen = better | (equal & (xp.cumsum(equal, axis=1) <= missing))
    return xp.nonzero(chosen)[1].reshape(-1, k)


@table("Unique", since=11)
def unique(x, /, *, axis=None, sorted=1, call: Call):
    """Unique: elements or, along an axis, subtensors; first places, places, counts.

    NaN equals NaN, as in ``numpy.unique``.
    """
    xp = namespace_of(x)
    if axis is None:
        if sorted and call.outputs == 1:
            return xp.unique(x)
        keys = x.reshape(-1)
    else:
        axis = axis_of(axis, x.ndim)
        keys = _ranks(xp, xp.moveaxis(x, axis, 0))
    _, first, places, counts = xp.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    if not sorted:
        order = xp.argsort(first)
        rank = xp.empty_like(order)
        rank[order] = xp.arange(order.size)
        first, places, counts = first[order], rank[places], counts[order]
    chosen = xp.take(keys if axis is None else x, first, axis=axis or 0)
    integers = (part.reshape(-1).astype(np.int64) for part in (first, places, counts))
    return (chosen, *integers)


def _ranks(xp: Any, subtensors: Any) -> Any:
    """Number subtensors by their lexicographic order, equal ones alike."""
    count = subtensors.shape[0]
    if not subtensors.size:
        return xp.zeros(count, np.int64)
    _, codes = xp.unique(subtensors, return_inverse=True)
    columns = codes.reshape(count, -1).T
    order = xp.lexsort(columns[::-1])
    ordered = columns[:, order]
    starts = xp.concatenate(
        [xp.zeros(1, np.int64), (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)]
    )
    ranks = xp.empty(count, np.int64)
    ranks[order] = xp.cumsum(starts)
    return ranks
