"""Arithmetic over vectors that is no series: constants, choice, rounding, conversion."""

from __future__ import annotations

from typing import Any

from runtime_ep_cpu.codegen.builder import Function, Val, kind, vector, with_element
from runtime_ep_cpu.codegen.narrow import narrow, widen
from runtime_ep_cpu.codegen.order import after
from runtime_ep_cpu.codegen.target import Target


class Arithmetic:
    """What `formulas.Math` asks for besides functions, for floats and integers.

    ``lanes`` is the width of constants, by default the target's; 0 means scalars.
    Values of any lanes may be given; a Python number takes the type of the other value.
    """

    def __init__(
        self, function: Function, target: Target, lanes: int | None = None
    ) -> None:
        self.function = function
        self.target = target
        self.lanes = target.lanes if lanes is None else lanes
        self.numbers: dict[str, float] = {}
        """Constants made by `constant`, by their text."""

    # constants and choice

    def constant(self, value: float | int | bool, type: str) -> Val:
        """Return a number; an element type stands for a vector of ``lanes``."""
        whole = type if type.startswith("<") else vector(type, self.lanes)
        found = self.function.value(value, whole)
        self.numbers[found.name] = float(value)
        return found

    def where(self, condition: Val, x: Any, y: Any) -> Val:
        """Return ``x`` where the condition is set and ``y`` elsewhere."""
        known = next((v.type for v in (x, y) if isinstance(v, Val)), None)
        type = known or with_element(condition.type, "float")
        f = self.function
        return f.select(condition, f.value(x, type), f.value(y, type))

    def equal(self, x: Any, y: Any) -> Val:
        """Return i1 per lane; NaN equals nothing."""
        left, right = self._both(x, y)
        return left.equals(right)

    def maximum(self, x: Any, y: Any) -> Val:
        """Return the larger; NaN where either is NaN."""
        return self._extreme(x, y, "ogt", "smax")

    def minimum(self, x: Any, y: Any) -> Val:
        """Return the smaller; NaN where either is NaN."""
        return self._extreme(x, y, "olt", "smin")

    def _extreme(self, x: Any, y: Any, predicate: str, of_ints: str) -> Val:
        f = self.function
        x, y = self._both(x, y)
        element = kind(x.type).element
        if element == "i1":
            joined: Val = x | y if of_ints == "smax" else x & y
            return joined
        if not kind(x.type).is_float:
            return f.intrinsic(f"llvm.{of_ints}", x, y)
        if not x.name.startswith("%"):
            return f.select(x.compare(predicate, y), x, y)
        if not y.name.startswith("%"):
            return f.select(y.compare(predicate, x), y, x)
        found = f.select(x.compare(predicate, y), x, y)
        return f.select(x.compare("uno", x), x, found)

    def _both(self, x: Any, y: Any) -> tuple[Val, Val]:
        type = (x if isinstance(x, Val) else y).type
        return self.function.value(x, type), self.function.value(y, type)

    def after(self, x: Val, *earlier: Val) -> Val:
        """Return ``x``, so that what uses it is written behind others: see `order`."""
        return after(self.function, self.target, x, *earlier)

    # one operand

    def abs(self, x: Val) -> Val:
        """Return the size; of the smallest integer, itself."""
        f = self.function
        if kind(x.type).is_float:
            return f.intrinsic("llvm.fabs", x)
        if kind(x.type).element == "i1":
            return x
        return f.select(x < 0, -x, x)

    def floor(self, x: Val) -> Val:
        """Return the integer at or below; integers stay."""
        return self._rounded("floor", x)

    def ceil(self, x: Val) -> Val:
        """Return the integer at or above; integers stay."""
        return self._rounded("ceil", x)

    def rint(self, x: Val) -> Val:
        """Return the nearest integer, halves to even; integers stay."""
        return self._rounded("rint", x)

    def trunc(self, x: Val) -> Val:
        """Return the integer towards zero; integers stay."""
        return self._rounded("trunc", x)

    def _rounded(self, way: str, x: Val) -> Val:
        if not kind(x.type).is_float:
            return x
        if self.target.name == "generic" and self.target.is_x86:
            return self._rounded_by_adding(way, x)
        return self.function.intrinsic(f"llvm.{way}", x)

    def _rounded_by_adding(self, way: str, x: Val) -> Val:
        """Round without an instruction for it, which SSE2 lacks."""
        f = self.function
        big = 2.0 ** (23 if kind(x.type).element == "float" else 52)
        size = self.abs(x)
        near = (size + big) - big
        if way != "rint":
            low = f.select(near > size, near - 1.0, near)
            near = low if way == "trunc" else near
        near = self.copysign(f.select(size < big, near, size), x)
        near = f.select(x.compare("uno", x), x, near)
        if way == "floor":
            near = f.select(near > x, near - 1.0, near)
        elif way == "ceil":
            near = f.select(near < x, near + 1.0, near)
        return self.copysign(near, x) if way != "floor" else near

    def sqrt(self, x: Val) -> Val:
        """Return the root, correctly rounded; NaN below zero."""
        return self.function.intrinsic("llvm.sqrt", x)

    def sign(self, x: Val) -> Val:
        """Return -1, 0 or 1; NaN of NaN."""
        f = self.function
        rest = x + 0.0 if kind(x.type).is_float else x  # both zeros give the positive
        below = self.where(x < 0, f.value(-1, x.type), rest)
        return self.where(x > 0, f.value(1, x.type), below)

    def copysign(self, size: Val, sign: Val) -> Val:
        """Return a size that is not negative with the sign of another number."""
        f = self.function
        ints = with_element(size.type, f"i{kind(size.type).bits}")
        only = f.bitcast(sign, ints) & (-(1 << (kind(size.type).bits - 1)))
        return f.bitcast(f.bitcast(size, ints) | only, size.type)

    def fma(self, a: Val, b: Any, c: Any) -> Val:
        """Return ``a * b + c``, rounded once where the target can."""
        f = self.function
        b, c = f.value(b, a.type), f.value(c, a.type)
        return f.fma(a, b, c) if self.target.fma else a * b + c

    def convert(self, x: Val, element: str) -> Val:
        """Return another element type: floats are cut to integers, non-zeros are true.

        What an integer type cannot hold gives an unspecified integer. half and bfloat
        are rounded to nearest even and keep denormals.
        """
        f = self.function
        here = kind(x.type).element
        if here == element:
            return x
        if element == "i1":
            return widen(f, self.target, x).differs(0)
        if here in ("half", "bfloat"):
            return self.convert(widen(f, self.target, x), element)
        if element in ("half", "bfloat"):
            return narrow(f, self.target, f.convert(x, "float"), element)
        return f.convert(x, element)
