"""Layer normalization, spelled out, becomes LayerNormalization.

Cases, with ``d = x - mean(x)`` over the last dims:

1. ``d / sqrt(mean(d * d) + eps) * scale + bias``; the square may be a power, the quotient
   a product with the reciprocal or with the power -0.5.
2. Without bias; without bias and scale, where the normalized dims are known.
3. In half precision, computed in float32: between a Cast up and a Cast back.

Left alone: double precision, a scale or bias not of exactly the normalized dims.
"""

from __future__ import annotations

from runtime.graph import Graph, Value
from runtime.match import Any, Index, Match, Op
from runtime.passes import normalization as norm
from runtime.passes.edit import Draft, rewrite
from runtime.passes.scope import Scope

_X = Any("x")
_CENTERED = Op("Sub", _X, norm.mean(_X, "axes"))
_VARIANCE = norm.mean(norm.square(_CENTERED), "axes_of_squares")
_NORMALIZED = norm.over_root(_CENTERED, _VARIANCE)
_BIASED, _SCALED = norm.affine(_NORMALIZED)


def run(graph: Graph, scope: Scope) -> int:
    """Raise every layer normalization of one graph; return how many."""
    index = Index(graph)
    patterns = (_BIASED, _SCALED, _NORMALIZED)
    return sum(rewrite(index, pattern, _build, scope) for pattern in patterns)


def _build(match: Match, scope: Scope) -> Value | None:
    axis = norm.trailing_axis(match, scope, "axes", "axes_of_squares")
    x, eps = norm.source(match), norm.epsilon(match)
    if axis is None or x is None or eps is None:
        return None
    scale, bias = match.get("scale"), match.get("bias")
    for value in (scale, bias):
        if value is not None and norm.weight(value, x, axis, None, scope) is None:
            return None
    if scale is None and not norm.is_known(x, axis, scope):
        return None
    draft = Draft(scope, match.root, match.nodes)
    weights = [norm.ones(x, axis, draft, scope)] if scale is None else []
    weights += [
        norm.weight(value, x, axis, draft, scope)
        for value in (scale, bias)
        if value is not None
    ]
    return draft.call("LayerNormalization", x, *weights, axis=axis, epsilon=eps)
