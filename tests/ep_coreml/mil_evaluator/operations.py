"""MIL's operations in NumPy, by name, as its documentation describes them.

Halves arrive as float32; the evaluator rounds results to what is declared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mil_evaluator.layers import LAYERS

Array = Any
OPERATIONS: dict[str, Callable[..., Any]] = dict(LAYERS)


def operation(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function under an operation's name."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        OPERATIONS[name] = function
        return function

    return enter


def ints(values: Array) -> list[int]:
    """Return a vector of integers as a list."""
    return [int(v) for v in np.asarray(values).reshape(-1)]


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
    "floor_div": np.floor_divide, "mod": np.mod, "maximum": np.maximum,
    "minimum": np.minimum, "equal": np.equal, "not_equal": np.not_equal,
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


@operation("reduce_argmax")
def reduce_argmax(x, axis=-1, keep_dims=False, output_dtype="int32"):
    return np.argmax(x, axis=int(axis), keepdims=bool(keep_dims)).astype(np.int32)


@operation("reduce_argmin")
def reduce_argmin(x, axis=-1, keep_dims=False, output_dtype="int32"):
    return np.argmin(x, axis=int(axis), keepdims=bool(keep_dims)).astype(np.int32)


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
    places = np.take(order, np.arange(int(k)), axis=axis)
    return np.take_along_axis(x, places, axis), places.astype(np.int32)


# movement


@operation("reshape")
def reshape(x, shape):
    sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(ints(shape))]
    return np.reshape(x, sizes)


@operation("transpose")
def transpose(x, perm):
    return np.transpose(x, ints(perm))


@operation("expand_dims")
def expand_dims(x, axes):
    return np.expand_dims(x, tuple(ints(axes)))


@operation("squeeze")
def squeeze(x, axes=None):
    return np.squeeze(x, None if axes is None else tuple(ints(axes)))


@operation("flatten2d")
def flatten2d(x, axis=1):
    axis = int(axis)
    return np.reshape(x, (int(np.prod(x.shape[:axis])), -1))


@operation("concat")
def concat(values, axis, interleave=False):
    if not interleave:
        return np.concatenate([np.atleast_1d(v) for v in values], int(axis))
    axis = int(axis) % values[0].ndim
    shape = list(values[0].shape)
    shape[axis] *= len(values)
    return np.stack(values, axis + 1).reshape(shape)


@operation("stack")
def stack(values, axis):
    return np.stack(values if isinstance(values, list) else [values], int(axis))


@operation("split")
def split(x, axis, num_splits=None, split_sizes=None):
    if split_sizes is None:
        return tuple(np.split(x, int(num_splits), int(axis)))
    return tuple(np.split(x, np.cumsum(ints(split_sizes))[:-1], int(axis)))


@operation("tile")
def tile(x, reps):
    return np.tile(x, ints(reps))


@operation("reverse")
def reverse(x, axes=None):
    return np.flip(x, None if axes is None else tuple(ints(axes)))


@operation("reverse_sequence")
def reverse_sequence(x, lengths, seq_axis=0, batch_axis=0):
    moved = np.moveaxis(x, (int(batch_axis), int(seq_axis)), (0, 1)).copy()
    for row, length in zip(moved, ints(lengths), strict=True):
        row[:length] = row[:length][::-1].copy()
    return np.moveaxis(moved, (0, 1), (int(batch_axis), int(seq_axis)))


@operation("slice_by_index")
def slice_by_index(
    x, begin, end, stride=None, begin_mask=None, end_mask=None, squeeze_mask=None
):
    parts: list[Any] = []
    for axis in range(x.ndim):
        first, last = ints(begin)[axis], ints(end)[axis]
        if squeeze_mask is not None and squeeze_mask[axis]:
            parts.append(first)
            continue
        open_begin = begin_mask is not None and begin_mask[axis]
        open_end = end_mask is not None and end_mask[axis]
        step = 1 if stride is None else ints(stride)[axis]
        parts.append(
            slice(None if open_begin else first, None if open_end else last, step)
        )
    return x[tuple(parts)]


@operation("slice_by_size")
def slice_by_size(x, begin, size):
    parts = [
        slice(b, x.shape[i] if n == -1 else b + n)
        for i, (b, n) in enumerate(zip(ints(begin), ints(size), strict=True))
    ]
    return x[tuple(parts)]


@operation("pad")
def pad(x, pad, mode="constant", constant_val=0.0):
    around = np.reshape(ints(pad), (-1, 2)).tolist()
    around = [[0, 0]] * (x.ndim - len(around)) + around
    if mode == "constant":
        return np.pad(x, around, constant_values=constant_val)
    return np.pad(x, around, "reflect" if mode == "reflect" else "edge")


@operation("band_part")
def band_part(x, lower=-1, upper=-1):
    rows, columns = np.indices(x.shape[-2:])
    keep = np.ones(x.shape[-2:], bool)
    if lower >= 0:
        keep &= rows - columns <= int(lower)
    if upper >= 0:
        keep &= columns - rows <= int(upper)
    return np.where(keep, x, x.dtype.type(0))


@operation("depth_to_space")
def depth_to_space(x, block_size):
    n, c, h, w = x.shape
    b = int(block_size)
    y = x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    return y.reshape(n, c // b**2, h * b, w * b)


@operation("space_to_depth")
def space_to_depth(x, block_size):
    n, c, h, w = x.shape
    b = int(block_size)
    y = x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * b**2, h // b, w // b)


@operation("pixel_shuffle")
def pixel_shuffle(x, upscale_factor):
    n, c, h, w = x.shape
    b = int(upscale_factor)
    y = x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return y.reshape(n, c // b**2, h * b, w * b)


@operation("pixel_unshuffle")
def pixel_unshuffle(x, downscale_factor):
    n, c, h, w = x.shape
    b = int(downscale_factor)
    y = x.reshape(n, c, h // b, b, w // b, b).transpose(0, 1, 3, 5, 2, 4)
    return y.reshape(n, c * b**2, h // b, w // b)


# indices


def _inside(indices, size):
    """Since iOS 17 indices are counted from the front: a negative one is out of bounds."""
    assert np.size(indices) == 0 or (np.min(indices) >= 0 and np.max(indices) < size)
    return np.asarray(indices, np.int64)


@operation("gather")
def gather(x, indices, axis=0, batch_dims=0, validate_indices=False):
    assert int(batch_dims) == 0
    return np.take(x, _inside(indices, x.shape[int(axis)]), axis=int(axis))


@operation("gather_along_axis")
def gather_along_axis(x, indices, axis=0, validate_indices=False):
    return np.take_along_axis(x, _inside(indices, x.shape[int(axis)]), int(axis))


@operation("gather_nd")
def gather_nd(x, indices, batch_dims=0, validate_indices=False):
    batch = int(batch_dims)
    assert np.min(indices, initial=0) >= 0
    if not batch:
        return x[tuple(np.moveaxis(indices, -1, 0))]
    lead = x.shape[:batch]
    flat = x.reshape(-1, *x.shape[batch:])
    rows = indices.reshape(-1, *indices.shape[batch:])
    made = [gather_nd(one, row) for one, row in zip(flat, rows, strict=True)]
    return np.stack(made).reshape(*lead, *made[0].shape)


COMBINE = {
    "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum,
    "sub": np.subtract, "div": np.divide,
}  # fmt: skip


def _combined(data, places, updates, mode):
    made = data.copy()
    if mode == "update":
        made[places] = updates
    else:
        COMBINE[str(mode)].at(made, places, updates)
    return made


@operation("scatter_along_axis")
def scatter_along_axis(
    data, indices, updates, axis=0, mode="add", validate_indices=False
):
    places = list(np.indices(indices.shape))
    places[int(axis)] = _inside(indices, data.shape[int(axis)])
    return _combined(data, tuple(places), updates, mode)


@operation("scatter_nd")
def scatter_nd(data, indices, updates, mode="add", validate_indices=False):
    assert np.min(indices, initial=0) >= 0
    return _combined(data, tuple(np.moveaxis(indices, -1, 0)), updates, mode)


@operation("non_zero")
def non_zero(x):
    return np.stack(np.nonzero(x), axis=1).astype(np.int32)


# creation


@operation("fill")
def fill(shape, value=0.0):
    return np.full(ints(shape), value)


@operation("fill_like")
def fill_like(ref_tensor, value=0.0):
    return np.full(np.shape(ref_tensor), value)


@operation("range_1d")
def range_1d(end, start, step):
    first, last, by = (np.asarray(v).item() for v in (start, end, step))
    count = max(math.ceil((last - first) / by), 0)
    return (first + by * np.arange(count)).astype(np.asarray(start).dtype)


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
