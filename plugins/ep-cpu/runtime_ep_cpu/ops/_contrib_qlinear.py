"""The QLinear operators of com.microsoft: 8-bit in, 8-bit out, float32 between."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu import formulas
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops import pool
from runtime_ep_cpu.ops._array_math import math_of
from runtime_ep_cpu.ops._saturation import saturated
from runtime_ep_cpu.ops.activation import softmax

table = KernelTable()

MS = "com.microsoft"


def _scalar(name: str, value: Any) -> Any:
    if value.size != 1:
        raise ValueError(f"{name} must be one number, found {value.size}")
    return value.reshape(())


@np.errstate(all="ignore")
def dequantized(x: Any, scale: Any, zero_point: Any) -> Any:
    """Return what quantized values stand for, in float32."""
    values = x.astype(np.float32)
    if zero_point is not None:
        values -= _scalar("a zero point", zero_point).astype(np.float32)
    values *= _scalar("a scale", scale)
    return values


@np.errstate(all="ignore")
def quantized(values: Any, scale: Any, zero_point: Any, dtype: Any) -> Any:
    """Round to even after scaling, then shift and saturate."""
    xp = namespace_of(values)
    steps = xp.rint(values / _scalar("a scale", scale))
    if zero_point is not None:
        steps += _scalar("a zero point", zero_point).astype(np.float32)
    return saturated(xp.asarray(steps), dtype)


@table("QLinearAdd", since=1, domain=MS)
def qlinear_add(
    a,
    a_scale,
    a_zero_point,
    b,
    b_scale,
    b_zero_point,
    c_scale,
    c_zero_point=None,
    /,
):
    """QLinearAdd: a broadcast sum."""
    total = dequantized(a, a_scale, a_zero_point) + dequantized(
        b, b_scale, b_zero_point
    )
    return quantized(total, c_scale, c_zero_point, a.dtype)


@table("QLinearMul", since=1, domain=MS)
@np.errstate(all="ignore")
def qlinear_mul(
    a,
    a_scale,
    a_zero_point,
    b,
    b_scale,
    b_zero_point,
    c_scale,
    c_zero_point=None,
    /,
):
    """QLinearMul: a broadcast product."""
    product = dequantized(a, a_scale, a_zero_point) * dequantized(
        b, b_scale, b_zero_point
    )
    return quantized(product, c_scale, c_zero_point, a.dtype)


def _by_table(
    formula: Any, x: Any, x_scale: Any, x_zero: Any, y_scale: Any, y_zero: Any
) -> Any:
    """Apply a formula to all 256 values there are, then look the elements up."""
    xp = namespace_of(x)
    every = xp.arange(256).astype(np.uint8).view(x.dtype)
    values = formula(math_of(xp), dequantized(every, x_scale, x_zero))
    results = quantized(values.astype(np.float32), y_scale, y_zero, x.dtype)
    return results[x.view(np.uint8)]


@table("QLinearLeakyRelu", since=1, domain=MS)
@np.errstate(all="ignore")
def qlinear_leaky_relu(
    x,
    x_scale,
    x_zero_point,
    y_scale,
    y_zero_point=None,
    /,
    *,
    alpha=0.009999999776482582,
):
    """QLinearLeakyRelu."""

    def formula(m: Any, values: Any) -> Any:
        return formulas.leaky_relu(m, values, alpha=alpha)

    return _by_table(formula, x, x_scale, x_zero_point, y_scale, y_zero_point)


@table("QLinearSigmoid", since=1, domain=MS)
@np.errstate(all="ignore")
def qlinear_sigmoid(x, x_scale, x_zero_point, y_scale, y_zero_point=None, /):
    """QLinearSigmoid."""
    return _by_table(formulas.sigmoid, x, x_scale, x_zero_point, y_scale, y_zero_point)


@table("QLinearSoftmax", since=1, domain=MS)
def qlinear_softmax(
    x, x_scale, x_zero_point, y_scale, y_zero_point, /, *, axis=-1, opset
):
    """QLinearSoftmax: over one axis, before opset 13 over all axes from it on."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis {axis} is outside an input of rank {x.ndim}")
    axis %= x.ndim
    values = dequantized(x, x_scale, None)
    if opset < 13:
        rows = int(np.prod(x.shape[:axis]))
        y = softmax(values.reshape(rows, -1 if rows else 0), 1).reshape(x.shape)
    else:
        y = softmax(values, axis)
    return quantized(y, y_scale, y_zero_point, x.dtype)


@table("QLinearGlobalAveragePool", since=1, domain=MS)
def qlinear_global_average_pool(
    x, x_scale, x_zero_point, y_scale, y_zero_point, /, *, channels_last=0
):
    """QLinearGlobalAveragePool: the mean of each channel's image."""
    xp = namespace_of(x)
    values = dequantized(x, x_scale, x_zero_point)
    if channels_last:
        values = xp.moveaxis(values, -1, 1)
    y = pool.global_average_pool(values)
    if channels_last:
        y = xp.moveaxis(y, 1, -1)
    return quantized(y, y_scale, y_zero_point, x.dtype)


@table("QLinearAveragePool", since=1, domain=MS)
def qlinear_average_pool(
    x,
    x_scale,
    x_zero_point,
    y_scale,
    y_zero_point=None,
    /,
    *,
    auto_pad="NOTSET",
    ceil_mode=0,
    channels_last=0,
    count_include_pad=0,
    kernel_shape,
    pads=None,
    strides=None,
):
    """QLinearAveragePool: the mean of each window's elements."""
    xp = namespace_of(x)
    values = dequantized(x, x_scale, x_zero_point)
    if channels_last:
        values = xp.moveaxis(values, -1, 1)
    y = pool.average_pool(
        values,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    if channels_last:
        y = xp.moveaxis(y, 1, -1)
    return quantized(y, y_scale, y_zero_point, x.dtype)


@table("QLinearConcat", since=1, domain=MS)
def qlinear_concat(y_scale, y_zero_point, /, *inputs, axis):
    """QLinearConcat: triples of a tensor, its scale and its zero point.

    Parts that are quantized like the result are copied unchanged.
    """
    if not inputs or len(inputs) % 3:
        raise ValueError(f"the inputs must come in threes, found {len(inputs)}")
    xp = namespace_of(*inputs[::3])
    parts = []
    for x, scale, zero_point in zip(*(inputs[n::3] for n in range(3)), strict=True):
        if not -x.ndim <= axis < x.ndim:
            raise ValueError(f"axis {axis} is outside an input of rank {x.ndim}")
        same = bool((scale == y_scale).all() and (zero_point == y_zero_point).all())
        if not same:
            x = quantized(
                dequantized(x, scale, zero_point), y_scale, y_zero_point, x.dtype
            )
        parts.append(x)
    return xp.concatenate(parts, axis=axis)
