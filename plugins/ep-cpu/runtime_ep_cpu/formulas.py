"""Scalar formulas over a math namespace: activations and arithmetic that can be fused.

One text serves NumPy, a vector builder and CUDA source: a formula takes the namespace
``m``, then the operator's inputs, then its attributes as keywords, and says what one
element of the result is. `Math` is what it may use, besides ``+ - * /``, unary minus
and ``< <= > >=``, on values and Python numbers. Every formula holds for floats; whether
it holds for integers too is said by the kernels that use it.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any, Protocol

Number = Any
"""A value of the namespace: an array, a vector register, a piece of source."""

FLOAT32_MAX = 3.4028234663852886e38


class Math(Protocol):
    """What a namespace must offer; each works element by element.

    ``maximum`` and ``minimum`` return NaN where either argument is NaN. Comparisons
    with NaN are false, hence ``where(x < 0, …, x)`` returns a NaN ``x`` as it is.
    ``expm1`` and ``log1p`` keep full precision near zero. ``rint`` rounds halves to
    even. Overflow gives infinities, never an error. At least one argument is a value of
    the namespace; others may be Python numbers, which take its type.
    """

    def maximum(self, x: Number, y: Number) -> Number: ...
    def minimum(self, x: Number, y: Number) -> Number: ...
    def where(self, condition: Number, x: Number, y: Number) -> Number: ...
    def abs(self, x: Number) -> Number: ...
    def floor(self, x: Number) -> Number: ...
    def ceil(self, x: Number) -> Number: ...
    def rint(self, x: Number) -> Number: ...
    def sqrt(self, x: Number) -> Number: ...
    def exp(self, x: Number) -> Number: ...
    def expm1(self, x: Number) -> Number: ...
    def log(self, x: Number) -> Number: ...
    def log1p(self, x: Number) -> Number: ...
    def tanh(self, x: Number) -> Number: ...
    def erf(self, x: Number) -> Number: ...


def absolute(m: Math, x: Number) -> Number:
    """Abs."""
    return m.abs(x)


def negative(m: Math, x: Number) -> Number:
    """Neg."""
    return -x


def floor(m: Math, x: Number) -> Number:
    """Floor."""
    return m.floor(x)


def ceil(m: Math, x: Number) -> Number:
    """Ceil."""
    return m.ceil(x)


def rint(m: Math, x: Number) -> Number:
    """Round: halves to even."""
    return m.rint(x)


def reciprocal(m: Math, x: Number) -> Number:
    """Reciprocal."""
    return 1.0 / x


def sqrt(m: Math, x: Number) -> Number:
    """Sqrt."""
    return m.sqrt(x)


def exp(m: Math, x: Number) -> Number:
    """Exp."""
    return m.exp(x)


def log(m: Math, x: Number) -> Number:
    """Log."""
    return m.log(x)


def tanh(m: Math, x: Number) -> Number:
    """Tanh."""
    return m.tanh(x)


def erf(m: Math, x: Number) -> Number:
    """Erf."""
    return m.erf(x)


def add(m: Math, a: Number, b: Number) -> Number:
    """Add."""
    return a + b


def subtract(m: Math, a: Number, b: Number) -> Number:
    """Sub."""
    return a - b


def multiply(m: Math, a: Number, b: Number) -> Number:
    """Mul."""
    return a * b


def divide(m: Math, a: Number, b: Number) -> Number:
    """Div of floats."""
    return a / b


def maximum(m: Math, *values: Number) -> Number:
    """Max of any number of inputs."""
    return reduce(m.maximum, values)


def minimum(m: Math, *values: Number) -> Number:
    """Min of any number of inputs."""
    return reduce(m.minimum, values)


def total(m: Math, *values: Number) -> Number:
    """Sum of any number of inputs."""
    return reduce(lambda a, b: a + b, values)


def mean(m: Math, *values: Number) -> Number:
    """Mean of any number of inputs."""
    return total(m, *values) / len(values)


def where(m: Math, condition: Number, x: Number, y: Number) -> Number:
    """Where."""
    return m.where(condition, x, y)


def clip(
    m: Math, x: Number, low: Number | None = None, high: Number | None = None
) -> Number:
    """Clip with its bounds as inputs; where they cross, the upper one holds."""
    x = x if low is None else m.maximum(x, low)
    return x if high is None else m.minimum(x, high)


def clip_by_attributes(
    m: Math, x: Number, *, min: float = -FLOAT32_MAX, max: float = FLOAT32_MAX
) -> Number:
    """Clip of opset 6, its bounds as attributes."""
    return clip(m, x, min, max)


def relu(m: Math, x: Number) -> Number:
    """Relu."""
    return m.maximum(x, 0)


def leaky_relu(m: Math, x: Number, *, alpha: float = 0.009999999776482582) -> Number:
    """LeakyRelu; the sum of both halves, as vector units have no cheaper choice."""
    return m.maximum(x, 0) + alpha * m.minimum(x, 0)


def prelu(m: Math, x: Number, slope: Number) -> Number:
    """PRelu: a slope per element, already of a shape that fits ``x``."""
    return m.where(x < 0, slope * x, x)


def thresholded_relu(m: Math, x: Number, *, alpha: float = 1.0) -> Number:
    """ThresholdedRelu."""
    return m.where(x > alpha, x, 0)


def elu(m: Math, x: Number, *, alpha: float = 1.0) -> Number:
    """Elu, one half of it always zero."""
    return m.maximum(x, 0) + alpha * m.expm1(m.minimum(x, 0))


def celu(m: Math, x: Number, *, alpha: float = 1.0) -> Number:
    """Celu."""
    return m.maximum(x, 0) + m.minimum(alpha * m.expm1(x / alpha), 0)


def selu(
    m: Math,
    x: Number,
    *,
    alpha: float = 1.6732631921768188,
    gamma: float = 1.0507010221481323,
) -> Number:
    """Selu."""
    return gamma * elu(m, x, alpha=alpha)


def shrink(m: Math, x: Number, *, bias: float = 0.0, lambd: float = 0.5) -> Number:
    """Shrink: towards zero outside ±lambd, zero inside."""
    return m.where(x < -lambd, x + bias, m.where(x > lambd, x - bias, 0))


def hard_sigmoid(
    m: Math, x: Number, *, alpha: float = 0.20000000298023224, beta: float = 0.5
) -> Number:
    """HardSigmoid."""
    return m.minimum(m.maximum(alpha * x + beta, 0), 1)


def hard_swish(m: Math, x: Number) -> Number:
    """HardSwish: x times HardSigmoid of slope 1/6."""
    return x * hard_sigmoid(m, x, alpha=1 / 6, beta=0.5)


def sigmoid(m: Math, x: Number) -> Number:
    """Sigmoid; where ``exp`` overflows, far below zero, it is the zero it should be."""
    return 1.0 / (1.0 + m.exp(-x))


def swish(m: Math, x: Number, *, alpha: float = 1.0) -> Number:
    """Swish, for alpha 1 also called SiLU."""
    return x / (1.0 + m.exp(-alpha * x))


def swiglu(m: Math, a: Number, b: Number, *, alpha: float = 1.0) -> Number:
    """SwiGLU: a linear input gated by Swish of the other."""
    return swish(m, a, alpha=alpha) * b


def quick_gelu(m: Math, x: Number, *, alpha: float = 1.7020000219345093) -> Number:
    """QuickGelu of com.microsoft: Swish with a slope near Gelu's."""
    return swish(m, x, alpha=alpha)


