"""Comparisons, boolean operators and choices between two values."""

from __future__ import annotations

from runtime_ep_coreml.guards import among, floating
from runtime_ep_coreml.lowering.broadcast import broadcast
from runtime_ep_coreml.scope import Handle, Scope
from runtime_ep_coreml.table import lowers

COMPARE = {
    "Greater": "greater", "GreaterOrEqual": "greater_equal", "Less": "less",
    "LessOrEqual": "less_equal",
}  # fmt: skip
BOOLEAN = {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}


@lowers(*COMPARE, since=7)
def compare(at: Scope) -> Handle:
    """Which of two is larger."""
    return at.op(COMPARE[at.node.op_type], x=at.x(), y=at.x(1))


@lowers("Equal", since=7)
def equal(at: Scope) -> Handle:
    """Whether two are the same; of booleans, not exclusive or."""
    x, y = at.x(), at.x(1)
    if at.kind(x) != "bool":
        return at.op("equal", x=x, y=y)
    return at.op("logical_not", x=at.op("logical_xor", x=x, y=y))


@lowers(*BOOLEAN, since=7)
def boolean(at: Scope) -> Handle:
    """Conjunction, disjunction and exclusive or."""
    return at.op(BOOLEAN[at.node.op_type], x=at.x(), y=at.x(1))


@lowers("Not", guards=(among(frozenset((9,)), 0),))
def negation(at: Scope) -> Handle:
    """The opposite."""
    return at.op("logical_not", x=at.x())


@lowers("Where", since=9)
def where(at: Scope) -> Handle:
    """One of two by a condition.

    All three are brought to one shape first: MIL infers the shape of ``select`` from two.
    """
    condition, a, b = at.x(), at.x(1), at.x(2)
    return at.op(
        "select",
        cond=broadcast(at, condition, a, b),
        a=broadcast(at, a, condition, b),
        b=broadcast(at, b, condition, a),
    )


@lowers("IsNaN", guards=(floating,))
def is_nan(at: Scope) -> Handle:
    """What does not equal itself."""
    x = at.x()
    return at.op("not_equal", x=x, y=x)


@lowers("IsInf", guards=(floating,))
def is_inf(at: Scope) -> Handle:
    """Infinities of the signs that are asked for."""
    x = at.x()
    below = at.op("equal", x=x, y=at.like(x, float("-inf")))
    above = at.op("equal", x=x, y=at.like(x, float("inf")))
    if not at.attr("detect_negative", 1):
        below = at.op("logical_and", x=below, y=at.op("logical_not", x=below))
    if not at.attr("detect_positive", 1):
        above = at.op("logical_and", x=above, y=at.op("logical_not", x=above))
    return at.op("logical_or", x=below, y=above)
