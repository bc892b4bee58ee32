"""Arithmetic, comparison, logic and bits, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu import formulas
from runtime_ep_cpu.dtypes import is_narrow
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._formula_kernel import formula_kernel
from runtime_ep_cpu.ops._legacy import (
    with_broadcast_attributes,
    with_consumed_inputs,
    without_broadcasting,
)

table = KernelTable()

Function = Callable[..., Any]

# operator: (first opset, NumPy's name, formula)
UNARY: dict[str, tuple[int, str, Function | None]] = {
    "Abs": (6, "abs", formulas.absolute),
    "Acos": (7, "arccos", None),
    "Acosh": (9, "arccosh", None),
    "Asin": (7, "arcsin", None),
    "Asinh": (9, "arcsinh", None),
    "Atan": (7, "arctan", None),
    "Atanh": (9, "arctanh", None),
    "BitwiseNot": (18, "invert", None),
    "Ceil": (6, "ceil", formulas.ceil),
    "Cos": (7, "cos", None),
    "Cosh": (9, "cosh", None),
    "Exp": (6, "exp", formulas.exp),
    "Floor": (6, "floor", formulas.floor),
    "IsNaN": (9, "isnan", None),
    "Log": (6, "log", formulas.log),
    "Neg": (6, "negative", formulas.negative),
    "Not": (1, "logical_not", None),
    "Reciprocal": (6, "reciprocal", formulas.reciprocal),
    "Round": (11, "rint", formulas.rint),
    "Sign": (9, "sign", None),
    "Sin": (7, "sin", None),
    "Sinh": (9, "sinh", None),
    "Sqrt": (6, "sqrt", formulas.sqrt),
    "Tan": (7, "tan", None),
    "Tanh": (6, "tanh", formulas.tanh),
}
UNARY_WITH_CONSUMED_INPUTS = (
    "Abs",
    "Ceil",
    "Exp",
    "Floor",
    "Log",
    "Neg",
    "Reciprocal",
    "Sqrt",
    "Tanh",
)

# operator: (first opset with NumPy's broadcasting, NumPy's name, formula)
BINARY: dict[str, tuple[int, str, Function | None]] = {
    "Add": (7, "add", formulas.add),
    "And": (7, "logical_and", None),
    "BitwiseAnd": (18, "bitwise_and", None),
    "BitwiseOr": (18, "bitwise_or", None),
    "BitwiseXor": (18, "bitwise_xor", None),
    "Greater": (7, "greater", None),
    "GreaterOrEqual": (12, "greater_equal", None),
    "Less": (7, "less", None),
    "LessOrEqual": (12, "less_equal", None),
    "Mul": (7, "multiply", formulas.multiply),
    "Or": (7, "logical_or", None),
    "Sub": (7, "subtract", formulas.subtract),
    "Xor": (7, "logical_xor", None),
}

VARIADIC: dict[str, Function] = {
    "Max": formulas.maximum,
    "Mean": formulas.mean,
    "Min": formulas.minimum,
    "Sum": formulas.total,
}


def _unary(op: str, name: str) -> Function:
    def run(x: Any, /) -> Any:
        with np.errstate(all="ignore"):
            return getattr(namespace_of(x), name)(x)

    run.__doc__ = f"{op}."
    return run


def _binary(op: str, name: str) -> Function:
    def run(a: Any, b: Any, /) -> Any:
        with np.errstate(all="ignore"):
            return getattr(namespace_of(a, b), name)(a, b)

    run.__doc__ = f"{op}, with NumPy's broadcasting."
    return run


for _op, (_since, _name, _formula) in UNARY.items():
    table(_op, since=_since, formula=_formula)(_unary(_op, _name))
for _op in UNARY_WITH_CONSUMED_INPUTS:
    table(_op, since=1)(with_consumed_inputs(_unary(_op, UNARY[_op][1])))
for _op, (_since, _name, _formula) in BINARY.items():
    table(_op, since=_since, formula=_formula)(_binary(_op, _name))
for _op, _combine in VARIADIC.items():
    _function = formula_kernel(_combine)
    table(_op, since=8, formula=_combine)(_function)
    table(_op, since=6)(without_broadcasting(_function))
    table(_op, since=1)(with_consumed_inputs(without_broadcasting(_function)))

_erf = formula_kernel(formulas.erf)


@table("Erf", since=9, formula=formulas.erf)
def error_function(x: Any, /) -> Any:
    """Erf; opset 9 allows integers, whose results are truncated."""
    if x.dtype.kind == "f":
        return _erf(x)
    return _erf(x.astype(np.float64)).astype(x.dtype)


@table("Div", since=7, formula=formulas.divide)
def divide(a: Any, b: Any, /) -> Any:
    """Div; the quotient of integers is rounded towards zero."""
    with np.errstate(all="ignore"):
        if a.dtype.kind in "iu":
            return truncated_quotient(a, b)
        return a / b


def truncated_quotient(a: Any, b: Any) -> Any:
    """Divide integers, rounding towards zero; over zero it is zero."""
    quotient = a // b
    if a.dtype.kind == "u":
        return quotient
    rounded_down = (quotient < 0) & (quotient * b != a)
    return quotient + rounded_down.astype(a.dtype)


@table("Mod", since=10)
def modulo(a: Any, b: Any, /, *, fmod: int = 0) -> Any:
    """Mod: the sign is the divisor's, or with ``fmod`` the dividend's.

    Before opset 28 floats needed ``fmod``; without it they get what 28 says.
    """
    xp = namespace_of(a, b)
    with np.errstate(all="ignore"):
        if not fmod:
            return xp.remainder(a, b)
        if a.dtype.kind == "f":
            return xp.fmod(a, b)
        return a - truncated_quotient(a, b) * b


@table("Pow", since=7, traits=("typed",))
def power(x: Any, y: Any, /) -> Any:
    """Pow; from opset 12 on the exponent may differ in type, the result never does.

    Integers to negative powers are truncated towards zero.
    """
    dtype = x.dtype
    x, y = (z.astype(np.float32) if is_narrow(z) else z for z in (x, y))
    xp = namespace_of(x, y)
    with np.errstate(all="ignore"):
        if y.size == 1 and y.ndim <= x.ndim:
            exponent = y.item()
            if exponent in (2, 3):
                return _small_power(x, int(exponent)).astype(dtype, copy=False)
        if x.dtype.kind in "iu" and y.dtype.kind == "i" and (y < 0).any():
            y = y.astype(np.float64)
        return xp.power(x, y).astype(dtype, copy=False)


def _small_power(x: Any, exponent: int) -> Any:
    return x * x if exponent == 2 else x * x * x


@table("BitShift", since=11)
def bit_shift(x: Any, y: Any, /, *, direction: str) -> Any:
    """BitShift; whole widths and negative amounts shift every bit out (opset 28)."""
    if direction not in ("LEFT", "RIGHT"):
        raise ValueError(f"direction must be LEFT or RIGHT, found {direction!r}")
    xp = namespace_of(x, y)
    return xp.left_shift(x, y) if direction == "LEFT" else xp.right_shift(x, y)


@table("Equal", since=7)
def equal(a: Any, b: Any, /) -> Any:
    """Equal, of strings too."""
    if a.dtype != object:
        return namespace_of(a, b).equal(a, b)
    return np.asarray(np.equal(a, b), bool)


@table("IsInf", since=10)
def is_inf(x: Any, /, *, detect_negative: int = 1, detect_positive: int = 1) -> Any:
    """IsInf, of either sign or only one."""
    xp = namespace_of(x)
    if detect_negative and detect_positive:
        return xp.isinf(x)
    if detect_negative:
        return x == -np.inf
    if detect_positive:
        return x == np.inf
    return xp.zeros(x.shape, bool)


@table("Where", since=9, traits=("moves",), formula=formulas.where)
def where(condition: Any, x: Any, y: Any, /) -> Any:
    """Where."""
    return namespace_of(condition, x, y).where(condition, x, y)


@table("Clip", since=11, formula=formulas.clip)
def clip(x: Any, low: Any = None, high: Any = None, /) -> Any:
    """Clip; a bound that is absent does not bind, not even infinities."""
    xp = namespace_of(x)
    low, high = (None if z is None else _scalar(xp, z) for z in (low, high))
    return formulas.clip(xp, x, low, high)


def _scalar(xp: Any, bound: Any) -> Any:
    if bound.size != 1:
        raise ValueError(f"a bound must be a scalar, found shape {list(bound.shape)}")
    return xp.asarray(bound).reshape(())


table("Clip", since=6, formula=formulas.clip_by_attributes)(
    formula_kernel(formulas.clip_by_attributes)
)


@table("Clip", since=1)
def clip_1(
    x: Any,
    /,
    *,
    max: float | None = None,
    min: float | None = None,
    consumed_inputs: Any = None,
) -> Any:
    """Clip of opset 1, its bounds as attributes without defaults."""
    return formulas.clip(namespace_of(x), x, min, max)


def _with_axis_before_7(op: str, consumed_inputs: bool) -> None:
    """Register the same function for opset 1 to 6, with `axis` and `broadcast`."""
    kernel = table.find("", op, 7)
    assert kernel is not None
    old = with_broadcast_attributes(kernel.function)
    if consumed_inputs:
        table(op, since=6)(old)
        table(op, since=1)(with_consumed_inputs(old))
    else:
        table(op, since=1, traits=tuple(kernel.traits))(old)


for _op in ("Add", "Div", "Mul", "Sub"):
    _with_axis_before_7(_op, consumed_inputs=True)
for _op in ("And", "Equal", "Greater", "Less", "Or", "Pow", "Xor"):
    _with_axis_before_7(_op, consumed_inputs=False)
