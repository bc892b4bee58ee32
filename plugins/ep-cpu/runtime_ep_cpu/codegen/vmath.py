"""The mathematics of generated code: `formulas.Math` over registers, and more."""

from __future__ import annotations

from typing import Final

from runtime_ep_cpu.codegen.trigonometry import Trigonometry

FUNCTIONS: Final = (
    "trunc", "sign", "exp2", "log2", "log10", "sin", "cos", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "pow",
)  # fmt: skip
"""Names of functions that `formulas` does not use."""


class VectorMath(Trigonometry):
    """Mathematical functions over values of a builder: vectors of any lanes, scalars.

    ``VectorMath(function, target, lanes=None)`` writes into a function; constants made
    by `constant` have ``lanes``. half and bfloat are to be widened first, by `convert`.
    Infinities, NaN, signed zeros and denormals are as IEEE and C say, except that the
    extremes of zeros of both signs are either.

    Largest errors in units of the last place of float32, measured on targets with FMA
    (without it, where another, in parentheses):

    ========================= =========== ======================= ===========
    exp, exp2                 1.01        sin, cos                1.55
    expm1                     1.44 (1.59) tan                     0.56
    log, log1p                0.91 (1.07) asin                    1.80
    tanh                      2.40        acos                    1.23
    erf                       1.63 (2.23) atan                    1.35 (1.48)
    log2, log10, sinh, cosh,  0.5         asinh, acosh, atanh,    0.5
    sqrt                                  pow
    ========================= =========== ======================= ===========

    Of doubles, exp, expm1, exp2, log, log1p and tanh are series as well, within 4 units;
    the other functions call the C library lane by lane, and so do sin, cos and tan of
    floats beyond 2**30 (2**20 without FMA). Instructions of AVX-512 per register: exp
    14, log 16, tanh 20, erf 27, weight 10.
    """
