"""Reductions over axes, positions of extremes, and running sums and products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._axes import ints
from runtime_ep_cpu.ops.elementwise import truncated_quotient

table = KernelTable()

Axes = tuple[int, ...]
Reduction = Callable[[Any, Axes, bool], Any]
"""A function of the data, the axes (none: nothing is reduced) and ``keepdims``."""


def _axes(axes: Sequence[int] | None, rank: int, noop: int = 0) -> Axes:
    """Return the axes as non-negative numbers; a scalar may name its axis 0."""
    given = [] if axes is None else [int(axis) for axis in axes]
    if not given:
        return () if noop else tuple(range(rank))
    size = max(rank, 1)
    for axis in given:
        if not -size <= axis < size:
            raise ValueError(f"axis {axis} is out of range for an input of rank {rank}")
    chosen = [axis % size for axis in given]
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"axes {given} name one axis twice")
    return tuple(chosen) if rank else ()


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for an input of rank {rank}")
    return axis % rank


def _is_empty(x: Any, axes: Axes) -> bool:
    return any(x.shape[axis] == 0 for axis in axes)


def _sum(x: Any, axes: Axes, keepdims: bool) -> Any:
    return x.sum(axis=axes, keepdims=keepdims, dtype=x.dtype)


def _prod(x: Any, axes: Axes, keepdims: bool) -> Any:
    return x.prod(axis=axes, keepdims=keepdims, dtype=x.dtype)


def _max(x: Any, axes: Axes, keepdims: bool) -> Any:
    if not _is_empty(x, axes):
        return x.max(axis=axes, keepdims=keepdims)
    return _filled(x, axes, keepdims, _bounds(x.dtype)[0])


def _min(x: Any, axes: Axes, keepdims: bool) -> Any:
    if not _is_empty(x, axes):
        return x.min(axis=axes, keepdims=keepdims)
    return _filled(x, axes, keepdims, _bounds(x.dtype)[1])


def _bounds(dtype: Any) -> tuple[Any, Any]:
    if dtype.kind == "f":
        return -np.inf, np.inf
    if dtype.kind == "b":
        return False, True
    info = np.iinfo(dtype)
    return info.min, info.max


def _filled(x: Any, axes: Axes, keepdims: bool, value: Any) -> Any:
    kept = enumerate(x.shape)
    if keepdims:
        shape = [1 if axis in axes else size for axis, size in kept]
    else:
        shape = [size for axis, size in kept if axis not in axes]
    return namespace_of(x).full(shape, value, x.dtype)


def _mean(x: Any, axes: Axes, keepdims: bool) -> Any:
    """The mean, of integers rounded towards zero; of nothing NaN, or zero."""
    count = math.prod(x.shape[axis] for axis in axes)
    if x.dtype.kind == "f":
        return _sum(x, axes, keepdims) / x.dtype.type(count)
    wide = np.uint64 if x.dtype.kind == "u" else np.int64
    total = x.sum(axis=axes, keepdims=keepdims, dtype=wide)
    return truncated_quotient(total, wide(count)).astype(x.dtype)


def _l1(x: Any, axes: Axes, keepdims: bool) -> Any:
    return _sum(namespace_of(x).abs(x), axes, keepdims)


def _sum_square(x: Any, axes: Axes, keepdims: bool) -> Any:
    return _sum(x * x, axes, keepdims)


def _l2(x: Any, axes: Axes, keepdims: bool) -> Any:
    return namespace_of(x).sqrt(_sum_square(x, axes, keepdims))


def _log_sum(x: Any, axes: Axes, keepdims: bool) -> Any:
    return namespace_of(x).log(_sum(x, axes, keepdims))


def _log_sum_exp(x: Any, axes: Axes, keepdims: bool) -> Any:
    """log(sum(exp(x))), relative to the largest element so that nothing overflows."""
    xp = namespace_of(x)
    largest = _max(x, axes, True)
    largest = xp.where(xp.isfinite(largest), largest, 0)
    result = xp.log(_sum(xp.exp(x - largest), axes, True)) + largest
    return result if keepdims else xp.squeeze(result, axis=axes)


def _through_floats(reduction: Reduction) -> Reduction:
    """Compute integers in float64 and truncate the result."""

    def run(x: Any, axes: Axes, keepdims: bool) -> Any:
        if x.dtype.kind == "f":
            return reduction(x, axes, keepdims)
        return reduction(x.astype(np.float64), axes, keepdims).astype(x.dtype)

    return run


# operator: (the opset from which the axes are an input, reduction)
REDUCTIONS: dict[str, tuple[int, Reduction]] = {
    "ReduceL1": (18, _l1),
    "ReduceL2": (18, _through_floats(_l2)),
    "ReduceLogSum": (18, _through_floats(_log_sum)),
    "ReduceLogSumExp": (18, _through_floats(_log_sum_exp)),
    "ReduceMax": (18, _max),
    "ReduceMean": (18, _mean),
    "ReduceMin": (18, _min),
    "ReduceProd": (18, _prod),
    "ReduceSum": (13, _sum),
    "ReduceSumSquare": (18, _sum_square),
}


def _with_axes_attribute(op: str, reduction: Reduction) -> Callable[..., Any]:
    def run(x: Any, /, *, axes: Sequence[int] | None = None, keepdims: int = 1) -> Any:
        with np.errstate(all="ignore"):
            return reduction(x, _axes(axes, x.ndim), bool(keepdims))

    run.__doc__ = f"{op}, its axes an attribute; without them all are reduced."
    return run


def _with_axes_input(op: str, reduction: Reduction) -> Callable[..., Any]:
    def run(
        x: Any, axes: Any = None, /, *, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Any:
        if axes is not None:
            axes = ints(axes)
        with np.errstate(all="ignore"):
            chosen = _axes(axes, x.ndim, noop_with_empty_axes)
            return reduction(x, chosen, bool(keepdims))

    run.__doc__ = (
        f"{op}, its axes an input; without them all are reduced, or with "
        "``noop_with_empty_axes`` each element is a set of its own."
    )
    return run


for _op, (_since, _reduction) in REDUCTIONS.items():
    table(_op, since=1)(_with_axes_attribute(_op, _reduction))
    table(_op, since=_since)(_with_axes_input(_op, _reduction))


def _position(name: str, x: Any, axis: int, keepdims: int, last: int) -> Any:
    xp = namespace_of(x)
    axis = _axis(axis, x.ndim)
    size = x.shape[axis]
    if not size:
        raise ValueError(f"axis {axis} of the input has no elements to choose from")
    if last:
        found = size - 1 - getattr(xp.flip(x, axis), name)(axis=axis)
    else:
        found = getattr(x, name)(axis=axis)
    found = xp.asarray(found, np.int64)
    return xp.expand_dims(found, axis) if keepdims else found


def _register_position(op: str, name: str) -> None:
    def run(
        x: Any, /, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
    ) -> Any:
        return _position(name, x, axis, keepdims, select_last_index)

    def run_1(x: Any, /, *, axis: int = 0, keepdims: int = 1) -> Any:
        return _position(name, x, axis, keepdims, last=0)

    run.__doc__ = f"{op}: the first extreme's index, or the last's; NaN is extreme."
    run_1.__doc__ = f"{op} before opset 12: always the first extreme's index."
    table(op, since=12)(run)
    table(op, since=1)(run_1)


_register_position("ArgMax", "argmax")
_register_position("ArgMin", "argmin")


def _cumulated(
    name: str, start: int, x: Any, axis: Any, exclusive: int, reverse: int
) -> Any:
    xp = namespace_of(x)
    if axis.size != 1:
        raise ValueError(f"axis must be a scalar, found shape {list(axis.shape)}")
    chosen = _axis(int(axis.item()), x.ndim)
    function = getattr(xp, name)
    x = xp.flip(x, chosen) if reverse else x
    with np.errstate(all="ignore"):
        if exclusive:
            rest = (slice(None),) * chosen
            result = xp.full(x.shape, start, x.dtype)
            summed = function(x[(*rest, slice(None, -1))], axis=chosen, dtype=x.dtype)
            result[(*rest, slice(1, None))] = summed
        else:
            result = function(x, axis=chosen, dtype=x.dtype)
    return xp.flip(result, chosen) if reverse else result


@table("CumSum", since=11)
def cumulative_sum(
    x: Any, axis: Any, /, *, exclusive: int = 0, reverse: int = 0
) -> Any:
    """CumSum: running sums along an axis, with or without the element itself."""
    return _cumulated("cumsum", 0, x, axis, exclusive, reverse)


@table("CumProd", since=26)
def cumulative_product(
    x: Any, axis: Any, /, *, exclusive: int = 0, reverse: int = 0
) -> Any:
    """CumProd: running products along an axis, with or without the element itself."""
    return _cumulated("cumprod", 1, x, axis, exclusive, reverse)
