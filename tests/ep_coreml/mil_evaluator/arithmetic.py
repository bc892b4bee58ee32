"""MIL's arithmetic in NumPy: element-wise operations, reductions, products, quantities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mil_evaluator.registry import OPERATIONS, ints, operation

Array = Any

_erf = np.vectorize(math.erf, otypes=[np.float64])


def erf(x: Array) -> Array:
    """The error function in double precision, rounded to the argument's type."""
    return _erf(x).astype(x.dtype) if np.size(x) else x


def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ) without overflow."""
    return np.where(
        x >= 0, 1 / (1 + np.exp(-abs(x))), np.exp(-abs(x)) / (1 + np.exp(-abs(x)))
    )


def softplus(x: Array) -> Array:
    """log(1 + eˣ) without overflow."""
    return np.log1p(np.exp(-abs(x))) + np.maximum(x, 0)


UNARY = {
    "abs": np.abs, "acos": np.arccos, "asin": np.arcsin, "atan": np.arctan,
    "atanh": np.arctanh, "ceil": np.ceil, "cos": np.cos, "cosh": np.cosh, "exp": np.exp,
    "floor": np.floor, "round": np.rint, "sign": np.sign, "sin": np.sin, "sinh": np.sinh,
    "sqrt": np.sqrt, "square": np.square, "tan": np.tan, "tanh": np.tanh, "erf": erf,
    "sigmoid": sigmoid, "softplus": softplus, "logical_not": np.logical_not,
    "softsign": lambda x: x / (1 + abs(x)), "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6), "silu": lambda x: x * sigmoid(x),
    "identity": lambda x: x, "shape": lambda x: np.array(x.shape, np.int32),
}  # fmt: skip
BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "real_div": np.divide,
    "floor_div": np.floor_divide, "mod": np.mod,
    "maximum": lambda x, y: np.where(x > y, x, y),
    "minimum": lambda x, y: np.where(x > y, y, x), "equal": np.equal, "not_equal": np.not_equal,
    "greater": np.greater, "greater_equal": np.greater_equal, "less": np.less,
    "less_equal": np.less_equal, "logical_and": np.logical_and,
    "logical_or": np.logical_or, "logical_xor": np.logical_xor, "pow": np.power,
}  # fmt: skip


def _of_one(function):
    return lambda x: function(x)


def _of_two(function):
    return lambda x, y: function(x, y)


OPERATIONS.update({name: _of_one(function) for name, function in UNARY.items()})
OPERATIONS.update({name: _of_two(function) for name, function in BINARY.items()})


@operation("log")
def log(x, epsilon=1e-45):
    return np.log(x + epsilon)


@operation("rsqrt")
def rsqrt(x, epsilon=1e-12):
    return 1 / np.sqrt(x + epsilon)


@operation("inverse")
def inverse(x, epsilon=1e-4):
    return 1 / (x + epsilon)


@operation("cast")
def cast(x, dtype):
    kinds = {"fp32": np.float32, "fp16": np.float16, "bool": np.bool_}
    return np.asarray(x).astype(kinds.get(str(dtype)) or str(dtype))


@operation("clip")
def clip(x, alpha, beta):
    return np.clip(x, alpha, beta)


@operation("elu")
def elu(x, alpha):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@operation("leaky_relu")
def leaky_relu(x, alpha):
    return np.where(x >= 0, x, alpha * x)


@operation("prelu")
def prelu(x, alpha):
    slope = np.reshape(alpha, [-1] + [1] * (x.ndim - 2))
    return np.where(x >= 0, x, slope * x)


@operation("sigmoid_hard")
def sigmoid_hard(x, alpha, beta):
    return np.clip(alpha * x + beta, 0, 1)


@operation("clamped_relu")
def clamped_relu(x, alpha, beta):
    return np.minimum(beta, np.where(x >= 0, x, alpha * x))


@operation("gelu")
def gelu(x, mode="EXACT"):
    if mode == "EXACT":
        return 0.5 * x * (1 + erf(x / np.sqrt(x.dtype.type(2))))
    if mode == "TANH_APPROXIMATION":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return 0.5 * x * (1 + np.tanh(inner))
    return x * sigmoid(1.702 * x)


@operation("softmax")
def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=int(axis), keepdims=True))
    return e / e.sum(axis=int(axis), keepdims=True)


@operation("select")
def select(cond, a, b):
    return np.where(cond, a, b)


# reductions

REDUCE = {
    "sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod,
    "l1_norm": lambda x, **k: np.sum(abs(x), **k),
    "l2_norm": lambda x, **k: np.sqrt(np.sum(x * x, **k)),
    "sum_square": lambda x, **k: np.sum(x * x, **k),
    "log_sum": lambda x, **k: np.log(np.sum(x, **k)),
}  # fmt: skip


def _reduction(function):
    def reduced(x, axes=None, keep_dims=False):
        axes = None if axes is None else tuple(ints(axes))
        made = function(x, axis=axes, keepdims=bool(keep_dims))
        return np.asarray(made).astype(x.dtype)

    return reduced


OPERATIONS.update({f"reduce_{name}": _reduction(f) for name, f in REDUCE.items()})


@operation("reduce_log_sum_exp")
def reduce_log_sum_exp(x, axes=None, keep_dims=False):
    axes = None if axes is None else tuple(ints(axes))
    top = x.max(axis=axes, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    made = np.log(np.exp(x - top).sum(axis=axes, keepdims=True)) + top
    return made if keep_dims else np.squeeze(made, axes)


def _place_of(best, find):
    def place(x, axis=-1, keep_dims=False, output_dtype="int32"):
        hits = (x == best(x, axis=int(axis), keepdims=True)).sum(axis=int(axis))
        assert (hits == 1).all(), "of equals, the place is not guaranteed"
        return find(x, axis=int(axis), keepdims=bool(keep_dims)).astype(np.int32)

    return place


OPERATIONS["reduce_argmax"] = _place_of(np.max, np.argmax)
OPERATIONS["reduce_argmin"] = _place_of(np.min, np.argmin)


@operation("cumsum")
def cumsum(x, axis=0, exclusive=False, reverse=False):
    axis = int(axis)
    y = np.flip(x, axis) if reverse else x
    made = np.cumsum(y, axis=axis, dtype=x.dtype)
    made = made - y if exclusive else made
    return np.flip(made, axis) if reverse else made


@operation("topk")
def topk(
    x, k=1, axis=-1, ascending=False, sort=True, return_indices=True,
    output_indices_dtype="int32",
):  # fmt: skip
    axis = int(axis)
    order = np.argsort(
        x if ascending else -x.astype(np.float64), axis=axis, kind="stable"
    )
    reached = np.take_along_axis(
        x, np.take(order, np.arange(min(int(k) + 1, x.shape[axis])), axis=axis), axis
    )
    rows = np.moveaxis(reached, axis, 0)
    assert (rows[1:] != rows[:-1]).all(), "of equals, the order is not guaranteed"
    places = np.take(order, np.arange(int(k)), axis=axis)
    return np.take_along_axis(x, places, axis), places.astype(np.int32)


# products


@operation("matmul")
def matmul(x, y, transpose_x=False, transpose_y=False):
    x = np.swapaxes(x, -1, -2) if transpose_x else x
    y = np.swapaxes(y, -1, -2) if transpose_y else y
    return np.matmul(x, y)


@operation("linear")
def linear(x, weight, bias=0.0):
    return x @ weight.T + bias


@operation("scaled_dot_product_attention")
def scaled_dot_product_attention(query, key, value, attn_mask=None):
    scores = query @ np.swapaxes(key, -1, -2) / math.sqrt(query.shape[-1])
    if attn_mask is not None:
        hidden = attn_mask.dtype == np.bool_
        scores = np.where(attn_mask, scores, -np.inf) if hidden else scores + attn_mask
    return softmax(scores) @ value


# quantities


def _along(array, rank, axis):
    array = np.asarray(array)
    if array.ndim == 0:
        return array
    shape = [1] * rank
    shape[int(axis)] = -1
    return array.reshape(shape)


@operation("quantize")
def quantize(input, scale, output_dtype, zero_point=0, axis=0):
    scale = _along(scale, input.ndim, axis)
    zero = _along(zero_point, input.ndim, axis)
    info = np.iinfo(str(output_dtype))
    steps = np.rint(input / scale) + zero
    return np.clip(steps, info.min, info.max).astype(str(output_dtype))


@operation("dequantize")
def dequantize(input, scale, zero_point=0, axis=0):
    zero = _along(zero_point, input.ndim, axis).astype(np.int32)
    return (input.astype(np.int32) - zero) * _along(scale, input.ndim, axis)


@operation("constexpr_affine_dequantize")
def constexpr_affine_dequantize(quantized_data, zero_point, scale, axis):
    zero = _along(zero_point, quantized_data.ndim, axis).astype(np.int32)
    return (quantized_data.astype(np.int32) - zero) * _along(
        scale, quantized_data.ndim, axis
    )


@operation("constexpr_lut_to_dense")
def constexpr_lut_to_dense(indices, lut, shape):
    """Indices are packed bits, least significant first, as many as the table needs."""
    bits = int(math.log2(len(lut)))
    flat = np.unpackbits(np.asarray(indices, np.uint8).reshape(-1), bitorder="little")
    count = int(np.prod(ints(shape)))
    places = (flat[: count * bits].reshape(count, bits) << np.arange(bits)).sum(axis=1)
    return np.asarray(lut)[places].reshape(ints(shape))


@operation("constexpr_blockwise_shift_scale")
def constexpr_blockwise_shift_scale(data, scale, offset=0):
    spread = np.asarray(scale)
    for axis, size in enumerate(data.shape):
        spread = np.repeat(spread, size // spread.shape[axis], axis)
    return (data.astype(np.float32) - offset) * spread


@operation("constexpr_cast")
def constexpr_cast(source_val, output_dtype):
    return cast(source_val, output_dtype)
