"""Convolutions: plain, transposed, integer, quantized, deformable and causal."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._axes import ints
from runtime_ep_cpu.ops._convolution import (
    check_channels,
    convolve,
    convolve_transposed,
)
from runtime_ep_cpu.ops._deformation import deformed_columns
from runtime_ep_cpu.ops._products import centred, exact_product, product, requantize
from runtime_ep_cpu.ops._windows import (
    Windows,
    explicit_pads,
    fold,
    per_axis,
    place,
    split_evenly,
)

table = KernelTable()


@table("Conv", since=1)
def conv(
    x,
    w,
    b=None,
    /,
    *,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    pads=None,
    strides=None,
):
    """Conv over any number of spatial axes: ``(N, C, *in)`` to ``(N, M, *out)``."""
    check_channels(x, w, group, kernel_shape, transposed=False)
    _check_one_padding(auto_pad, pads)
    windows = place(
        x.shape[2:],
        w.shape[2:],
        strides=strides,
        dilations=dilations,
        pads=pads,
        auto_pad=auto_pad,
    )
    return _with_bias(convolve(x, w, windows, group), b)


def _check_one_padding(auto_pad: str, pads: Any) -> None:
    if auto_pad not in ("NOTSET", "") and any(pads or ()):
        raise ValueError(
            f"auto_pad {auto_pad!r} and pads {list(pads)} exclude each other"
        )


def _with_bias(y: Any, b: Any) -> Any:
    """Add one number per channel to an array of the kernel's own."""
    if b is not None:
        if b.shape != y.shape[1:2]:
            raise ValueError(
                f"a bias of shape {list(b.shape)} does not fit {y.shape[1]} channels"
            )
        with np.errstate(all="ignore"):
            y += b.reshape(-1, *(1,) * (y.ndim - 2))
    return y


@table("ConvTranspose", since=1)
def conv_transpose(
    x,
    w,
    b=None,
    /,
    *,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    output_padding=None,
    output_shape=None,
    pads=None,
    strides=None,
):
    """ConvTranspose: each input element adds the kernel onto the output.

    ``output_shape`` makes the padding what it must be, and ``auto_pad`` SAME the output
    ``stride`` times the input.
    """
    check_channels(x, w, group, kernel_shape, transposed=True)
    _check_one_padding(auto_pad, pads)
    sizes = x.shape[2:]
    windows, out = over_output(
        sizes,
        w.shape[2:],
        strides,
        dilations,
        pads,
        auto_pad,
        output_shape,
        output_padding,
    )
    xp = namespace_of(x, w)
    shape = (x.shape[0], w.shape[1] * group, *out)
    check_size(shape, x.dtype)
    y = xp.zeros(shape, x.dtype)
    convolve_transposed(x, w, windows, group, y)
    return _with_bias(y, b)


def over_output(
    sizes, kernel, strides, dilations, pads, auto_pad, output_shape, output_padding
) -> tuple[Windows, tuple[int, ...]]:
    """Return the windows a transposed convolution adds to, and its output's sizes."""
    rank = len(sizes)
    strides = per_axis("strides", strides, rank)
    dilations = per_axis("dilations", dilations, rank)
    extra = tuple(output_padding or (0,) * rank)
    most = map(max, strides, dilations)
    if len(extra) != rank or not all(
        0 <= n < m for n, m in zip(extra, most, strict=True)
    ):
        raise ValueError(
            f"output_padding must be {rank} numbers, each 0 to less than its stride or "
            f"dilation, found {list(extra)}"
        )
    full = [
        s * (n - 1) + more + d * (k - 1) + 1
        for n, s, more, d, k in zip(
            sizes, strides, extra, dilations, kernel, strict=True
        )
    ]
    same = auto_pad in ("SAME_UPPER", "SAME_LOWER")
    if output_shape is not None:
        out = tuple(int(n) for n in output_shape)[-rank:]
        if len(out) != rank:
            raise ValueError(f"output_shape {list(output_shape)} has no {rank} sizes")
    elif same:
        out = tuple(n * s for n, s in zip(sizes, strides, strict=True))
    if output_shape is None and not same:
        begin, end = explicit_pads(pads, rank, auto_pad)
        out = tuple(n - b - e for n, b, e in zip(full, begin, end, strict=True))
    else:
        totals = [max(0, n - o) for n, o in zip(full, out, strict=True)]
        begin, end = split_evenly(totals, extra_first=auto_pad != "SAME_UPPER")
    return Windows(tuple(kernel), strides, dilations, begin, end, tuple(sizes)), out


@table("ConvInteger", since=10)
def conv_integer(
    x,
    w,
    x_zero_point=None,
    w_zero_point=None,
    /,
    *,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    pads=None,
    strides=None,
):
    """ConvInteger: the exact int32 convolution of 8-bit integers less zero points.

    Padding stands for ``x_zero_point``; ``w_zero_point`` may be one per output channel.
    """
    check_channels(x, w, group, kernel_shape, transposed=False)
    _check_one_padding(auto_pad, pads)
    windows = place(
        x.shape[2:],
        w.shape[2:],
        strides=strides,
        dilations=dilations,
        pads=pads,
        auto_pad=auto_pad,
    )
    x, x_size = centred(x, x_zero_point)
    w, w_size = centred(w, _by_channel(w_zero_point, w.ndim, 0))
    multiply = partial(exact_product, largest=x_size * w_size)
    return convolve(x, w, windows, group, multiply, np.dtype(np.int32))


