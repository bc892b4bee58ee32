"""Computes the libraries' operations with NumPy, for a device that is the host.

Everything is accumulated in float64 and rounded once, to the result's element type:
what an exact library would return. Where tensor cores may round the inputs (``tf32``),
nothing is rounded here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from runtime_ep_cpu import formulas
from runtime_ep_cpu.ops._array_math import math_of
from runtime_ep_cpu.ops._convolution import convolve, convolve_transposed
from runtime_ep_cpu.ops._windows import Windows
from runtime_ep_cuda.operations import (
    Attention,
    Convolution,
    Operation,
    Product,
)

Array = np.ndarray[Any, Any]

MATH = math_of(np)


def evaluate(operation: Operation, arrays: Sequence[Array]) -> Array:
    """Return the result of an operation on arrays in the order of `operations.Call`.

    Arrays of bfloat16 are of ``ml_dtypes.bfloat16``; strides are whatever they are.
    """
    exact = [np.asarray(array, np.float64) for array in arrays]
    with np.errstate(all="ignore"):
        if isinstance(operation, Convolution):
            result = with_epilogue(convolution(operation, *exact[:2]), operation, exact)
        elif isinstance(operation, Product):
            product = np.matmul(exact[0], exact[1]) * operation.alpha
            result = with_epilogue(product, operation, exact)
        else:
            result = attention(operation, *exact)
        return rounded(result, operation.y.dtype)


def convolution(operation: Convolution, x: Array, w: Array) -> Array:
    """Return the convolution without its epilogue, as sums of products."""
    spatial = operation.x.shape if operation.transposed else operation.y.shape
    windows = Windows(
        operation.w.shape[2:],
        operation.strides,
        operation.dilations,
        operation.pads_begin,
        operation.pads_end,
        spatial[2:],
    )
    if not operation.transposed:
        return np.asarray(convolve(x, w, windows, operation.groups))
    y = np.zeros(operation.y.shape)
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    convolve_transposed(x, w, windows, operation.groups, y)
    return y


def attention(
    operation: Attention, q: Array, k: Array, v: Array, bias: Array | None = None
) -> Array:
    """Return softmax(q kᵀ · scale + bias) v, heads of k and v repeated for q's."""
    k, v = (np.repeat(each, q.shape[1] // each.shape[1], axis=1) for each in (k, v))
    scores = q @ k.swapaxes(-1, -2) * operation.scale
    if bias is not None:
        scores = scores + bias
    if operation.causal:
        length, keys = scores.shape[-2:]
        first = keys - length if operation.causal == "bottom_right" else 0
        hidden = np.arange(keys) > np.arange(length)[:, None] + first
        scores[..., hidden] = -np.inf
    scores -= scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores)
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.asarray(weights @ v)


def with_epilogue(
    y: Array, operation: Convolution | Product, arrays: Sequence[Array]
) -> Array:
    """Apply the steps of an epilogue; the operands come behind the two inputs."""
    for step in operation.epilogue:
        second = step.scalar if step.operand < 0 else arrays[2 + step.operand]
        y = MODES[step.mode](y, second)
    return y


def activation(name: str, **attributes: Any) -> Callable[[Array, Any], Array]:
    """Return a formula as a step that has no second argument."""
    formula = getattr(formulas, name)
    return lambda y, _: formula(MATH, y, **attributes)


def with_alpha(name: str) -> Callable[[Array, Any], Array]:
    """Return a formula as a step whose second argument is its ``alpha``."""
    formula = getattr(formulas, name)
    return lambda y, alpha: formula(MATH, y, alpha=alpha)


MODES: dict[str, Callable[[Array, Any], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "relu": activation("relu"),
    "sigmoid": activation("sigmoid"),
    "tanh": activation("tanh"),
    "softplus": activation("softplus"),
    "mish": activation("mish"),
    "hard_swish": activation("hard_swish"),
    "gelu": activation("gelu"),
    "gelu_tanh": activation("gelu", approximate="tanh"),
    "swish": with_alpha("swish"),
    "elu": with_alpha("elu"),
    "leaky_relu": with_alpha("leaky_relu"),
}
"""Every mode of `Pointwise` over the running result and the step's second argument."""


def rounded(y: Array, dtype: str) -> Array:
    """Round to an element type: integers to even and saturated, as libraries do."""
    if dtype == "bfloat16":
        return y.astype(ml_dtypes.bfloat16)
    target = np.dtype(dtype)
    if target.kind in "iu":
        limits = np.iinfo(target)
        y = np.clip(np.rint(y), limits.min, limits.max)
    return y.astype(target)
