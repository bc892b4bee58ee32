"""A value times a gate made of itself becomes one activation.

Cases, each with factors in any order:

1. ``x * sigmoid(x)`` and ``x * sigmoid(alpha * x)``: Swish.
2. ``x * hard_sigmoid(x)`` with slope 1/6 and offset 1/2, and ``x * clip(x + 3, 0, 6) / 6``:
   HardSwish.
3. ``x * tanh(softplus(x))``: Mish.
"""

from __future__ import annotations

from runtime.graph import Graph, Node, Value
from runtime.match import (
    Any,
    Constant,
    Index,
    Match,
    Op,
    Pattern,
    Product,
    Scalar,
    scalar,
)
from runtime.passes.edit import Draft, rewrite
from runtime.passes.scope import Scope, is_elementwise
from runtime.schema import schema


def _is_sixth(node: Node) -> bool:
    slope, offset = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    return abs(slope - 1 / 6) < 1e-6 and bool(offset == 0.5)


_X = Any("x")
_RAMP = Op("Clip", Op("Add", _X, Scalar(3.0)), Scalar(0.0), Scalar(6.0))
_PATTERNS: tuple[tuple[str, Pattern], ...] = (
    ("Swish", Product(1.0, _X, Op("Sigmoid", _X))),
    ("Swish", Product(1.0, _X, Op("Sigmoid", Op("Mul", _X, Constant("alpha"))))),
    ("HardSwish", Product(1.0, _X, Op("HardSigmoid", _X, where=_is_sixth))),
    ("HardSwish", Product(1 / 6, _X, _RAMP)),
    ("Mish", Product(1.0, _X, Op("Tanh", Op("Softplus", _X)))),
)


def run(graph: Graph, scope: Scope) -> int:
    """Raise every gated activation of one graph; return how many."""
    index, changes = Index(graph), 0
    for op_type, pattern in _PATTERNS:
        if schema("", op_type, scope.version) is None:
            continue

        def build(match: Match, scope: Scope, op_type: str = op_type) -> Value | None:
            return _activation(op_type, match, scope)

        changes += rewrite(index, pattern, build, scope)
    return changes


def _activation(op_type: str, match: Match, scope: Scope) -> Value | None:
    given = match.get("alpha")
    alpha = scalar(given.constant()) if given is not None else None
    if given is not None and alpha is None:
        return None
    if not is_elementwise(match.root, match["x"], scope):
        return None
    return Draft(scope, match.root, match.nodes).call(op_type, match["x"], alpha=alpha)
