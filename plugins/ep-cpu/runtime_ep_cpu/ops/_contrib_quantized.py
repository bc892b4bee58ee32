"""Quantized standard operators as com.microsoft has them: with more types or layouts."""

from __future__ import annotations

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops import conv, quantize
from runtime_ep_cpu.ops._contrib_attention import attended_projection
from runtime_ep_cpu.ops._contrib_qlinear import dequantized, quantized
from runtime_ep_cpu.ops._maxima import largest
from runtime_ep_cpu.ops._windows import place
from runtime_ep_cpu.ops.matmul import matmul_integer

table = KernelTable()

MS = "com.microsoft"


@table("QuantizeLinear", since=1, domain=MS, traits=("typed",))
def quantize_linear(x, y_scale, y_zero_point=None, /, *, axis=None):
    """QuantizeLinear: as in the standard since opset 21, without blocks."""
    return quantize.quantize_linear(x, y_scale, y_zero_point, axis=axis or 0)


@table("DequantizeLinear", since=1, domain=MS, traits=("typed",))
def dequantize_linear(x, x_scale, x_zero_point=None, /, *, axis=None):
    """DequantizeLinear: as in the standard since opset 21, without blocks."""
    return quantize.dequantize_linear(x, x_scale, x_zero_point, axis=axis or 0)


@table("QLinearConv", since=1, domain=MS)
def qlinear_conv(
    x,
    x_scale,
    x_zero_point,
    w,
    w_scale,
    w_zero_point,
    y_scale,
    y_zero_point,
    b=None,
    /,
    *,
    auto_pad="NOTSET",
    channels_last=0,
    dilations=None,
    group=1,
    kernel_shape=None,
    pads=None,
    strides=None,
):
    """QLinearConv: as in the standard; images, not filters, may have channels last."""
    xp = namespace_of(x)
    y = conv.qlinear_conv(
        xp.moveaxis(x, -1, 1) if channels_last else x,
        x_scale,
        x_zero_point,
        w,
        w_scale,
        w_zero_point,
        y_scale,
        y_zero_point,
        b,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    return xp.moveaxis(y, 1, -1) if channels_last else y


@table("QLinearWhere", since=1, domain=MS)
def qlinear_where(
    condition,
    x,
    x_scale,
    x_zero_point,
    y,
    y_scale,
    y_zero_point,
    z_scale,
    z_zero_point,
    /,
):
    """QLinearWhere: elements of x or y, broadcast, quantized alike."""
    x = quantized(dequantized(x, x_scale, x_zero_point), z_scale, z_zero_point, x.dtype)
    y = quantized(dequantized(y, y_scale, y_zero_point), z_scale, z_zero_point, y.dtype)
    return namespace_of(x, y).where(condition, x, y)


@table("QLinearReduceMean", since=1, domain=MS)
def qlinear_reduce_mean(
    data,
    data_scale,
    data_zero_point,
    reduced_scale,
    reduced_zero_point=None,
    /,
    *,
    axes,
    keepdims,
):
    """QLinearReduceMean: the mean over some axes."""
    rank = data.ndim
    if any(not -rank <= axis < rank for axis in axes):
        raise ValueError(f"axes {list(axes)} are outside an input of rank {rank}")
    values = dequantized(data, data_scale, data_zero_point)
    with np.errstate(all="ignore"):
        places = tuple(axis % rank for axis in axes)
        count = int(np.prod([data.shape[axis] for axis in places]))
        means = values.sum(axis=places, keepdims=bool(keepdims)) / np.float32(count)
    means = namespace_of(data).asarray(means)
    return quantized(means, reduced_scale, reduced_zero_point, data.dtype)


@table("QGemm", since=1, domain=MS)
def qgemm(
    a,
    a_scale,
    a_zero_point,
    b,
    b_scale,
    b_zero_point,
    c=None,
    y_scale=None,
    y_zero_point=None,
    /,
    *,
    alpha=1.0,
    transA=0,  # noqa: N803
    transB=0,  # noqa: N803
):
    """QGemm: ``alpha * A' @ B' + C``, in floats unless there is a scale for Y.

    C is int32 with the scale of the product; B may have a scale and a zero point per
    column of the product.
    """
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"QGemm takes matrices, found {a.ndim} and {b.ndim} dims")
    a, b = (a.T if transA else a), (b.T if transB else b)
    total = matmul_integer(a, b, a_zero_point.reshape(()), b_zero_point)
    with np.errstate(all="ignore"):
        if c is not None:
            total = total + c
        if total.shape != (a.shape[0], b.shape[1]):
            raise ValueError(f"C of shape {list(c.shape)} does not fit the product")
        scale = np.float32(alpha) * a_scale.reshape(()) * b_scale
        y = total.astype(np.float32) * scale
    if y_scale is None:
        return y
    if y_zero_point is None:
        raise ValueError("y_scale is given without y_zero_point")
    return quantized(y, y_scale, y_zero_point, y_zero_point.dtype)


@table("NhwcMaxPool", since=1, domain=MS)
def nhwc_max_pool(
    x,
    /,
    *,
    auto_pad="NOTSET",
    ceil_mode=0,
    dilations=None,
    kernel_shape,
    pads=None,
    strides=None,
):
    """NhwcMaxPool: MaxPool of 8-bit images with the channels last."""
    xp = namespace_of(x)
    if x.ndim < 3:
        raise ValueError(f"pooling needs spatial axes, found shape {list(x.shape)}")
    windows = place(
        x.shape[1:-1],
        kernel_shape,
        strides=strides,
        dilations=dilations,
        pads=pads,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
    )
    check_size((x.shape[0], *windows.out, x.shape[-1]), x.dtype)
    return xp.moveaxis(largest(xp.moveaxis(x, -1, 1), windows), 1, -1)


@table("MatMulInteger16", since=1, domain=MS)
def matmul_integer_16(a, b, /):
    """MatMulInteger16: a product of 16-bit integers, which wraps as 32-bit ones do."""
    dtype = np.uint32 if a.dtype.kind == b.dtype.kind == "u" else np.int32
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("a scalar has no matrix product")
    return namespace_of(a, b).matmul(a.astype(dtype), b.astype(dtype))


@table("QAttention", since=1, domain=MS)
def qattention(
    x,
    weight,
    bias,
    input_scale,
    weight_scale,
    mask_index=None,
    input_zero_point=None,
    weight_zero_point=None,
    past=None,
    /,
    *,
    do_rotary=None,
    mask_filter_value=None,
    num_heads,
    past_present_share_buffer=None,
    scale=None,
    unidirectional=0,
):
    """QAttention: Attention whose input and weights are 8-bit integers."""
    if past_present_share_buffer or do_rotary:
        raise ValueError("neither a shared buffer nor do_rotary is supported")
    if weight.ndim != 2:
        raise ValueError(f"weights must be a matrix, found {list(weight.shape)}")
    check_size((*x.shape[:-1], weight.shape[-1]), bias.dtype)
    total = matmul_integer(x, weight, input_zero_point, weight_zero_point)
    with np.errstate(all="ignore"):
        projected = total.astype(bias.dtype) * (input_scale * weight_scale)
        projected += bias
    third = projected.shape[-1] // 3
    return attended_projection(
        projected,
        (third,) * 3,
        mask_index,
        past,
        num_heads=num_heads,
        mask_filter_value=mask_filter_value,
        scale=scale,
        unidirectional=unidirectional,
    )
