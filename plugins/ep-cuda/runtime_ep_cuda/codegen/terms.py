"""The mathematics of CUDA text: `formulas.Math` over pieces of source, and more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime_ep_cuda.codegen.elements import FLOATS, INTEGERS, UNSIGNED, element
from runtime_ep_cuda.codegen.expression import Expression, evaluate

_FUNCTIONS = (
    "sqrt", "exp", "expm1", "log", "log1p", "tanh", "erf", "sin", "cos", "tan", "asin",
    "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "floor", "ceil", "rint",
    "trunc", "abs", "sign",
)  # fmt: skip
"""Functions of one argument; the prelude has each as ``rt_`` and its name."""


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """A value of the source: its text, which may be repeated, and its C type."""

    text: str
    type: str
    m: Terms

    def __add__(self, other: Any) -> Term:
        return self.m.arithmetic("+", self, other)

    def __radd__(self, other: Any) -> Term:
        return self.m.arithmetic("+", other, self)

    def __sub__(self, other: Any) -> Term:
        return self.m.arithmetic("-", self, other)

    def __rsub__(self, other: Any) -> Term:
        return self.m.arithmetic("-", other, self)

    def __mul__(self, other: Any) -> Term:
        return self.m.arithmetic("*", self, other)

    def __rmul__(self, other: Any) -> Term:
        return self.m.arithmetic("*", other, self)

    def __truediv__(self, other: Any) -> Term:
        return self.m.divided(self, other)

    def __rtruediv__(self, other: Any) -> Term:
        return self.m.divided(other, self)

    def __neg__(self) -> Term:
        if self.type in FLOATS:
            return self.m.emit(self.type, f"-{self.text}")
        return self.m.arithmetic("-", 0, self)

    def __lt__(self, other: Any) -> Term:
        return self.m.compared("<", self, other)

    def __le__(self, other: Any) -> Term:
        return self.m.compared("<=", self, other)

    def __gt__(self, other: Any) -> Term:
        return self.m.compared(">", self, other)

    def __ge__(self, other: Any) -> Term:
        return self.m.compared(">=", self, other)

    def __and__(self, other: Any) -> Term:
        return self.m.bitwise("&", self, other)

    def __or__(self, other: Any) -> Term:
        return self.m.bitwise("|", self, other)

    def __xor__(self, other: Any) -> Term:
        return self.m.bitwise("^", self, other)

    def __invert__(self) -> Term:
        return self.m.bit_not(self)


class Terms:
    """A math namespace whose functions append statements to ``lines``.

    ``Terms("e")`` calls its variables e0, e1, …; every result is one, so that a text
    grows no faster than the number of operations. Python numbers take the type of the
    term they meet.
    """

    def __init__(self, prefix: str = "v") -> None:
        self.prefix = prefix
        self.lines: list[str] = []

    def term(self, text: str, type: str) -> Term:
        """Return text as a value; it must be short, for it may be repeated."""
        return Term(text, type, self)

    def emit(self, type: str, text: str) -> Term:
        """Append a variable with the value of a text."""
        name = f"{self.prefix}{len(self.lines)}"
        self.lines.append(f"const {type} {name} = {text};")
        return Term(name, type, self)

    def constant(self, value: Any, type: str) -> Term:
        """Return a number of a NumPy type."""
        return self._rounded(element(type).computed, value, type)

    def _rounded(self, computed: str, value: Any, type: str) -> Term:
        if computed in FLOATS and np.dtype(type).itemsize < 4:
            value = float(np.asarray(value).astype(np.dtype(type)))
        return self.term(literal(value, computed), computed)

    def lifted(self, *values: Any) -> list[Term]:
        """Return terms of one type: Python numbers take that of the first term."""
        known = next((v.type for v in values if isinstance(v, Term)), "float")
        terms = [
            v if isinstance(v, Term) else self.term(literal(v, known), known)
            for v in values
        ]
        for term in terms:
            if term.type != known:
                raise TypeError(f"an operation mixes {known} and {term.type}")
        return terms

    def arithmetic(self, sign: str, x: Any, y: Any) -> Term:
        """Add, subtract or multiply; whole numbers wrap around."""
        a, b = self.lifted(x, y)
        if a.type in INTEGERS:
            wide = "rt_u64" if INTEGERS[a.type] == 64 else "rt_u32"
            text = f"{a.type}({wide}({a.text}) {sign} {wide}({b.text}))"
            return self.emit(a.type, text)
        return self.emit(a.type, f"{a.text} {sign} {b.text}")

    def divided(self, x: Any, y: Any) -> Term:
        """Divide; the quotient of whole numbers is rounded towards zero."""
        a, b = self.lifted(x, y)
        if a.type in INTEGERS:
            return self.emit(a.type, f"rt_quotient({a.text}, {b.text})")
        return self.emit(a.type, f"{a.text} / {b.text}")

    def compared(self, sign: str, x: Any, y: Any) -> Term:
        """Compare; false where either is NaN."""
        a, b = self.lifted(x, y)
        return self.emit("bool", f"{a.text} {sign} {b.text}")

    def equal(self, x: Any, y: Any) -> Term:
        """Whether two values are the same."""
        return self.compared("==", x, y)

    def bitwise(self, sign: str, x: Any, y: Any) -> Term:
        """Combine the bits of integers, or two conditions."""
        a, b = self.lifted(x, y)
        return self.emit(a.type, f"{a.type}({a.text} {sign} {b.text})")

    def bit_and(self, x: Any, y: Any) -> Term:
        """BitwiseAnd."""
        return self.bitwise("&", x, y)

    def bit_or(self, x: Any, y: Any) -> Term:
        """BitwiseOr."""
        return self.bitwise("|", x, y)

    def bit_xor(self, x: Any, y: Any) -> Term:
        """BitwiseXor."""
        return self.bitwise("^", x, y)

    def bit_not(self, x: Term) -> Term:
        """BitwiseNot, and Not of a condition."""
        sign = "!" if x.type == "bool" else "~"
        return self.emit(x.type, f"{x.type}({sign}{x.text})")

    def shift_left(self, x: Any, y: Any) -> Term:
        """BitShift to higher bits."""
        return self._call("rt_shift_left", x, y)

    def shift_right(self, x: Any, y: Any) -> Term:
        """BitShift to lower bits."""
        return self._call("rt_shift_right", x, y)

    def maximum(self, x: Any, y: Any) -> Term:
        """The greater of two, NaN where either is."""
        return self._call("rt_max", x, y)

    def minimum(self, x: Any, y: Any) -> Term:
        """The smaller of two, NaN where either is."""
        return self._call("rt_min", x, y)

    def mod(self, x: Any, y: Any) -> Term:
        """The remainder with the sign of the divisor."""
        return self._call("rt_mod", x, y)

    def fmod(self, x: Any, y: Any) -> Term:
        """The remainder with the sign of the dividend."""
        return self._call("rt_fmod", x, y)

    def pow(self, x: Any, y: Any) -> Term:
        """Pow; the types may differ, the result has the base's."""
        if isinstance(x, Term) and isinstance(y, Term):
            return self.emit(x.type, f"rt_pow({x.text}, {y.text})")
        return self._call("rt_pow", x, y)

    def where(self, condition: Any, x: Any, y: Any) -> Term:
        """Choose."""
        a, b = self.lifted(x, y)
        return self.emit(a.type, f"{self._truth(condition)} ? {a.text} : {b.text}")

    def is_nan(self, x: Term) -> Term:
        """IsNaN."""
        return self.emit("bool", f"{x.text} != {x.text}")

    def is_inf(self, x: Term, negative: Any = 1, positive: Any = 1) -> Term:
        """IsInf, of either sign or of one."""
        signs = f"{literal(negative, 'bool')}, {literal(positive, 'bool')}"
        return self.emit("bool", f"rt_is_inf({x.text}, {signs})")

    def convert(self, x: Term, type: str) -> Term:
        """Cast to a NumPy type; narrow floats are rounded, and go on in float."""
        target = element(type)
        if target.computed != target.memory and target.computed == "float":
            rounded = self.round_to(x, type) if x.type in FLOATS else x
            converted = self.cast(rounded, "float")
            return converted if x.type in FLOATS else self.round_to(converted, type)
        return self.cast(x, target.computed)

    def cast(self, x: Term, type: str) -> Term:
        """Return the value in another C type of registers."""
        return x if x.type == type else self.emit(type, f"rt_cast<{type}>({x.text})")

    def round_to(self, x: Term, type: str) -> Term:
        """Round to what a narrower float of NumPy's can hold."""
        memory = element(type).memory
        if x.type not in FLOATS or memory in (x.type, "double"):
            return x
        return self.emit(x.type, f"rt_round<{memory}, {x.type}>({x.text})")

    def _call(self, function: str, x: Any, y: Any) -> Term:
        a, b = self.lifted(x, y)
        return self.emit(a.type, f"{function}({a.text}, {b.text})")

    def _truth(self, condition: Any) -> str:
        if isinstance(condition, Term):
            return condition.text
        return literal(condition, "bool")

    def __getattr__(self, name: str) -> Any:
        if name not in _FUNCTIONS:
            raise AttributeError(f"the text of kernels has no function {name}")
        return lambda x: self.emit(x.type, f"rt_{name}({x.text})")


