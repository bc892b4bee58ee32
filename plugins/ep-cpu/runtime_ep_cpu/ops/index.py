"""Operators that read or write where indices or conditions say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.dtypes import is_narrow
from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops import _order
from runtime_ep_cpu.ops._axes import axis_of, scalar
from runtime_ep_cpu.ops._indices import offsets, take, tuple_offsets, within

table = KernelTable()
table.include(_order.table)

REDUCTIONS = {"add": "add", "mul": "multiply", "max": "maximum", "min": "minimum"}


@table("Gather", since=1, traits=("moves",))
def gather(data, indices, /, *, axis=0):
    """Gather: slices of an axis; negative indices count from the back."""
    indices = namespace_of(data).asarray(indices)
    return take(data, indices, axis_of(axis, data.ndim))


@table("GatherElements", since=11, traits=("moves",))
def gather_elements(data, indices, /, *, axis=0):
    """GatherElements: one element per index; other axes may be cut short."""
    axis = axis_of(axis, data.ndim)
    _check_places(data, indices, axis)
    xp = namespace_of(data)
    indices = xp.asarray(indices)
    if xp is not np:
        indices = within(indices, data.shape[axis])
    cut = [slice(size) for size in indices.shape]
    cut[axis] = slice(None)
    return xp.take_along_axis(data[tuple(cut)], indices, axis=axis)


def _check_places(data: Any, indices: Any, axis: int) -> None:
    """Refuse indices that have no place in the data along the other axes."""
    fits = indices.ndim == data.ndim and all(
        i == axis or size <= data.shape[i] for i, size in enumerate(indices.shape)
    )
    if not fits:
        raise ValueError(
            f"indices of shape {list(indices.shape)} do not fit data of shape "
            f"{list(data.shape)} along axis {axis}"
        )


@table("GatherND", since=11, traits=("moves",))
def gather_nd_11(data, indices, /):
    """GatherND before opset 12: no batch axes."""
    return gather_nd(data, indices)


@table("GatherND", since=12, traits=("moves",))
def gather_nd(data, indices, /, *, batch_dims=0):
    """GatherND: data (B…, D…, R…), indices (B…, Q…, len(D)) to (B…, Q…, R…)."""
    b = batch_dims
    xp = namespace_of(data)
    indices = xp.asarray(indices)
    if not 0 <= b < min(data.ndim, indices.ndim) or data.shape[:b] != indices.shape[:b]:
        raise ValueError(
            f"{b} batch axes are not shared by the shapes {list(data.shape)} and "
            f"{list(indices.shape)}"
        )
    depth = indices.shape[-1]
    if not 1 <= depth <= data.ndim - b:
        raise ValueError(
            f"index tuples of {depth} do not fit data of rank {data.ndim} after {b} "
            "batch axes"
        )
    sizes = data.shape[b : b + depth]
    place = tuple_offsets(indices, sizes)
    batches, inner = math.prod(data.shape[:b]), math.prod(sizes)
    if b:
        starts = xp.arange(batches, dtype=np.int64) * inner
        place = place + starts.reshape(data.shape[:b] + (1,) * (place.ndim - b))
    rest = data.shape[b + depth :]
    rows = data.reshape(batches * inner, math.prod(rest))
    return take(rows, place, 0).reshape(place.shape + rest)


@table("Scatter", since=9, until=10, traits=("moves",))
def scatter(data, indices, updates, /, *, axis=0):
    """Scatter: what ScatterElements was called before opset 11."""
    return scatter_elements(data, indices, updates, axis=axis)


@table("ScatterElements", since=11, traits=("moves",))
def scatter_elements_11(data, indices, updates, /, *, axis=0):
    """ScatterElements before opset 16: no reductions."""
    return scatter_elements(data, indices, updates, axis=axis)


@table("ScatterElements", since=16, traits=("typed",))
def scatter_elements(data, indices, updates, /, *, axis=0, reduction="none"):
    """ScatterElements: one update per index; max and min are legal from opset 18.

    Of several updates of one element without a reduction the last one stays.
    """
    axis = axis_of(axis, data.ndim)
    _check_places(data, indices, axis)
    if updates.shape != indices.shape:
        raise ValueError(
            f"updates of shape {list(updates.shape)} do not match indices of shape "
            f"{list(indices.shape)}"
        )
    indices = namespace_of(data).asarray(indices)
    place = offsets(indices, data.shape, axis).reshape(-1)
    return _scattered(data, 1, place, updates, reduction)


@table("ScatterND", since=11, traits=("moves",))
def scatter_nd_11(data, indices, updates, /):
    """ScatterND before opset 16: no reductions."""
    return scatter_nd(data, indices, updates)


@table("ScatterND", since=16, traits=("typed",))
def scatter_nd(data, indices, updates, /, *, reduction="none"):
    """ScatterND: data (D…, R…), indices (Q…, len(D)), updates (Q…, R…).

    The reductions max and min are legal from opset 18.
    """
    depth = indices.shape[-1] if indices.ndim else 0
    if data.ndim < 1 or indices.ndim < 1 or depth > data.ndim:
        raise ValueError(
            f"index tuples of shape {list(indices.shape)} do not fit data of shape "
            f"{list(data.shape)}"
        )
    expected = indices.shape[:-1] + data.shape[depth:]
    if updates.shape != expected:
        raise ValueError(
            f"updates must have the shape {list(expected)}, found {list(updates.shape)}"
        )
    indices = namespace_of(data).asarray(indices)
    place = tuple_offsets(indices, data.shape[:depth]).reshape(-1)
    return _scattered(data, math.prod(data.shape[depth:]), place, updates, reduction)


def _scattered(data: Any, width: int, place: Any, updates: Any, reduction: str) -> Any:
    """Return a copy of the data with rows of a width replaced or combined."""
    if reduction not in ("none", *REDUCTIONS):
        raise ValueError(f"there is no reduction {reduction!r}")
    if reduction != "none" and data.dtype == object:
        raise ValueError(f"strings have no reduction {reduction!r}")
    if not updates.size:
        return data
    xp = namespace_of(data)
    wide = np.float32 if reduction != "none" and is_narrow(data) else data.dtype
    result = xp.array(data, dtype=wide, order="C")
    rows = result.reshape(-1, width)
    updates = xp.asarray(updates, wide).reshape(-1, width)
    if reduction == "none":
        rows[place] = updates
        return result
    with np.errstate(over="ignore", invalid="ignore"):
        _combine(xp, getattr(xp, REDUCTIONS[reduction]), rows, place, updates)
        return result.astype(data.dtype, copy=False)


def _combine(xp: Any, function: Any, rows: Any, place: Any, updates: Any) -> None:
    """Combine rows with their updates one after another where places repeat."""
    width = rows.shape[1]
    if width > 1:
        if xp.unique(place).size == place.size:
            rows[place] = function(rows[place], updates)
            return
        place = (place[:, None] * width + xp.arange(width)).reshape(-1)
    function.at(rows.reshape(-1), place, updates.reshape(-1))


@table("TensorScatter", since=24, traits=("moves",))
def tensor_scatter(
    past_cache, update, write_indices=None, /, *, mode="linear", axis=-2
):
    """TensorScatter: write (B, …, s, …) into a cache (B, …, S, …).

    Each batch is written from its own position on; ``circular`` mode wraps around.
    """
    axis = axis_of(axis, past_cache.ndim)
    if axis == 0:
        raise ValueError("axis 0 is the batch, not the sequence")
    longest = past_cache.shape[axis]
    length = update.shape[axis] if update.ndim == past_cache.ndim else 0
    expected = (*past_cache.shape[:axis], length, *past_cache.shape[axis + 1 :])
    if update.shape != expected or length > longest:
        raise ValueError(
            f"an update of shape {list(update.shape)} does not fit a cache of shape "
            f"{list(past_cache.shape)}"
        )
    xp = namespace_of(past_cache, update)
    batch = past_cache.shape[0]
    starts = xp.zeros(batch, np.int64) if write_indices is None else write_indices
    if starts.shape != (batch,):
        raise ValueError(
            f"write_indices must have the shape [{batch}], found {list(starts.shape)}"
        )
    place = xp.asarray(starts)[:, None] + xp.arange(length)
    if mode == "circular":
        place = place % longest if longest else place
    elif mode != "linear":
        raise ValueError(f"there is no mode {mode!r}")
    elif place.size and not 0 <= int(place.min()) <= int(place.max()) < longest:
        raise IndexError(f"a write leaves the cache of {longest} positions")
    result = xp.array(past_cache)
    cache = xp.moveaxis(result, axis, 1)
    cache[xp.arange(batch)[:, None], place] = xp.moveaxis(update, axis, 1)
    return result


@table("OneHot", since=9, traits=("moves",))
def one_hot_9(indices, depth, values, /, *, axis=-1):
    """OneHot before opset 11: negative indices are outside, thus all off."""
    return _one_hot(indices, depth, values, axis, False)


@table("OneHot", since=11, traits=("moves",))
def one_hot(indices, depth, values, /, *, axis=-1):
    """OneHot: ``values`` are (off, on); negative indices count from the back."""
    return _one_hot(indices, depth, values, axis, True)


def _one_hot(indices: Any, depth: Any, values: Any, axis: int, wraps: bool) -> Any:
    axis = axis_of(axis, indices.ndim + 1)
    classes = int(scalar(depth, "depth"))
    if values.shape != (2,):
        raise ValueError(
            f"values must be (off, on), found the shape {list(values.shape)}"
        )
    shape = (*indices.shape[:axis], classes, *indices.shape[axis:])
    check_size(shape, values.dtype)
    xp = namespace_of(indices, values)
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    chosen = _whole(indices).reshape(before, after)
    if wraps:
        chosen = xp.where(chosen < 0, chosen + classes, chosen)
    result = xp.empty((before, classes, after), values.dtype)
    result[...] = values[0]
    row, column = xp.nonzero((chosen >= 0) & (chosen < classes))
    result[row, chosen[row, column], column] = values[1]
    return result.reshape(shape)


def _whole(indices: Any) -> Any:
    """Return any numbers as int64, those too large as the largest there is."""
    if indices.dtype == np.uint64:
        indices = indices.clip(max=np.uint64(2**63 - 1))
    with np.errstate(invalid="ignore"):
        return indices.astype(np.int64)


@table("NonZero", since=9, traits=("typed",))
def non_zero(x, /):
    """NonZero: coordinates (rank, count) in row-major order; (0, count) of a scalar."""
    xp = namespace_of(x)
    if x.ndim == 0:
        return np.zeros((0, int(bool(x))), np.int64)
    return xp.stack(xp.nonzero(x)).astype(np.int64, copy=False)


@table("Compress", since=9, traits=("moves",))
def compress(x, condition, /, *, axis=None):
    """Compress: the slices, or without an axis the elements, where a condition holds.

    It may be shorter than the axis. Negative axes came in opset 11.
    """
    if axis is None:
        x, axis = x.reshape(-1), 0
    if condition.ndim != 1:
        raise ValueError(f"the condition must have rank 1, found {condition.ndim}")
    chosen = namespace_of(condition).nonzero(condition)[0]
    axis = axis_of(axis, x.ndim)
    return take(x, within(chosen, x.shape[axis], "the true condition at"), axis)
