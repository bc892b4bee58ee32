"""Activations: the scalar formulas as kernels, and the Softmax family."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from runtime.kernels import KernelTable
from runtime.valuetypes import code_of_name, numpy_dtype

from runtime_ep_cpu import formulas
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._formula_kernel import formula_kernel
from runtime_ep_cpu.ops._legacy import with_consumed_inputs
from runtime_ep_cpu.ops._precision import rounded, stepped, sums, wide

table = KernelTable()

BFLOAT16 = numpy_dtype(code_of_name("bfloat16"))

# operator: (first opset, formula)
ACTIVATIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "Celu": (12, formulas.celu),
    "Elu": (6, formulas.elu),
    "Gelu": (20, formulas.gelu),
    "HardSigmoid": (6, formulas.hard_sigmoid),
    "HardSwish": (14, formulas.hard_swish),
    "LeakyRelu": (6, formulas.leaky_relu),
    "Mish": (18, formulas.mish),
    "Relu": (6, formulas.relu),
    "Selu": (6, formulas.selu),
    "Shrink": (9, formulas.shrink),
    "Sigmoid": (6, formulas.sigmoid),
    "Softplus": (1, formulas.softplus),
    "Softsign": (1, formulas.softsign),
    "Swish": (24, formulas.swish),
    "ThresholdedRelu": (10, formulas.thresholded_relu),
}
WITH_CONSUMED_INPUTS = (
    "Elu",
    "HardSigmoid",
    "LeakyRelu",
    "Relu",
    "Sigmoid",
)

for _op, (_since, _formula) in ACTIVATIONS.items():
    _kernel = formula_kernel(_formula, in_blocks=_formula is not formulas.relu)
    table(_op, since=_since, formula=_formula)(_kernel)
    if _op in WITH_CONSUMED_INPUTS:
        table(_op, since=1)(with_consumed_inputs(_kernel))

_selu = formula_kernel(formulas.selu)
_prelu = formula_kernel(formulas.prelu)
_swiglu = formula_kernel(formulas.swiglu)


@table("Selu", since=1)
def selu_1(
    x: Any,
    /,
    *,
    alpha: float = 1.673200011253357,
    gamma: float = 1.0506999492645264,
    consumed_inputs: Any = None,
) -> Any:
    """Selu of opset 1, whose default constants were shorter."""
    return _selu(x, alpha=alpha, gamma=gamma)


@table("PRelu", since=7, formula=formulas.prelu)
def prelu(x: Any, slope: Any, /) -> Any:
    """PRelu; the slope is broadcast to the input's shape, never the input to its."""
    if np.broadcast_shapes(x.shape, slope.shape) != x.shape:
        raise ValueError(
            f"slope of shape {list(slope.shape)} does not fit "
            f"the input's shape {list(x.shape)}"
        )
    return _prelu(x, slope)


@table("PRelu", since=6)
def prelu_6(x: Any, slope: Any, /) -> Any:
    """PRelu before opset 7: one slope for all, or one per channel (axis 1)."""
    if slope.size == 1:
        return _prelu(x, slope.reshape(()))
    if slope.ndim == 1 and x.ndim > 1 and len(slope) == x.shape[1]:
        return _prelu(x, slope.reshape(-1, *(1,) * (x.ndim - 2)))
    return prelu(x, slope)


table("PRelu", since=1)(with_consumed_inputs(prelu_6))


@table("SwiGLU", since=28, formula=formulas.swiglu)
def swiglu(a: Any, b: Any, /, *, alpha: float = 1.0) -> Any:
    """SwiGLU; gate and linear input have one shape, nothing is broadcast."""
    if a.shape != b.shape:
        raise ValueError(
            f"inputs must have one shape, found {list(a.shape)} and {list(b.shape)}"
        )
    return _swiglu(a, b, alpha=alpha)


def _checked(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for an input of rank {rank}")
    return axis % rank


def softmax(x: Any, axis: int) -> Any:
    """Exponentials along an axis (not negative) over their sum."""
    if not x.size:
        return x
    xp = namespace_of(x)
    with np.errstate(all="ignore"):
        y = x - x.max(axis=axis, keepdims=True)
        xp.exp(y, out=y)
        y /= y.sum(axis=axis, keepdims=True)
    return y


def softmax_of_any_type(x: Any, axis: int) -> Any:
    """`softmax`; of bfloat16 with every step rounded, as its body in the standard.

    That is what Attention does, whose cases leave no room for fewer roundings.
    """
    if x.dtype != BFLOAT16 or not x.size:
        return rounded(softmax(wide(x), axis), x.dtype)
    xp = namespace_of(x)
    with np.errstate(all="ignore"):
        y = wide(x)
        y = stepped(y - y.max(axis=axis, keepdims=True), BFLOAT16)
        y = stepped(xp.exp(y), BFLOAT16)
        return rounded(y / sums(y, axis, BFLOAT16), BFLOAT16)


def log_softmax(x: Any, axis: int) -> Any:
    """The logarithm of `softmax`, without computing it."""
    if not x.size:
        return x
    xp = namespace_of(x)
    with np.errstate(all="ignore"):
        y = x - x.max(axis=axis, keepdims=True)
        y -= xp.log(xp.exp(y).sum(axis=axis, keepdims=True))
    return y


def hardmax(x: Any, axis: int) -> Any:
    """One where the first largest element along an axis stands, else zero."""
    if not x.size:
        return x
    xp = namespace_of(x)
    first = xp.expand_dims(x.argmax(axis=axis), axis)
    places = xp.arange(x.shape[axis]).reshape(-1, *(1,) * (x.ndim - 1 - axis))
    return (places == first).astype(x.dtype)


def _along_axis(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def run(x: Any, /, *, axis: int = -1) -> Any:
        return function(x, _checked(axis, x.ndim))

    run.__doc__ = f"{name} along one axis."
    return run


def _coerced(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def run(x: Any, /, *, axis: int = 1) -> Any:
        axis = _checked(axis, x.ndim)
        rows = math.prod(x.shape[:axis])
        columns = math.prod(x.shape[axis:])
        return function(x.reshape(rows, columns), 1).reshape(x.shape)

    run.__doc__ = (
        f"{name} before opset 13: over all axes from ``axis`` on, seen as one row each."
    )
    return run


for _op, _function in {
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "Hardmax": hardmax,
}.items():
    table(_op, since=1)(_coerced(_function, _op))
for _op, _function in {"LogSoftmax": log_softmax, "Hardmax": hardmax}.items():
    table(_op, since=13)(_along_axis(_function, _op))
table("Softmax", since=13, traits=("typed",))(
    _along_axis(softmax_of_any_type, "Softmax")
)
