"""Element-wise arithmetic, of one operand, of two and of many."""

from __future__ import annotations

from functools import reduce

import numpy as np

from runtime_ep_coreml.guards import (
    arithmetic,
    attribute,
    floating,
    same_kind,
)
from runtime_ep_coreml.narrowing import may_grow
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


@lowers("Abs", "Sign", guards=(arithmetic, may_grow))
def magnitude(at: Scope) -> Handle:
    """The size, and the direction."""
    return at.op(at.node.op_type.lower(), x=at.x())


@lowers("Neg", guards=(arithmetic, may_grow))
def neg(at: Scope) -> Handle:
    """Times minus one."""
    x = at.x()
    return at.op("mul", x=x, y=at.like(x, -1))


@lowers("Log", guards=(floating,))
def log(at: Scope) -> Handle:
    """Nothing is added to the argument, so that the logarithm of 0 is minus infinity."""
    return _log(at, at.x())


@lowers("Reciprocal", guards=(floating,))
def reciprocal(at: Scope) -> Handle:
    """One divided by x; MIL's own ``inverse`` adds to the divisor."""
    x = at.x()
    return at.op("real_div", x=at.constant(1, like=x), y=x)


@lowers("Asinh", guards=(floating,))
def asinh(at: Scope) -> Handle:
    """sign(x) · (log m + log(r + √(r² + 1/m²))), m being the larger of \\|x\\| and 1.

    r is the smaller of both, and \\|x\\| / m: no square leaves the range, and no term cancels.
    """
    x = at.x()
    size = at.op("abs", x=x)
    large = at.op("maximum", x=size, y=at.like(x, 1))
    small = at.op("minimum", x=size, y=at.like(x, 1))
    inverse = at.op("real_div", x=at.constant(1, like=x), y=large)
    squares = (at.op("square", x=small), at.op("square", x=inverse))
    root = at.op("sqrt", x=at.op("add", x=squares[0], y=squares[1]))
    made = at.op("add", x=_log(at, large), y=_log(at, at.op("add", x=small, y=root)))
    return at.op("mul", x=at.op("sign", x=x), y=made)


@lowers("Acosh", guards=(floating,))
def acosh(at: Scope) -> Handle:
    """log(x / c) + log(c + √(c - 1) · √(c + 1)), c being the smaller of x and 1024.

    Beyond, the 1 below the roots is less than float32 tells apart.
    """
    x = at.x()
    c = at.op("minimum", x=x, y=at.like(x, 1024))
    below, above = (at.op("sqrt", x=_plus(at, c, step)) for step in (-1, 1))
    total = at.op("add", x=c, y=at.op("mul", x=below, y=above))
    rest = _log(at, at.op("real_div", x=x, y=c))
    return at.op("add", x=rest, y=_log(at, total))


def _log(at: Scope, x: Handle) -> Handle:
    return at.op("log", x=x, epsilon=at.like(x, 0))


def _plus(at: Scope, x: Handle, number: float) -> Handle:
    return at.op("add", x=x, y=at.like(x, number))


@lowers("Add", "Sub", "Mul", guards=(arithmetic, same_kind, may_grow), since=7)
def binary(at: Scope) -> Handle:
    """Sum, difference and product, broadcast."""
    return at.op(BINARY[at.node.op_type], x=at.x(), y=at.x(1))


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


@lowers("Div", guards=(arithmetic, same_kind, may_grow), since=7)
def div(at: Scope) -> Handle:
    """Quotient; of integers, cut off towards zero."""
    x, y = at.x(), at.x(1)
    if at.kind(x) != "int32":
        return at.op("real_div", x=x, y=y)
    size = at.op("floor_div", x=at.op("abs", x=x), y=at.op("abs", x=y))
    sign = at.op("mul", x=at.op("sign", x=x), y=at.op("sign", x=y))
    return at.op("mul", x=size, y=sign)


@lowers("Mod", guards=(arithmetic, same_kind, may_grow))
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
    """Cut off below and above, where bounds are given; what is no number stays so.

    MIL's maximum is ``x > y ? x : y``, its minimum ``x > y ? y : x``.
    """
    x = at.x()
    if at.has(1):
        x = at.op("maximum", x=at.x(1), y=x)
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


@lowers("Cast", guards=(attribute("to", *KINDS), may_grow), since=6)
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
