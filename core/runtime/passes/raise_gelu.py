"""The Gaussian error linear unit, spelled out, becomes Gelu.

Cases, each with factors in any order and division for multiplication by constants:

1. ``0.5 * x * (1 + erf(x / sqrt(2)))``
2. ``0.5 * x * (1 + tanh(c * (x + 0.044715 * x**3)))`` with ``c = sqrt(2 / pi)``: Gelu
   approximated by tanh.
3. The same with ``c * x * (1 + 0.044715 * x * x)`` or ``c * x + 0.044715 * c * x**3``.
"""

from __future__ import annotations

from math import pi, sqrt

from runtime.graph import Graph, Value
from runtime.match import Any, Index, Match, OneOf, Op, Product, Scalar
from runtime.passes.edit import Draft, rewrite
from runtime.passes.scope import Scope, is_elementwise
from runtime.schema import schema

_X = Any("x")
_C, _K = sqrt(2 / pi), 0.044715
_ONE = Scalar(1.0)
_ERF = Product(0.5, _X, Op("Add", Op("Erf", Product(sqrt(0.5), _X)), _ONE))
_TANH = Product(
    0.5,
    _X,
    Op(
        "Add",
        Op(
            "Tanh",
            OneOf(
                Product(_C, Op("Add", _X, Product(_K, _X, _X, _X))),
                Product(_C, _X, Op("Add", Product(_K, _X, _X), _ONE)),
                Op("Add", Product(_C, _X), Product(_C * _K, _X, _X, _X)),
            ),
        ),
        _ONE,
    ),
)


def run(graph: Graph, scope: Scope) -> int:
    """Raise every Gelu of one graph; return how many."""
    if schema("", "Gelu", scope.version) is None:
        return 0
    index = Index(graph)
    return rewrite(index, _ERF, _exact, scope) + rewrite(index, _TANH, _tanh, scope)


def _exact(match: Match, scope: Scope) -> Value | None:
    return _gelu(match, scope, None)


def _tanh(match: Match, scope: Scope) -> Value | None:
    return _gelu(match, scope, "tanh")


def _gelu(match: Match, scope: Scope, approximate: str | None) -> Value | None:
    if not is_elementwise(match.root, match["x"], scope):
        return None
    draft = Draft(scope, match.root, match.nodes)
    return draft.call("Gelu", match["x"], approximate=approximate)
