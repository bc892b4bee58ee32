"""Group normalization by way of InstanceNormalization becomes GroupNormalization.

Cases:

1. Reshape to (batch, groups, rest), InstanceNormalization with scale 1 and bias 0,
   Reshape back, Mul by a scale and Add of a bias per channel.
2. Without Mul and Add.

Left alone: double precision, scales and biases that are not per channel.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph, Value
from runtime.match import Any, Constant, Index, Match, Op
from runtime.passes.edit import Draft, rewrite
from runtime.passes.normalization import SINGLE
from runtime.passes.scope import Array, Scope
from runtime.valuetypes import numpy_dtype


def _ones(array: Array) -> bool:
    return bool((array == 1).all())


def _zeros(array: Array) -> bool:
    return bool((array == 0).all())


_SPLIT = Op("Reshape", Any("x"), Any(), name="split")
_INSTANCE = Op(
    "InstanceNormalization",
    _SPLIT,
    Constant("ones", _ones),
    Constant("", _zeros),
    name="instance",
)
_JOINED = Op("Reshape", _INSTANCE, Any(), name="join")
_AFFINE = Op("Add", Op("Mul", _JOINED, Any("scale")), Any("bias"))


def run(graph: Graph, scope: Scope) -> int:
    """Raise every group normalization of one graph; return how many."""
    index = Index(graph)
    return sum(rewrite(index, p, _build, scope) for p in (_AFFINE, _JOINED))


def _build(match: Match, scope: Scope) -> Value | None:
    x, groups = match["x"], match["ones"].shape
    shape = scope.facts.shape(x)
    split, join, instance = (match.node(n) for n in ("split", "join", "instance"))
    if split is None or join is None or instance is None or not shape or not groups:
        return None
    channels = shape[1] if len(shape) > 2 else None
    if x.dtype not in SINGLE or not isinstance(channels, int) or channels % groups[0]:
        return None
    parts = scope.facts.shape(split.outputs[0])
    if parts is None or len(parts) != 3 or parts[:2] != (shape[0], groups[0]):
        return None
    if None in shape or scope.facts.shape(join.outputs[0]) != shape:
        return None
    weights = [match.get("scale"), match.get("bias")]
    if any(v is not None and not _per_channel(v, x, scope) for v in weights):
        return None
    draft = Draft(scope, match.root, match.nodes)
    return draft.call(
        "GroupNormalization",
        x,
        _vector(weights[0], x, channels, 1.0, draft),
        _vector(weights[1], x, channels, 0.0, draft),
        num_groups=int(groups[0] or 1),
        epsilon=float(instance.attribute("epsilon", 1e-5)),
    )


def _per_channel(value: Value, x: Value, scope: Scope) -> bool:
    """Whether a value has one element per channel, in the channels' place."""
    shape, whole = scope.facts.shape(value), scope.facts.shape(x)
    if shape is None or whole is None or value.dtype != x.dtype:
        return False
    padded = (1,) * (len(whole) - len(shape)) + shape
    return padded == (1, whole[1], *(1,) * (len(whole) - 2))


def _vector(
    value: Value | None, x: Value, channels: int, default: float, draft: Draft
) -> Value:
    if value is None:
        dtype = numpy_dtype(x.dtype or 1)
        return draft.constant(np.full(channels, default, dtype), "weight")
    array = value.constant()
    if array is not None:
        return draft.constant(array.reshape(channels), value.name)
    return draft.call("Reshape", value, draft.constant(np.array([channels])))
