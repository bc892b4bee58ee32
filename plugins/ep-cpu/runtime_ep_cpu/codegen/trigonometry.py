"""Circular and hyperbolic functions, their inverses, and powers, over vectors of float.

sin, cos and tan subtract the multiple of π/2 nearest to their argument in double, with
π/2 in three parts; far out the C library is called lane by lane. Hyperbolic functions
and powers are computed in double throughout, so that only the last rounding counts.
Arguments of double go to the C library.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from runtime_ep_cpu.codegen.builder import Val, kind, with_element
from runtime_ep_cpu.codegen.exponential import DOUBLE, Exponential

SIN: Final = (-0.00019517909095156938, 0.008332187309861183, -0.16666655242443085)
"""(sin(r) - r) / r³ over r², |r| ≤ π/4."""
COS: Final = (2.4432336431345902e-05, -0.0013887309469282627, 0.04166664555668831)
"""(cos(r) - 1 + r²/2) / r⁴ over r²."""
ATAN: Final = (
    -0.0017904058331623673,
    0.010899696499109268,
    -0.031148936599493027,
    0.05792722851037979,
    -0.08401581645011902,
    0.10951506346464157,
    -0.14264102280139923,
    0.1999853402376175,
    -0.33333298563957214,
)
"""(atan(z) - z) / z³ over z², z ≤ 1."""
ASIN: Final = (
    0.03770211711525917,
    0.014312174171209335,
    0.0318395234644413,
    0.04451335221529007,
    0.07500521838665009,
    0.16666659712791443,
)
"""(asin(z) - z) / z³ over z², z ≤ 1/2."""
HALF_PI: Final = (1.5707963705062866, -4.371139000186241e-08)
QUARTERS: Final = (
    1.57079632673412561417,
    6.07710050630396597660e-11,
    2.0222662487959506e-21,
)
"""π/2 in three parts, the first two of 33 bits."""
FAR: Final = 2.0**30
FAR_WITHOUT_FMA: Final = 2.0**20
"""Up to here products with the parts of `QUARTERS` are exact."""


class Trigonometry(Exponential):
    """sin, cos, tan and the rest. Errors in units of the last place: VectorMath."""

    def sin(self, x: Val) -> Val:
        """Return the sine; NaN of infinities."""
        return self._circular("sin", x, lambda d: self._quarter_wave(d, 0, x))

    def cos(self, x: Val) -> Val:
        """Return the cosine; NaN of infinities."""
        return self._circular("cos", x, lambda d: self._quarter_wave(d, 1, x))

    def tan(self, x: Val) -> Val:
        """Return the tangent; NaN of infinities."""
        return self._circular("tan", x, self._tangent)

    def _circular(self, name: str, x: Val, near: Callable[[Val], Val]) -> Val:
        f = self.function
        if kind(x.type).element != "float":
            return self.each_lane(name, x)

        def far() -> list[Val]:
            return [f.convert(self.each_lane(name, f.convert(x, "double")), "float")]

        distant = self.abs(x) > (FAR if self.target.fma else FAR_WITHOUT_FMA)
        if kind(x.type).lanes:
            distant = f.reduce("or", distant)
        return f.choose(distant, far, lambda: [near(x)])[0]

    def _turned(self, x: Val) -> tuple[Val, Val]:
        """Return how many quarter turns x is away from r, |r| ≤ π/4, and r in double."""
        f = self.function
        d = f.convert(x, "double")
        pattern = self.fma(d, 2 / math.pi, DOUBLE.shift)
        n = pattern - DOUBLE.shift
        for part in QUARTERS:
            d = self.fma(n, -part, d)
        bits = f.bitcast(pattern, with_element(x.type, "i64"))
        return f.convert(bits, "i32"), d

    def _waves(self, r: Val) -> tuple[Val, Val]:
        """Return sine and cosine of r, |r| ≤ π/4."""
        z = r * r
        sine = self.fma(self.polynomial(z, SIN) * z, r, r)
        cosine = self.fma(
            self.polynomial(z, COS), z * z, self.fma(z, -0.5, r * 0 + 1.0)
        )
        return sine, cosine

    def _quarter_wave(self, x: Val, ahead: int, original: Val) -> Val:
        f = self.function
        quarters, r = self._turned(x)
        sine, cosine = self._waves(f.convert(r, "float"))
        turn = quarters + ahead if ahead else quarters
        y = f.select((turn & 1).differs(0), cosine, sine)
        sign = (turn & 2) << 30
        y = f.bitcast(f.bitcast(y, sign.type) ^ sign, x.type)
        return y if ahead else self.where(self.equal(original, 0), original, y)

    def _tangent(self, x: Val) -> Val:
        f = self.function
        quarters, r = self._turned(x)
        sine, cosine = self._waves(r)
        odd = (quarters & 1).differs(0)
        y = f.select(odd, -cosine, sine) / f.select(odd, sine, cosine)
        y = f.convert(y, "float")
        return self.where(self.equal(x, 0), x, y)

    def atan(self, x: Val) -> Val:
        """Return the arc tangent."""
        if kind(x.type).element != "float":
            return self.each_lane("atan", x)
        size = self.abs(x)
        steep = size > 1
        z = self.where(steep, 1.0 / size, size)
        z2 = z * z
        y = self.fma(self.polynomial(z2, ATAN) * z2, z, z)
        return self.copysign(self.where(steep, (HALF_PI[0] - y) + HALF_PI[1], y), x)

    def _arc(self, size: Val) -> tuple[Val, Val]:
        """Return where size > 1/2, and asin of size, or there of sqrt((1 - size) / 2)."""
        steep = size > 0.5
        z2 = self.where(steep, self.fma(size, -0.5, size * 0 + 0.5), size * size)
        z = self.where(steep, self.sqrt(z2), size)
        return steep, self.fma(self.polynomial(z2, ASIN) * z2, z, z)

    def asin(self, x: Val) -> Val:
        """Return the arc sine; NaN beyond 1."""
        if kind(x.type).element != "float":
            return self.each_lane("asin", x)
        steep, y = self._arc(self.abs(x))
        turned = (HALF_PI[0] - (y + y)) + HALF_PI[1]
        return self.copysign(self.where(steep, turned, y), x)

    def acos(self, x: Val) -> Val:
        """Return the arc cosine; NaN beyond 1."""
        if kind(x.type).element != "float":
            return self.each_lane("acos", x)
        steep, y = self._arc(self.abs(x))
        twice = y + y
        back = (2 * HALF_PI[0] - twice) + 2 * HALF_PI[1]
        flat = HALF_PI[0] - (self.copysign(y, x) - HALF_PI[1])
        return self.where(steep, self.where(x < 0, back, twice), flat)

    def _hyperbolic(self, name: str, x: Val, formula: Callable[[Val], Val]) -> Val:
        if kind(x.type).element != "float":
            return self.each_lane(name, x)
        return self._by_double(formula, x)

    def sinh(self, x: Val) -> Val:
        """Return the hyperbolic sine."""

        def formula(d: Val) -> Val:
            e = self.expm1(self.minimum(self.abs(d), 100.0))
            return self.copysign((e + e / (e + 1.0)) * 0.5, d)

        return self._hyperbolic("sinh", x, formula)

    def cosh(self, x: Val) -> Val:
        """Return the hyperbolic cosine."""

        def formula(d: Val) -> Val:
            e = self.exp(self.minimum(self.abs(d), 100.0))
            return (e + 1.0 / e) * 0.5

        return self._hyperbolic("cosh", x, formula)

    def asinh(self, x: Val) -> Val:
        """Return the inverse of sinh."""

        def formula(d: Val) -> Val:
            size = self.abs(d)
            square = size * size
            root = self.sqrt(square + 1.0) + 1.0
            y = self.log1p(size + square / root)
            return self.copysign(self.where(size < math.inf, y, size), d)

        return self._hyperbolic("asinh", x, formula)

    def acosh(self, x: Val) -> Val:
        """Return the inverse of cosh; NaN below 1."""

        def formula(d: Val) -> Val:
            above = d - 1.0
            y = self.log1p(above + self.sqrt(above * (above + 2.0)))
            return self.where(d < 1, math.nan, y)

        return self._hyperbolic("acosh", x, formula)

    def atanh(self, x: Val) -> Val:
        """Return the inverse of tanh; NaN beyond 1."""

        def formula(d: Val) -> Val:
            size = self.abs(d)
            y = self.log1p((size + size) / (1.0 - size)) * 0.5
            return self.copysign(self.where(size > 1, math.nan, y), d)

        return self._hyperbolic("atanh", x, formula)

    def pow(self, x: Any, y: Any) -> Val:
        """Return x to the power of y, as C's ``pow``: 1 where y is 0 or x is 1.

        Exponents 1, 2, -1 and 0.5 known beforehand are products and roots.
        """
        known = y if not isinstance(y, Val) else self.numbers.get(y.name)
        if known is not None and isinstance(x, Val):
            if known == 1:
                return x
            if known == 2:
                return x * x
            if known == -1:
                return 1.0 / x
            if known == 0.5:
                root = self.sqrt(x) + self.constant(0.0, x.type)
                return self.where(self.equal(x, -math.inf), math.inf, root)
        x, y = self._both(x, y)
        if kind(x.type).element == "double":
            return self.each_lane("pow", x, y)
        return self._power(x, y)

    def _power(self, x: Val, y: Val) -> Val:
        f = self.function
        size = self.abs(x)

        def formula(base: Val, exponent: Val) -> Val:
            return self.exp(exponent * self.log(base))

        power = self._by_double(formula, size, y)
        half = y * 0.5
        whole = self.equal(self.trunc(y), y)
        odd = whole & self.trunc(half).differs(half)
        power = self.where(odd, self._with_sign(power, x), power)
        broken = (x < 0) & ~whole & (size < math.inf)
        power = self.where(broken, math.nan, power)
        one = self.equal(y, 0) | self.equal(x, 1)
        one = one | (self.equal(x, -1) & self.equal(self.abs(y), math.inf))
        return f.select(one, f.value(1.0, x.type), power)

    def _with_sign(self, size: Val, sign: Val) -> Val:
        return self.copysign(size, sign)