def softplus(m: Math, x: Number) -> Number:
    """Softplus, arranged so that ``exp`` never overflows."""
    return m.maximum(x, 0) + m.log1p(m.exp(-m.abs(x)))


def softsign(m: Math, x: Number) -> Number:
    """Softsign."""
    return x / (1.0 + m.abs(x))


def mish(m: Math, x: Number) -> Number:
    """Mish: with e = exp(x), tanh(log(1 + e)) is e(e + 2) / (e(e + 2) + 2).

    Above 20 the quotient is 1 in float64 too, so ``exp`` needs to go no further.
    """
    e = m.exp(m.minimum(x, 20.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


def gelu(m: Math, x: Number, *, approximate: str = "none") -> Number:
    """Gelu, exact or by ``tanh``."""
    if approximate == "tanh":
        return gelu_by_tanh(m, x)
    if approximate != "none":
        raise ValueError(f"approximate must be none or tanh, found {approximate!r}")
    return 0.5 * x * (1.0 + m.erf(x * math.sqrt(0.5)))


def gelu_by_tanh(m: Math, x: Number) -> Number:
    """Gelu's approximation: (1 + tanh(u)) / 2 is the sigmoid of 2u."""
    doubled = x * (1.0 + 0.044715 * x * x) * (2 * math.sqrt(2 / math.pi))
    return x / (1.0 + m.exp(-doubled))
