"""Reductions along axes that are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from runtime_ep_coreml.guards import arithmetic, constant, floating
from runtime_ep_coreml.narrowing import may_grow
from runtime_ep_coreml.scope import Handle, Refused, Scope
from runtime_ep_coreml.table import lowers

KINDS = {
    "ReduceSum": "reduce_sum", "ReduceMean": "reduce_mean", "ReduceMax": "reduce_max",
    "ReduceMin": "reduce_min", "ReduceProd": "reduce_prod", "ReduceL1": "reduce_l1_norm",
    "ReduceL2": "reduce_l2_norm", "ReduceLogSumExp": "reduce_log_sum_exp",
    "ReduceSumSquare": "reduce_sum_square",
}  # fmt: skip


def _axes(at: Scope, x: Handle) -> list[int]:
    """Return the axes; none where the node leaves its input as it is."""
    axes = at.integers(1) if at.has(1) else at.attr("axes")
    if not axes and at.attr("noop_with_empty_axes", 0):
        return []
    rank = at.rank(x)
    return sorted(axis % rank for axis in axes) if axes else list(range(rank))


def _reduced(at: Scope, kind: str) -> Handle:
    x = at.x()
    axes = _axes(at, x)
    if at.rank(x) == 0 or not axes:
        raise Refused("a reduction along no axis is not supported")
    return at.op(kind, x=x, axes=axes, keep_dims=bool(at.attr("keepdims", 1)))


@lowers("ReduceMax", "ReduceMin", guards=(arithmetic, constant(1)))
@lowers(
    "ReduceSum", "ReduceProd", "ReduceSumSquare", "ReduceL1",
    guards=(arithmetic, may_grow, constant(1)),
)  # fmt: skip
@lowers("ReduceMean", "ReduceL2", "ReduceLogSumExp", guards=(floating, constant(1)))
def reduction(at: Scope) -> Handle:
    """A reduction that is one operation."""
    return _reduced(at, KINDS[at.node.op_type])


@lowers("ReduceLogSum", guards=(floating, constant(1)))
def log_sum(at: Scope) -> Handle:
    """The logarithm of the sum."""
    total = _reduced(at, "reduce_sum")
    return at.op("log", x=total, epsilon=at.like(total, 0))


@lowers("GlobalAveragePool", guards=(floating,))
def global_average(at: Scope) -> Handle:
    """The mean of each channel."""
    return _over_space(at, "reduce_mean")


@lowers("GlobalMaxPool", guards=(floating,))
def global_max(at: Scope) -> Handle:
    """The maximum of each channel."""
    return _over_space(at, "reduce_max")


@lowers("GlobalLpPool", guards=(floating,))
def global_norm(at: Scope) -> Handle:
    """The norm of each channel, p being 1 or 2."""
    kinds = {1: "reduce_l1_norm", 2: "reduce_l2_norm"}
    p = at.attr("p", 2)
    if p not in kinds:
        raise Refused(f"p={p} is not supported")
    return _over_space(at, kinds[p])


def _over_space(at: Scope, kind: str) -> Handle:
    x = at.x()
    if at.rank(x) < 3:
        raise Refused("there is no axis behind the channels")
    return at.op(kind, x=x, axes=list(range(2, at.rank(x))), keep_dims=True)


@lowers("ArgMax", "ArgMin", guards=(arithmetic,))
def arg(at: Scope) -> Handle:
    """Where the largest or the smallest is: one of equals, or the last of them."""
    x = at.x()
    axis, keep = at.axis(x, 0), bool(at.attr("keepdims", 1))
    if at.attr("select_last_index", 0):
        best = at.node.op_type.removeprefix("Arg").lower()
        return _last_of_best(at, x, axis, f"reduce_{best}", range, keep)
    return at.op(f"reduce_{at.node.op_type.lower()}", x=x, axis=axis, keep_dims=keep)


def first_of_best(at: Scope, x: Handle, axis: int) -> Handle:
    """Return where the first of the largest is along an axis, which keeps a size of one.

    MIL leaves open which of equals its ``reduce_argmax`` finds.
    """
    found = _last_of_best(at, x, axis, "reduce_max", _downwards, True)
    return at.op("sub", x=at.like(found, at.fixed(x)[axis] - 1), y=found)


def _downwards(size: int) -> range:
    return range(size - 1, -1, -1)


def _last_of_best(
    at: Scope,
    x: Handle,
    axis: int,
    kind: str,
    numbering: Callable[[int], range],
    keep: bool,
) -> Handle:
    """Return the largest number, as places are numbered, among the places of the best."""
    size = at.sizes(x)[axis]
    if size is None:
        raise Refused("the first or last of equals needs a known size")
    best = at.op(kind, x=x, axes=[axis], keep_dims=True)
    hits = at.cast(at.op("equal", x=x, y=best), "int32")
    places = at.aligned(numbering(size), at.rank(x), axis).astype(np.int32)
    numbered = at.op("mul", x=hits, y=at.constant(places))
    return at.op("reduce_max", x=numbered, axes=[axis], keep_dims=keep)


@lowers("CumSum", guards=(arithmetic, may_grow, constant(1)), since=11)
def cum_sum(at: Scope) -> Any:
    """Sums of all before, along an axis."""
    x = at.x()
    axis = int(at.need(1).reshape(-1)[0]) % at.rank(x)
    return at.op(
        "cumsum", x=x, axis=axis, exclusive=bool(at.attr("exclusive", 0)),
        reverse=bool(at.attr("reverse", 0)),
    )  # fmt: skip