def _by_channel(values: Any, rank: int, axis: int) -> Any:
    """Lay a vector with one entry per channel along an axis; leave scalars."""
    if values is None or values.ndim == 0:
        return values
    return values.reshape(*(1,) * axis, -1, *(1,) * (rank - axis - 1))


@table("QLinearConv", since=10)
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
    dilations=None,
    group=1,
    kernel_shape=None,
    pads=None,
    strides=None,
):
    """QLinearConv: a quantized convolution, quantized again.

    ``w_scale`` and ``w_zero_point`` may be one per output channel; the int32 bias has
    the scale ``x_scale * w_scale``.
    """
    total = conv_integer(
        x,
        w,
        x_zero_point,
        w_zero_point,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    with np.errstate(all="ignore"):
        scale = x_scale * _by_channel(w_scale, x.ndim, 1) / y_scale
    return requantize(_with_bias(total, b), scale, y_zero_point)


@table("DeformConv", since=19)
def deform_conv(
    x,
    w,
    offset,
    b=None,
    mask=None,
    /,
    *,
    dilations=None,
    group=1,
    kernel_shape=None,
    offset_group=1,
    pads=None,
    strides=None,
):
    """DeformConv: a convolution, its taps moved by ``offset``, weighed by ``mask``.

    ``offset`` is ``(N, offset_group * taps * axes, *out)`` and ``mask``
    ``(N, offset_group * taps, *out)``; samples between elements are linear.
    """
    check_channels(x, w, group, kernel_shape, transposed=False)
    windows = place(
        x.shape[2:], w.shape[2:], strides=strides, dilations=dilations, pads=pads
    )
    rank, taps, count = x.ndim - 2, prod(w.shape[2:]), prod(windows.out)
    batch, groups = x.shape[0], offset_group
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(f"{x.shape[1]} channels do not divide into {groups} groups")
    _check_shape("offset", offset, (batch, groups * taps * rank, *windows.out))
    offset = offset.reshape(batch, groups, taps, rank, count)
    if mask is not None:
        _check_shape("mask", mask, (batch, groups * taps, *windows.out))
        mask = mask.reshape(batch, groups, taps, count)
    columns = deformed_columns(x, offset, mask, windows, groups)
    depth = prod(w.shape[1:])
    columns = columns.reshape(batch, group, depth, count)
    y = product(w.reshape(group, w.shape[0] // group, depth), columns)
    return _with_bias(y.reshape(batch, w.shape[0], *windows.out), b)


def _check_shape(name: str, found: Any, expected: tuple[int, ...]) -> None:
    if found.shape != expected:
        raise ValueError(
            f"{name} must have the shape {list(expected)}, found {list(found.shape)}"
        )


@table("Col2Im", since=18)
def col2im(x, image_shape, block_shape, /, *, dilations=None, pads=None, strides=None):
    """Col2Im: adds blocks ``(N, C * block, L)`` onto an image ``(N, C, *image)``."""
    image, block = tuple(ints(image_shape)), tuple(ints(block_shape))
    if x.ndim != 3 or len(image) != len(block) or x.shape[1] % max(1, prod(block)):
        raise ValueError(
            f"columns of shape {list(x.shape)} do not hold blocks of {list(block)}"
        )
    windows = place(image, block, strides=strides, dilations=dilations, pads=pads)
    if x.shape[2] != prod(windows.out):
        raise ValueError(
            f"an image of {list(image)} has {prod(windows.out)} such blocks, found "
            f"{x.shape[2]}"
        )
    if x.dtype == object:
        raise ValueError("strings cannot be added up")
    xp = namespace_of(x)
    shape = (x.shape[0], x.shape[1] // prod(block), *image)
    check_size(shape, x.dtype)
    y = xp.zeros(shape, x.dtype)
    with np.errstate(all="ignore"):
        fold(y, x.reshape(*shape[:2], *windows.kernel, *windows.out), windows)
    return y


@table("CausalConvWithState", since=27)
def causal_conv_with_state(
    x, weight, bias=None, past_state=None, /, *, activation="none"
):
    """CausalConvWithState: each channel's own kernel over present and past elements.

    ``x`` is ``(N, C, L)``, ``weight`` ``(C, 1, k)`` and the state the last ``k - 1``
    elements seen.
    """
    xp = namespace_of(x)
    if activation not in ("none", "silu", "swish"):
        raise ValueError(f"activation cannot be {activation!r}")
    if x.ndim != 3 or weight.shape[:2] != (x.shape[1], 1):
        raise ValueError(
            f"weights of shape {list(weight.shape)} do not fit an input of shape "
            f"{list(x.shape)}"
        )
    before = weight.shape[2] - 1
    if past_state is None:
        past_state = xp.zeros((*x.shape[:2], before), x.dtype)
    _check_shape("past_state", past_state, (*x.shape[:2], before))
    seen = xp.concatenate([past_state, x], axis=2)
    length = x.shape[2]
    with np.errstate(all="ignore"):
        y = seen[:, :, :length] * weight[:, 0, 0, None]
        for tap in range(1, before + 1):
            y += seen[:, :, tap : tap + length] * weight[:, 0, tap, None]
        y = _with_bias(y, bias)
        if activation != "none":
            y /= 1 + xp.exp(-y)
    return y, seen[:, :, length:]
