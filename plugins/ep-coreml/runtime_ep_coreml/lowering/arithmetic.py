"""Element-wise arithmetic, of one operand, of two and of many."""

from __future__ import annotations

from functools import reduce

import numpy as np

from runtime_ep_coreml.guards import (
    arithmetic,
    attribute,
    floating,
    may_grow,
    same_kind,
)
from runtime_ep_coreml.scope import KINDS, LIMITS, Handle, Refused, Scope
from runtime_ep_coreml.table import lowers

UNARY = {
    "Acos": "acos", "Asin": "asin", "Atan": "atan", "Atanh": "atanh", "Ceil": "ceil",
    "Cos": "cos", "Cosh": "cosh", "Erf": "erf", "Exp": "exp", "Floor": "floor",
    "Round": "round", "Sin": "sin", "Sinh": "sinh", "Sqrt": "sqrt", "Tan": "tan",
}  # fmt: skip
BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Max": "maximum", "Min": "minimum",
    "Sum": "add",
}  # fmt: skip


@lowers(*UNARY, guards=(floating,))
def unary(at: Scope) -> Handle:
    """A function that is one operation."""
    return at.op(UNARY[at.node.op_type], x=at.x())


@lowers("Abs", "Sign", guards=(arithmetic,))
def magnitude(at: Scope) -> Handle:
    """The size, and the direction."""
    return at.op(at.node.op_type.lower(), x=at.x())


@lowers("Neg", guards=(arithmetic,))
def neg(at: Scope) -> Handle:
    """Times minus one."""
    x = at.x()
    return at.op("mul", x=x, y=at.like(x, -1))


@lowers("Log", guards=(floating,))
def log(at: Scope) -> Handle:
    """Nothing is added to the argument, so that the logarithm of 0 is minus infinity."""
    x = at.x()
    return at.op("log", x=x, epsilon=at.like(x, 0))


@lowers("Reciprocal", guards=(floating,))
def reciprocal(at: Scope) -> Handle:
    """One divided by x; MIL's own ``inverse`` adds to the divisor."""
    x = at.x()
    return at.op("real_div", x=at.constant(1, like=x), y=x)


@lowers("Asinh", guards=(floating,))
def asinh(at: Scope) -> Handle:
    """sign(x) · log(\\|x\\| + √(x² + 1)), of which no term cancels."""
    x = at.x()
    size = at.op("abs", x=x)
    root = at.op("sqrt", x=_plus(at, at.op("square", x=x), 1))
    made = at.op("log", x=at.op("add", x=size, y=root), epsilon=at.like(x, 0))
    return at.op("mul", x=at.op("sign", x=x), y=made)


@lowers("Acosh", guards=(floating,))
def acosh(at: Scope) -> Handle:
    """log(x + √((x - 1) · (x + 1)))."""
    x = at.x()
    inner = at.op("mul", x=_plus(at, x, -1), y=_plus(at, x, 1))
    total = at.op("add", x=x, y=at.op("sqrt", x=inner))
    return at.op("log", x=total, epsilon=at.like(x, 0))


def _plus(at: Scope, x: Handle, number: float) -> Handle:
    return at.op("add", x=x, y=at.like(x, number))


@lowers("Add", "Sub", guards=(arithmetic, same_kind), since=7)
def sums(at: Scope) -> Handle:
    """Sum and difference, broadcast."""
    return at.op(BINARY[at.node.op_type], x=at.x(), y=at.x(1))


@lowers("Mul", guards=(arithmetic, same_kind, may_grow), since=7)
def mul(at: Scope) -> Handle:
    """Product, broadcast."""
    return at.op("mul", x=at.x(), y=at.x(1))


@lowers("Max", "Min", guards=(arithmetic, same_kind), since=8)
@lowers("Sum", guards=(floating, same_kind), since=8)
def variadic(at: Scope) -> Handle:
    """One operand after the other."""
    kind = BINARY[at.node.op_type]
    return reduce(lambda x, y: at.op(kind, x=x, y=y), at.all())


@lowers("Mean", guards=(floating, same_kind), since=8)
def mean(at: Scope) -> Handle:
    """The sum over the number of operands."""
    operands = at.all()
    total = reduce(lambda x, y: at.op("add", x=x, y=y), operands)
    return at.op("mul", x=total, y=at.like(total, 1 / len(operands)))


@lowers("Div", guards=(arithmetic, same_kind), since=7)
def div(at: Scope) -> Handle:
    """Quotient; of integers, cut off towards zero."""
    x, y = at.x(), at.x(1)
    if at.kind(x) != "int32":
        return at.op("real_div", x=x, y=y)
    size = at.op("floor_div", x=at.op("abs", x=x), y=at.op("abs", x=y))
    sign = at.op("mul", x=at.op("sign", x=x), y=at.op("sign", x=y))
    return at.op("mul", x=size, y=sign)


@lowers("Mod", guards=(arithmetic, same_kind))
def mod(at: Scope) -> Handle:
    """The rest, of the divisor's sign, or with ``fmod`` of the dividend's."""
    x, y = at.x(), at.x(1)
    if not at.attr("fmod", 0):
        return at.op("mod", x=x, y=y)
    size = at.op("mod", x=at.op("abs", x=x), y=at.op("abs", x=y))
    return at.op("mul", x=size, y=at.op("sign", x=x))


@lowers("Pow", guards=(floating,), since=7)
def power(at: Scope) -> Handle:
    """X to the power y, in x's type."""
    x = at.x()
    return at.op("pow", x=x, y=at.cast(at.x(1), at.kind(x)))


@lowers("Clip", guards=(arithmetic,), since=11)
def clip(at: Scope) -> Handle:
    """Cut off below and above, where bounds are given."""
    x = at.x()
    if at.has(1):
        x = at.op("maximum", x=x, y=at.x(1))
    return at.op("minimum", x=x, y=at.x(2)) if at.has(2) else x


@lowers("Identity", guards=())
def identity(at: Scope) -> Handle:
    """The same value."""
    return at.op("identity", x=at.x())


@lowers("Dropout", guards=(floating,), since=7)
def dropout(at: Scope) -> Handle:
    """The same value: nothing is dropped outside training."""
    training = at.known(2) if at.has(2) else np.array(False)
    if training is None or training.any() or at.wanted(1):
        raise Refused("training and masks are not supported")
    return at.op("identity", x=at.x())


@lowers("Cast", guards=(attribute("to", *KINDS),), since=6)
def cast(at: Scope) -> Handle:
    """Another element type; integers wrap into narrower ones as in two's complement."""
    to, x = at.attr("to"), at.x()
    if at.dtype() == to:
        return at.op("identity", x=x)
    made = at.cast(x, KINDS[to])
    if to in LIMITS and at.dtype() != to:
        made = _wrapped(at, made, *LIMITS[to])
    return made


def _wrapped(at: Scope, x: Handle, low: int, high: int) -> Handle:
    shifted = at.op("sub", x=x, y=np.int32(low)) if low else x
    rest = at.op("mod", x=shifted, y=np.int32(high - low + 1))
    return at.op("add", x=rest, y=np.int32(low)) if low else rest
