"""Linear quantization: per tensor, per axis and per block, and dynamic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.dtypes import element_type
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._precision import rounded, wide
from runtime_ep_cpu.ops._saturation import INTEGERS, saturated

table = KernelTable()

_BLOCK = 1 << 16
"""How many elements of a large array are quantized at once, to stay in cache."""


@table("QuantizeLinear", since=10, traits=("typed",))
def quantize_linear_10(x, y_scale, y_zero_point=None, /):
    """QuantizeLinear of opset 10 to 12: per tensor."""
    return quantize_linear(x, y_scale, y_zero_point)


@table("QuantizeLinear", since=13, traits=("typed",))
def quantize_linear_13(x, y_scale, y_zero_point=None, /, *, axis=1):
    """QuantizeLinear of opset 13 to 18: per tensor or per axis."""
    return quantize_linear(x, y_scale, y_zero_point, axis=axis)


@table("QuantizeLinear", since=19, traits=("typed",))
def quantize_linear_19(x, y_scale, y_zero_point=None, /, *, axis=1, saturate=1):
    """QuantizeLinear of opset 19 and 20: to 8-bit floats as well."""
    return quantize_linear(x, y_scale, y_zero_point, axis=axis, saturate=saturate)


@table("QuantizeLinear", since=21, traits=("typed",))
def quantize_linear_21(
    x,
    y_scale,
    y_zero_point=None,
    /,
    *,
    axis=1,
    block_size=0,
    output_dtype=0,
    saturate=1,
):
    """QuantizeLinear of opset 21 and 22: the division has the type of the scale."""
    return quantize_linear(
        x,
        y_scale,
        y_zero_point,
        axis=axis,
        block_size=block_size,
        output_dtype=output_dtype,
        saturate=saturate,
    )


@table("QuantizeLinear", since=23, traits=("typed",))
def quantize_linear(
    x,
    y_scale,
    y_zero_point=None,
    /,
    *,
    axis=1,
    block_size=0,
    output_dtype=0,
    precision=0,
    saturate=1,
):
    """QuantizeLinear: ``saturate(round(x / scale) + zero_point)``.

    The quotient is rounded to ``precision``, else to the scale's type. Without
    ``saturate`` what an 8-bit float cannot hold becomes its infinity or NaN.
    """
    xp = namespace_of(x)
    dtype = _result_type(y_zero_point, output_dtype)
    grid = _grid("y_scale", x.shape, y_scale, axis, block_size)
    kind = _floating(
        element_type(precision, "precision") if precision else y_scale.dtype
    )
    scale = grid.spread(xp, wide(rounded(y_scale, kind)))
    zero = None
    if y_zero_point is not None:
        grid.check_like("y_zero_point", y_zero_point, y_scale)
        zero = grid.spread(xp, y_zero_point.astype(np.float32))
    saturate = bool(saturate) or dtype.name in INTEGERS
    x_shape, x = x.shape, x.reshape(grid.shape)
    y = xp.empty(x.shape, dtype)
    for part in _parts(xp, x, scale):
        y[part] = _quantized(xp, x[part], scale, zero, kind, dtype, saturate)
    return y.reshape(x_shape)


def _parts(xp: Any, x: Any, scale: Any) -> Iterator[Any]:
    """Cut a large array along its first axis, if one scale is for all of it."""
    rows = x.shape[0] if x.ndim else 0
    if xp is not np or scale.size > 1 or x.size <= _BLOCK or rows == 1:
        yield ...
        return
    step = max(1, _BLOCK // (x.size // rows))
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _quantized(
    xp: Any, x: Any, scale: Any, zero: Any, kind: Any, dtype: Any, saturate: bool
) -> Any:
    y = xp.empty(x.shape, np.float64 if kind == np.float64 else np.float32)
    with np.errstate(all="ignore"):
        xp.divide(wide(rounded(x, kind)), scale, out=y)
        y = wide(rounded(y, kind))
        if dtype.name in INTEGERS:
            xp.rint(y, out=y)
        if zero is not None:
            y += zero
        return saturated(y, dtype) if saturate else y.astype(dtype)


def _result_type(zero_point: Any, code: int) -> np.dtype:
    """Return the quantized type that the zero point has or the attribute names."""
    named = element_type(code, "output_dtype") if code else None
    found = np.dtype(np.uint8) if zero_point is None else np.dtype(zero_point.dtype)
    if zero_point is None and named is not None:
        return named
    if named is not None and named != found:
        raise ValueError(f"output_dtype {named} is not the zero point's, {found}")
    return found


def _floating(kind: Any) -> np.dtype:
    """Return the type a quotient is rounded to: that of the scale, if it is a float."""
    whole = kind.kind in "iu" or kind.name == "float8_e8m0fnu"
    return np.dtype(np.float32) if whole else np.dtype(kind)


class _Grid(NamedTuple):
    """How scales lie over an array: its shape cut into blocks, and theirs to match.

    ``repeats`` is the axis and block size where blocks do not divide the axis.
    """

    shape: tuple[int, ...]
    scales: tuple[int, ...]
    repeats: tuple[int, int] | None = None

    def spread(self, xp: Any, values: Any) -> Any:
        """Return scales or zero points so that they broadcast over ``shape``."""
        if self.repeats is not None:
            axis, block = self.repeats
            values = xp.repeat(values, block, axis=axis)
            cut = (slice(None),) * axis + (slice(0, self.shape[axis]),)
            return values[cut]
        return values.reshape(self.scales)

    def check_like(self, name: str, values: Any, scale: Any) -> None:
        """Refuse zero points that are neither one nor one per scale."""
        if values.shape != scale.shape and values.size != scale.size:
            raise ValueError(
                f"{name} of shape {list(values.shape)} does not go with scales of "
                f"shape {list(scale.shape)}"
            )


def _grid(
    name: str, shape: tuple[int, ...], scale: Any, axis: int, block_size: int
) -> _Grid:
    """Lay scales over an array of a shape: for all of it, along an axis or in blocks."""
    rank = len(shape)
    if scale.size == 1 and (scale.ndim <= 1 or not block_size):
        return _Grid(shape, ())
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is outside an input of rank {rank}")
    axis %= rank
    size = shape[axis]
    if not block_size and scale.shape == (size,):
        return _Grid(shape, (size, *(1,) * (rank - axis - 1)))
    blocks = -(-size // block_size) if block_size > 0 else 0
    if block_size <= 0 or scale.shape != (*shape[:axis], blocks, *shape[axis + 1 :]):
        raise ValueError(
            f"{name} of shape {list(scale.shape)} does not fit axis {axis} of an input "
            f"of shape {list(shape)} in blocks of {block_size}"
        )
    if size % block_size:
        return _Grid(shape, (), (axis, block_size))
    lead, rest = shape[:axis], shape[axis + 1 :]
    return _Grid((*lead, blocks, block_size, *rest), (*lead, blocks, 1, *rest))


@table("DequantizeLinear", since=10, traits=("typed",))
def dequantize_linear_10(x, x_scale, x_zero_point=None, /):
    """DequantizeLinear of opset 10 to 12: per tensor."""
    return dequantize_linear(x, x_scale, x_zero_point)


@table("DequantizeLinear", since=13, traits=("typed",))
def dequantize_linear_13(x, x_scale, x_zero_point=None, /, *, axis=1):
    """DequantizeLinear of opset 13 to 20: per tensor or per axis."""
    return dequantize_linear(x, x_scale, x_zero_point, axis=axis)


@table("DequantizeLinear", since=21, traits=("typed",))
def dequantize_linear_21(x, x_scale, x_zero_point=None, /, *, axis=1, block_size=0):
    """DequantizeLinear of opset 21 and 22: the result has the type of the scale."""
    return dequantize_linear(x, x_scale, x_zero_point, axis=axis, block_size=block_size)


@table("DequantizeLinear", since=23, traits=("typed",))
def dequantize_linear(
    x, x_scale, x_zero_point=None, /, *, axis=1, block_size=0, output_dtype=0
):
    """DequantizeLinear: ``(x - zero_point) * scale``, in float32 and then rounded."""
    xp = namespace_of(x)
    dtype = (
        element_type(output_dtype, "output_dtype")
        if output_dtype
        else np.dtype(x_scale.dtype)
    )
    if dtype.name not in ("float32", "float16", "bfloat16"):
        raise ValueError(f"the result cannot be {dtype}; output_dtype must say what")
    grid = _grid("x_scale", x.shape, x_scale, axis, block_size)
    with np.errstate(all="ignore"):
        y = x.astype(np.float32).reshape(grid.shape)
        if x_zero_point is not None:
            grid.check_like("x_zero_point", x_zero_point, x_scale)
            y -= grid.spread(xp, x_zero_point.astype(np.float32))
        y *= grid.spread(xp, x_scale.astype(np.float32))
    return rounded(y.reshape(x.shape), dtype)


@table("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(x, /):
    """DynamicQuantizeLinear: to uint8 by the range of ``x``, made to include 0.

    Where all is 0 the scale is 1.
    """
    xp = namespace_of(x)
    zero = xp.zeros((), x.dtype)
    with np.errstate(all="ignore"):
        low = xp.minimum(x.min(), zero) if x.size else zero
        high = xp.maximum(x.max(), zero) if x.size else zero
        scale = (high - low) / x.dtype.type(255)
        scale = xp.where(scale == 0, x.dtype.type(1), scale)
        zero_point = saturated(xp.asarray(xp.rint(-low / scale)), np.uint8)
        y = xp.rint(x / scale) + zero_point.astype(x.dtype)
        y = saturated(xp.asarray(y), np.uint8)
    return y, xp.asarray(scale, dtype=x.dtype), zero_point
