"""Exponential functions and their inverses over vectors of float and double.

Every function is one series without branches. exp and all that is made of it write
x = n ln 2 + r with |r| ≤ ln 2 / 2, found by adding a number so large that what remains
of the sum is the integer n; then exp(x) = 2ⁿ (1 + r + r² q(r)). Coefficients are least
maximum errors in the function's own relative error (Lawson's iteration), rounded to
float one after the other; of double they are the series'.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from runtime_ep_cpu.codegen.arithmetic import Arithmetic
from runtime_ep_cpu.codegen.builder import Val, kind, vector, with_element


class Format(NamedTuple):
    """What series need to know of an element type.

    ``shift`` is the large number added to round; ``ln2`` that logarithm in two parts,
    the first with so few bits that its products with n are exact; ``lowest`` and
    ``highest`` bound the arguments of exp; ``base`` is the pattern of 3/4.
    """

    integer: str
    mantissa: int
    bias: int
    shift: float
    ln2: tuple[float, float]
    lowest: float
    highest: float
    base: int
    least: float
    exp: tuple[float, ...]
    log: tuple[float, ...]


FLOAT: Final = Format(
    "i32",
    23,
    127,
    1.5 * 2**23,
    (0.693145751953125, 1.428606765330187e-06),
    -104.0,
    89.0,
    0x3F400000,
    2.0**-126,
    (
        0.0013942214427515864,
        0.008368848823010921,
        0.041666384786367416,
        0.1666651964187622,
        0.5,
    ),
    (
        -0.0451212041079998,
        0.10469737648963928,
        -0.1316399723291397,
        0.14478252828121185,
        -0.16646987199783325,
        0.19990821182727814,
        -0.25000104308128357,
        0.3333345055580139,
        -0.5,
    ),
)
DOUBLE: Final = Format(
    "i64",
    52,
    1023,
    1.5 * 2**52,
    (0.693147180369123816490, 1.90821492927058770002e-10),
    -746.0,
    710.0,
    0x3FE8 << 48,
    2.0**-1022,
    tuple(1 / math.factorial(k) for k in range(14, 1, -1)),
    tuple(2 / (2 * k + 1) for k in range(11, 0, -1)),
)
"""Its ``log`` is a series in s², where s = m / (2 + m)."""

LN2: Final = math.log(2)
LOG2E: Final = 1 / LN2

ERF: Final = (
    -9.264219443139154e-06,
    0.00011771397112170234,
    -0.0006331020849756896,
    0.001667523174546659,
    -0.00016090209828689694,
    -0.01915278658270836,
    0.10277775675058365,
    0.6366193890571594,
    -5.4119276171604724e-08,
)
"""-log(1 - erf(t)) / t less `ERF_SLOPE`, on [0, 4]."""
ERF_SLOPE: Final = 1.128379225730896
"""2 / sqrt(π) as a float."""


POWER_OF_TWO: Final = (
    0.00021612939599435776,
    0.0012467839987948537,
    0.00967545248568058,
    0.055485282093286514,
    0.2402293086051941,
    0.6931470632553101,
    1.0,
)
"""2 to the power of f on [0, 1], of least maximum relative error (2e-9), exact at 0."""


class Exponential(Arithmetic):
    """exp, log and what is made of them. Errors in units of the last place: VectorMath."""

    def _format(self, x: Val) -> Format:
        return FLOAT if kind(x.type).element == "float" else DOUBLE

    def polynomial(self, x: Val, coefficients: Sequence[float]) -> Val:
        """Return a polynomial by Horner's rule, the highest degree first."""
        f = self.function
        if len(coefficients) == 1:
            return f.value(coefficients[0], x.type)
        total = self.fma(x, coefficients[0], coefficients[1])
        for c in coefficients[2:]:
            total = self.fma(total, x, c)
        return total

    def _reduced(self, x: Val) -> tuple[Val, Val, Val]:
        """Return n as float, n in the low bits of a pattern, and exp(r) - 1."""
        p = self._format(x)
        pattern = self.fma(x, LOG2E, p.shift)
        n = pattern - p.shift
        r = self.fma(n, -p.ln2[0], x)
        r = self.fma(n, -p.ln2[1], r)
        q = self.polynomial(r, p.exp)
        bits = self.function.bitcast(pattern, with_element(x.type, p.integer))
        return n, bits, self.fma(q, r * r, r)

    def _two_to(self, bits: Val, x: Val) -> Val:
        """Return 2ⁿ for an integer in the low bits, within the normal range."""
        p = self._format(x)
        return self.function.bitcast(
            (bits << p.mantissa) + (p.bias << p.mantissa), x.type
        )

    def _scaled(self, x: Val, n: Val, bits: Val, kept: Val | None = None) -> Val:
        """Return ``x * 2ⁿ``, rounded once also where it is denormal; 0 if not kept."""
        lanes = kind(x.type).lanes
        if self._scales(x):
            short = "ps" if kind(x.type).element == "float" else "pd"
            name = f"llvm.x86.avx512.mask.scalef.{short}.512"
            f, mask = self.function, f"i{lanes}"
            lanes_kept = f.value(-1, mask) if kept is None else f.bitcast(kept, mask)
            zero, round = f.value(0.0, x.type), f.value(4, "i32")
            return f.call(name, x.type, x, n, zero, lanes_kept, round)
        unused = kind(x.type).bits - 12  # the pattern's own bits above n
        n_bits = (bits << unused) >> unused
        half = n_bits >> 1
        y = x * self._two_to(half, x) * self._two_to(n_bits - half, x)
        return y if kept is None else self.where(kept, y, 0.0)

    def _scales(self, x: Val) -> bool:
        """Whether there is an instruction for ``x * 2ⁿ``."""
        return self.target.name == "avx512" and x.type in (
            "<16 x float>",
            "<8 x double>",
        )

    def _in_halves(self, operation: Any, *values: Val) -> Val:
        """Apply an operation to the lower and the upper lanes of wide vectors."""
        f = self.function
        lanes = kind(values[0].type).lanes
        parts = [range(lanes // 2), range(lanes // 2, lanes)]
        low, high = (
            operation(*(f.shuffle(v, v, list(part)) for v in values)) for part in parts
        )
        return f.shuffle(low, high, list(range(lanes)))

    def exp(self, x: Val) -> Val:
        """Return eˣ.

        Where the result is zero nothing underflows on the way, which processors take
        hundreds of cycles for.
        """
        if self.target.name == "avx512" and _bits(x) > 512:
            return self._in_halves(self.exp, x)
        kept = x.compare("uge", self._format(x).lowest)
        x = self.minimum(x, self._format(x).highest)
        if not self._scales(x):
            x = self.where(kept, x, 0.0)
        n, bits, less_one = self._reduced(x)
        return self._scaled(less_one + 1.0, n, bits, kept)

    def weight(self, x: Val) -> Val:
        """Return eˣ for floats at most 0, or NaN: a weight relative to the largest.

        Weights below 2⁻¹²⁶ are zero, so that nothing is denormal. The relative error is
        1e-7, and on AVX-512 2⁻²⁴ |x| more, as much as the difference x itself has: the
        fraction of x log₂ e is one instruction there, and scaling by its floor another.
        """
        kept = x.compare("uge", -87.33654)
        if not self._scales(x):
            return self.where(kept, self.exp(self.where(kept, x, 0.0)), 0.0)
        f = self.function
        power = x * LOG2E
        lanes, zero = f.value(-1, "i16"), f.value(0.0, x.type)
        arguments = [power, f.value(9, "i32"), zero, lanes, f.value(4, "i32")]
        name = "llvm.x86.avx512.mask.reduce.ps.512"
        fraction = f.call(name, x.type, *arguments)
        name = "llvm.x86.avx512.mask.scalef.ps.512"
        lanes = f.bitcast(kept, "i16")
        y = self.polynomial(fraction, POWER_OF_TWO)
        return f.call(name, x.type, y, power, zero, lanes, f.value(4, "i32"))

    def expm1(self, x: Val) -> Val:
        """Return eˣ - 1, exact near zero."""
        p = self._format(x)
        low = -0.7 * (p.mantissa + 3)
        bounded = self.maximum(self.minimum(x, p.highest), low)
        _, bits, less_one = self._reduced(bounded)
        half = self._two_to(bits - 1, x)
        return self._signed(self.fma(less_one, half, half - 0.5) * 2.0, x)

    def _signed(self, y: Val, x: Val) -> Val:
        """Give a result that has the argument's sign that sign also where it is zero."""
        return self.copysign(y, x)

    def tanh(self, x: Val) -> Val:
        """Return the hyperbolic tangent, by expm1(2 |x|)."""
        size = self.minimum(self.abs(x), 0.4 * (self._format(x).mantissa + 3))
        _, bits, less_one = self._reduced(size + size)
        power = self._two_to(bits, x)
        e = self.fma(less_one, power, power - 1.0)
        return self.copysign(e / (e + 2.0), x)

    def erf(self, x: Val) -> Val:
        """Return the error function: 1 - exp(-t R(t)), t = |x|, R a polynomial."""
        if kind(x.type).element != "float":
            return self.each_lane("erf", x)
        size = self.minimum(self.abs(x), 4.0)
        curved = size * self.polynomial(size, ERF)
        _, bits, less_one = self._reduced(-self.fma(size, ERF_SLOPE, curved))
        power = self._two_to(bits, x)
        return self.copysign(self.fma(-less_one, power, 1.0 - power), x)

    def _mantissa(self, x: Val) -> tuple[Val, Val]:
        """Return k and m with x = 2ᵏ (1 + m), -1/4 ≤ m < 1/2, of normal numbers."""
        p, f = self._format(x), self.function
        ints = with_element(x.type, p.integer)
        bits = f.bitcast(x, ints)
        k = (bits - p.base) >> p.mantissa
        return k, f.bitcast(bits - (k << p.mantissa), x.type) - 1.0

    def _log_of_one_and(self, m: Val) -> Val:
        """Return log(1 + m) for -1/4 ≤ m < 1/2."""
        if kind(m.type).element == "float":
            return self.fma(self.polynomial(m, FLOAT.log), m * m, m)
        s = m / (m + 2.0)
        z = s * s
        tail = self.polynomial(z, DOUBLE.log) * z  # log(1+m) = 2s + s tail
        half = m * m * 0.5
        return m - (half - s * (half + tail))

    def log(self, x: Val) -> Val:
        """Return the natural logarithm."""
        f = self.function
        if self.target.name == "avx512" and x.type == "<16 x float>":
            return self._log_avx512(x)
        p = self._format(x)
        small = x < p.least
        lift = float(1 << (p.mantissa + 1))
        k, m = self._mantissa(f.select(small, x * lift, x))
        k = k - f.select(small, f.value(p.mantissa + 1, k.type), f.value(0, k.type))
        k = f.convert(k, kind(x.type).element)
        return self._log_ends(self._log_joined(k, m), x)

    def _log_joined(self, k: Val, m: Val) -> Val:
        if kind(m.type).element == "float":
            return self.fma(k, LN2, self._log_of_one_and(m))
        high, low = DOUBLE.ln2
        return self.fma(k, high, self.fma(k, low, self._log_of_one_and(m)))

    def _log_ends(self, y: Val, x: Val) -> Val:
        """Put in what a logarithm is at zero, below it, at infinity and of NaN."""
        y = self.where(x < math.inf, y, x)
        y = self.where(self.equal(x, 0), -math.inf, y)
        return self.where(x < 0, math.nan, y)

    def _log_avx512(self, x: Val) -> Val:
        """Return the logarithm by instructions that know denormals and infinities."""
        k, m = self._exponent(x), self._mantissa_avx512(x)
        k = k - self._exponent(m)
        return self.fma(k, LN2, self._log_of_one_and(m - 1.0))

    def _exponent(self, x: Val) -> Val:
        f = self.function
        rest = [f.value(0.0, x.type), f.value(-1, "i16"), f.value(4, "i32")]
        return f.call("llvm.x86.avx512.mask.getexp.ps.512", x.type, x, *rest)

    def _mantissa_avx512(self, x: Val) -> Val:
        """Return the mantissa in [3/4, 3/2); NaN below zero."""
        f = self.function
        rest = [f.value(0.0, x.type), f.value(-1, "i16"), f.value(4, "i32")]
        name = "llvm.x86.avx512.mask.getmant.ps.512"
        return f.call(name, x.type, x, f.value(0b1011, "i32"), *rest)

    def log1p(self, x: Val) -> Val:
        """Return log(1 + x), exact near zero."""
        f, p = self.function, self._format(x)
        k, _ = self._mantissa(x + 1.0)
        four = f.bitcast(
            f.value((p.bias + 2) << p.mantissa, k.type) - (k << p.mantissa), x.type
        )
        power = four * 0.25
        m = self.fma(x, power, power - 1.0)
        y = self._log_joined(f.convert(k, kind(x.type).element), m)
        y = self.where(x < math.inf, self._signed(y, x), x)
        y = self.where(self.equal(x, -1), -math.inf, y)
        return self.where(x < -1, math.nan, y)

    def exp2(self, x: Val) -> Val:
        """Return 2ˣ."""
        f, p = self.function, self._format(x)
        if self.target.name == "avx512" and _bits(x) > 512:
            return self._in_halves(self.exp2, x)
        x = self.maximum(self.minimum(x, p.highest * LOG2E), p.lowest * LOG2E)
        pattern = x + p.shift
        n = pattern - p.shift
        r = (x - n) * LN2
        one = self.fma(self.polynomial(r, p.exp), r * r, r) + 1.0
        bits = f.bitcast(pattern, with_element(x.type, p.integer))
        return self._scaled(one, n, bits)

    def log2(self, x: Val) -> Val:
        """Return the logarithm to base 2."""
        return self._by_double(lambda d: self.log(d) * LOG2E, x)

    def log10(self, x: Val) -> Val:
        """Return the logarithm to base 10."""
        return self._by_double(lambda d: self.log(d) * (LOG2E * math.log10(2)), x)

    def _by_double(self, formula: Any, *values: Val) -> Val:
        """Compute in double and return the type of the first value."""
        f = self.function
        element = kind(values[0].type).element
        return f.convert(formula(*(f.convert(v, "double") for v in values)), element)

    def each_lane(self, name: str, *values: Val) -> Val:
        """Call the C library's function of doubles for each lane: slow and right."""
        f = self.function
        lanes = kind(values[0].type).lanes
        if not lanes:
            return f.call(name, "double", *values)
        found = Val(f, vector("double", lanes), "poison")
        for lane in range(lanes):
            one = f.call(name, "double", *(f.extract(v, lane) for v in values))
            found = f.emit(f"insertelement {found!r}, {one!r}, i64 {lane}", found.type)
        return found


def _bits(x: Val) -> int:
    """Return the size of a vector."""
    return kind(x.type).lanes * kind(x.type).bits
