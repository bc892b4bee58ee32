"""What the normalizations share: how they are spelled, and when that is one."""

from __future__ import annotations

import numpy as np

from runtime.graph import Node, Value
from runtime.match import (
    Any,
    Constant,
    Match,
    OneOf,
    Op,
    Pattern,
    Scalar,
    Through,
    scalar,
)
from runtime.passes.edit import Draft
from runtime.passes.scope import Scope
from runtime.valuetypes import numpy_dtype

SINGLE = frozenset((1, 10, 16))
"""Element types for which the standard's default, single precision, loses nothing."""


def keeps_dims(node: Node) -> bool:
    """Whether a reduction keeps the reduced dims, with length 1."""
    return bool(node.attribute("keepdims", 1))


def mean(value: Pattern, axes: str) -> Op:
    """Return the pattern of a mean that keeps dims; its axes are captured."""
    return Op("ReduceMean", value, Constant(axes), where=keeps_dims)


def square(value: Pattern) -> Pattern:
    """Return the pattern of a square."""
    return OneOf(Op("Pow", value, Scalar(2.0)), Op("Mul", value, value))


def over_root(value: Pattern, variance: Pattern) -> Pattern:
    """Return the pattern of ``value / sqrt(variance + eps)`` in all its spellings."""
    shifted = Op("Add", variance, Constant("eps"))
    root = OneOf(Op("Sqrt", shifted), Op("Pow", shifted, Scalar(0.5)))
    inverse = OneOf(
        Op("Reciprocal", root),
        Op("Div", Scalar(1.0), root),
        Op("Pow", shifted, Scalar(-0.5)),
    )
    return OneOf(Op("Div", value, root), Op("Mul", value, inverse))


def affine(normalized: Pattern) -> tuple[Op, Op]:
    """Return the patterns of scale and bias, and of scale alone, after a Cast or none."""
    scaled = Op("Mul", Through("Cast", normalized, "cast"), Any("scale"))
    return Op("Add", scaled, Any("bias")), scaled


def trailing_axis(match: Match, scope: Scope, *names: str) -> int | None:
    """Return the negative axis from which all dims are reduced, or ``None``."""
    rank = scope.facts.rank(match["x"])
    found = None
    for name in names:
        axes = scope.facts.integers(match[name])
        if rank is None or not axes or not all(-rank <= axis < rank for axis in axes):
            return None
        places = sorted(axis % rank for axis in axes)
        if places != list(range(rank - len(places), rank)):
            return None
        if found not in (None, -len(places)):
            return None
        found = -len(places)
    return found


def source(match: Match) -> Value | None:
    """Return what is normalized: ahead of the Cast to float32 that a later one undoes."""
    value, cast = match["x"], match.node("cast")
    if cast is None:
        return value if value.dtype in SINGLE else None
    before = value.producer
    if before is None or before.op_type != "Cast" or before.domain or value.dtype != 1:
        return None
    first = before.inputs[0]
    if first is None or first.dtype not in SINGLE:
        return None
    return first if first.dtype == cast.attribute("to") else None


def epsilon(match: Match) -> float | None:
    """Return the number that keeps the root from zero, or ``None``."""
    found = scalar(match["eps"].constant())
    return found if found is not None and found >= 0 else None


def weight(
    value: Value, like: Value, axis: int, draft: Draft | None, scope: Scope
) -> Value | None:
    """Return a scale or bias of exactly the normalized dims, or ``None``.

    A constant may have dims of length 1 in front. Without a draft the value is returned
    as it is.
    """
    whole, shape = scope.facts.shape(like), scope.facts.shape(value)
    if whole is None or shape is None or value.dtype != like.dtype:
        return None
    wanted = whole[axis:]
    if None in wanted or shape[len(shape) - len(wanted) :] != wanted:
        return None
    if shape == wanted:
        return value
    array = value.constant()
    if array is None or set(shape[: -len(wanted)]) != {1} or len(shape) > len(whole):
        return None
    if draft is None:
        return value
    return draft.constant(array.reshape(array.shape[-len(wanted) :]), value.name)


def ones(like: Value, axis: int, draft: Draft, scope: Scope) -> Value | None:
    """Return a scale of ones for the normalized dims."""
    shape = (scope.facts.shape(like) or ())[axis:]
    return draft.constant(np.ones(shape, numpy_dtype(like.dtype or 1)), "scale")


def is_known(like: Value, axis: int, scope: Scope) -> bool:
    """Whether the normalized dims are numbers."""
    shape = scope.facts.shape(like)
    return shape is not None and all(isinstance(dim, int) for dim in shape[axis:])