def literal(value: Any, type: str) -> str:
    """Return a number as text of a C type, every bit of it."""
    if type == "bool":
        return "true" if value else "false"
    if type in FLOATS:
        return _float_literal(float(value), type)
    value = int(value)
    if type == "rt_i64":
        return f"{value}ll" if value >= 0 else f"(-{-value - 1}ll - 1)"
    if type == "rt_u64":
        return f"{value}ull"
    if type in UNSIGNED:
        return f"{type}({value}u)"
    return f"{type}({value})" if value > -(2**31) else "(-2147483647 - 1)"


def _float_literal(value: float, type: str) -> str:
    if type == "float":
        with np.errstate(over="ignore"):
            single = np.float32(value)
        value, shortest = float(single), str(single)
    else:
        shortest = repr(value)
    if math.isnan(value):
        return f"{type}(RT_NAN)"
    if math.isinf(value):
        return f"{type}(RT_INF)" if value > 0 else f"(-{type}(RT_INF))"
    text = shortest + ("f" if type == "float" else "")
    return text if not shortest.startswith("-") else f"({text})"


def applied(
    expression: Expression,
    operands: Sequence[tuple[str, Any]],
    results: Sequence[Any],
    prefix: str = "v",
) -> tuple[list[str], list[str]]:
    """Return an expression's statements, and the texts of its results.

    ``operands`` are texts of widened values with the NumPy types they have in memory;
    ``results`` are the NumPy types to be written: the texts can be given to ``rt_put``.
    """
    m = Terms(prefix)
    terms = [m.term(text, element(dtype).computed) for text, dtype in operands]
    found = evaluate(expression, terms, m)
    texts = []
    for value, dtype in zip(found, results, strict=True):
        wanted = element(dtype)
        narrow = wanted.memory != wanted.computed and wanted.computed == "float"
        keeps = narrow and value.type in FLOATS
        texts.append(value.text if keeps else m.cast(value, wanted.computed).text)
    return m.lines, texts
