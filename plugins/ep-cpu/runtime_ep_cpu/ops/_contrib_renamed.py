"""Operators of com.microsoft that the standard has too, by another name or layout."""

from __future__ import annotations

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops import conv, index, vision
from runtime_ep_cpu.ops._axes import scalar
from runtime_ep_cpu.ops._contrib_activation import fused_conv
from runtime_ep_cpu.ops._contrib_matmul import fused_matmul
from runtime_ep_cpu.ops._fill import range_11
from runtime_ep_cpu.ops.activation import softmax

table = KernelTable()

MS = "com.microsoft"


@table("TransposeMatMul", since=1, domain=MS)
def transpose_matmul(a, b, /, *, alpha=1.0, transA=0, transB=0):  # noqa: N803
    """TransposeMatMul: the former FusedMatMul."""
    return fused_matmul(a, b, alpha=alpha, transA=transA, transB=transB)


@table("GatherND", since=1, domain=MS, traits=("moves",))
def gather_nd(data, indices, /):
    """GatherND: as in the standard since opset 11."""
    return index.gather_nd(data, indices)


@table("ExpandDims", since=1, domain=MS, traits=("moves",))
def expand_dims(x, axis, /):
    """ExpandDims: one new axis; -1 is after the last."""
    place, rank = int(scalar(axis, "axis")), x.ndim
    if not -rank - 1 <= place <= rank:
        raise ValueError(f"axis {place} is outside a result of rank {rank + 1}")
    return namespace_of(x).expand_dims(x, place)


@table("Range", since=1, domain=MS, traits=("typed",))
def range_(start, limit, delta=None, /):
    """Range: as in the standard, in steps of one unless there is a delta."""
    return range_11(start, limit, np.ones_like(start) if delta is None else delta)


@table("GridSample", since=1, domain=MS, traits=("typed",))
def grid_sample(x, grid, /, *, align_corners=0, mode="bilinear", padding_mode="zeros"):
    """GridSample: as in the standard since opset 16."""
    return vision.grid_sample_16(
        x, grid, align_corners=align_corners, mode=mode, padding_mode=padding_mode
    )


@table("BiasSoftmax", since=1, domain=MS)
def bias_softmax(data, bias, /, *, axis=1, is_inner_broadcast):
    """BiasSoftmax: Softmax of a sum, over all axes from ``axis`` on.

    A bias of lower rank is repeated over the axes before ``axis``; with
    ``is_inner_broadcast`` each of its entries is, else all of it.
    """
    rank = data.ndim
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is outside an input of rank {rank}")
    axis %= rank
    columns = int(np.prod(data.shape[axis:]))
    rows = data.reshape(-1, columns) if data.size else data.reshape(0, columns)
    few = bias.reshape(-1, columns) if bias.size else bias.reshape(0, columns)
    if not len(few) or len(rows) % len(few):
        if not data.size:
            return data
        raise ValueError(f"a bias of {list(bias.shape)} does not fit {data.shape}")
    times, xp = len(rows) // len(few), namespace_of(data)
    repeat = xp.repeat if is_inner_broadcast else lambda x, n, axis: xp.tile(x, (n, 1))
    with np.errstate(all="ignore"):
        return softmax(rows + repeat(few, times, axis=0), 1).reshape(data.shape)


@table("NhwcFusedConv", since=1, domain=MS)
def nhwc_fused_conv(
    x,
    w,
    b=None,
    z=None,
    /,
    *,
    activation=None,
    activation_params=None,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    pads=None,
    strides=None,
):
    """NhwcFusedConv: FusedConv of images, not filters, with the channels last."""
    xp = namespace_of(x)
    y = fused_conv(
        xp.moveaxis(x, -1, 1),
        w,
        b,
        None if z is None else xp.moveaxis(z, -1, 1),
        activation=activation,
        activation_params=activation_params,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    return xp.moveaxis(y, 1, -1)


@table("ConvTransposeWithDynamicPads", since=1, domain=MS)
def conv_transpose_with_dynamic_pads(
    x,
    w,
    pads=None,
    b=None,
    /,
    *,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    output_padding=None,
    strides=None,
):
    """ConvTransposeWithDynamicPads: ConvTranspose with the padding as an input."""
    return conv.conv_transpose(
        x,
        w,
        b,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        output_padding=output_padding,
        pads=None if pads is None else tuple(pads.reshape(-1).tolist()),
        strides=strides,
    )
