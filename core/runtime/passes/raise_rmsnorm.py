"""Root mean square normalization, spelled out, becomes RMSNormalization.

Cases, over the last dims:

1. ``x / sqrt(mean(x * x) + eps) * scale``; the square may be a power, the quotient a
   product with the reciprocal or with the power -0.5.
2. Without scale, where the normalized dims are known.
3. In half precision, computed in float32: between a Cast up and a Cast back.

Left alone: double precision, a scale not of exactly the normalized dims.
"""

from __future__ import annotations

from runtime.graph import Graph, Value
from runtime.match import Any, Index, Match
from runtime.passes import normalization as norm
from runtime.passes.edit import Draft, rewrite
from runtime.passes.scope import Scope
from runtime.schema import schema

_X = Any("x")
_NORMALIZED = norm.over_root(_X, norm.mean(norm.square(_X), "axes"))
_, _SCALED = norm.affine(_NORMALIZED)


def run(graph: Graph, scope: Scope) -> int:
    """Raise every root mean square normalization of one graph; return how many."""
    if schema("", "RMSNormalization", scope.version) is None:
        return 0
    index = Index(graph)
    return sum(rewrite(index, p, _build, scope) for p in (_SCALED, _NORMALIZED))


def _build(match: Match, scope: Scope) -> Value | None:
    axis = norm.trailing_axis(match, scope, "axes")
    x, eps = norm.source(match), norm.epsilon(match)
    if axis is None or x is None or eps is None:
        return None
    scale = match.get("scale")
    if scale is None:
        if not norm.is_known(x, axis, scope):
            return None
    elif norm.weight(scale, x, axis, None, scope) is None:
        return None
    draft = Draft(scope, match.root, match.nodes)
    if scale is None:
        given = norm.ones(x, axis, draft, scope)
    else:
        given = norm.weight(scale, x, axis, draft, scope)
    return draft.call("RMSNormalization", x, given, axis=axis, epsilon=eps)
