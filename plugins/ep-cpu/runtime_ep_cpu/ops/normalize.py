"""Normalizations: over the batch, over features, over groups and over channels."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.dtypes import float_type
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._precision import rounded, wide
from runtime_ep_cpu.ops._windows import Windows, reduce_windows

table = KernelTable()


@table("BatchNormalization", since=1)
def batch_normalization_1(
    x,
    scale,
    b,
    mean,
    var,
    /,
    *,
    consumed_inputs,
    epsilon=9.999999747378752e-06,
    is_test=0,
    momentum=0.8999999761581421,
    spatial=1,
):
    """BatchNormalization of opset 1 to 5: ``consumed_inputs`` says nothing."""
    return batch_normalization_6(
        x,
        scale,
        b,
        mean,
        var,
        epsilon=epsilon,
        is_test=is_test,
        momentum=momentum,
        spatial=spatial,
    )


@table("BatchNormalization", since=6)
def batch_normalization_6(
    x,
    scale,
    b,
    mean,
    var,
    /,
    *,
    epsilon=9.999999747378752e-06,
    is_test=0,
    momentum=0.8999999761581421,
    spatial=1,
):
    """BatchNormalization of opset 6: trains unless ``is_test`` is set."""
    if is_test:
        return _by_statistics(x, scale, b, mean, var, epsilon, spatial)
    return _training(x, scale, b, mean, var, epsilon, momentum, spatial)


@table("BatchNormalization", since=7)
def batch_normalization_7(
    x,
    scale,
    b,
    mean,
    var,
    /,
    *,
    call,
    epsilon=9.999999747378752e-06,
    momentum=0.8999999761581421,
    spatial=1,
):
    """BatchNormalization of opset 7 and 8: trains if the node has further outputs."""
    if any(output.name for output in call.node.outputs[1:]):
        return _training(x, scale, b, mean, var, epsilon, momentum, spatial)
    return _by_statistics(x, scale, b, mean, var, epsilon, spatial)


@table("BatchNormalization", since=9)
def batch_normalization_9(
    x,
    scale,
    b,
    mean,
    var,
    /,
    *,
    call,
    epsilon=9.999999747378752e-06,
    momentum=0.8999999761581421,
):
    """BatchNormalization of opset 9 to 13: always per channel."""
    return batch_normalization_7(
        x, scale, b, mean, var, call=call, epsilon=epsilon, momentum=momentum
    )


@table("BatchNormalization", since=14, traits=("typed",))
def batch_normalization(
    x,
    scale,
    b,
    input_mean,
    input_var,
    /,
    *,
    epsilon=9.999999747378752e-06,
    momentum=0.8999999761581421,
    training_mode=0,
):
    """BatchNormalization: by given statistics, or by the batch's own in training.

    The running statistics keep the type of the given ones.
    """
    arguments = [wide(value) for value in (x, scale, b, input_mean, input_var)]
    if not training_mode:
        return rounded(_by_statistics(*arguments, epsilon, 1), x.dtype)
    y, mean, var, *_ = _training(*arguments, epsilon, momentum, 1)
    return (
        rounded(y, x.dtype),
        rounded(mean, input_mean.dtype),
        rounded(var, input_var.dtype),
    )


def _check_statistics(x: Any, values: tuple[Any, ...], spatial: int) -> tuple[int, ...]:
    """Return the shape that statistics must have, one per channel or per element."""
    shape = x.shape[1:] if not spatial else x.shape[1:2] if x.ndim > 1 else (1,)
    for value in values:
        if value.shape != shape:
            raise ValueError(
                f"statistics of shape {list(value.shape)} do not fit an input of shape "
                f"{list(x.shape)}"
            )
    return shape


def _per_channel(values: Any, x: Any, spatial: int) -> Any:
    """Lay statistics along axis 1 of ``x``, or over all its axes but the first."""
    shape = _check_statistics(x, (values,), spatial)
    return values.reshape(*shape, *(1,) * (x.ndim - 2)) if spatial else values


def _by_statistics(
    x: Any, scale: Any, b: Any, mean: Any, var: Any, epsilon: float, spatial: int
) -> Any:
    """Normalize as one multiplication and one addition per element."""
    xp = namespace_of(x)
    _check_statistics(x, (scale, b, mean, var), spatial)
    with np.errstate(all="ignore"):
        factor = scale / xp.sqrt(var + var.dtype.type(epsilon))
        offset = _per_channel(b - mean * factor, x, spatial)
        y = x * rounded(_per_channel(factor, x, spatial), x.dtype)
        y += rounded(offset, x.dtype)
    return y


def _training(
    x: Any,
    scale: Any,
    b: Any,
    mean: Any,
    var: Any,
    epsilon: float,
    momentum: float,
    spatial: int,
) -> tuple[Any, ...]:
    """Return the result, the running mean and variance, and the batch's own."""
    _check_statistics(x, (scale, b, mean, var), spatial)
    axes = tuple(axis for axis in range(x.ndim) if axis != 1) if spatial else (0,)
    with np.errstate(all="ignore"):
        own_mean = _mean(x, axes)
        own_var = _mean((x - own_mean) ** 2, axes).reshape(var.shape)
        own_mean = own_mean.reshape(mean.shape)
        y = _by_statistics(x, scale, b, own_mean, own_var, epsilon, spatial)
        keep, take = x.dtype.type(momentum), x.dtype.type(1 - momentum)
        running_mean = mean * keep + own_mean * take
        running_var = var * keep + own_var * take
    return y, running_mean, running_var, own_mean, own_var


@table("InstanceNormalization", since=1)
def instance_normalization_1(
    x, scale, b, /, *, consumed_inputs=None, epsilon=9.999999747378752e-06
):
    """InstanceNormalization of opset 1 to 5: ``consumed_inputs`` says nothing."""
    return instance_normalization(x, scale, b, epsilon=epsilon)


@table("InstanceNormalization", since=6)
def instance_normalization(x, scale, b, /, *, epsilon=9.999999747378752e-06):
    """InstanceNormalization: each channel of each image by its own statistics."""
    return _by_groups(x, scale, b, x.shape[1] if x.ndim > 1 else 0, epsilon)


@table("GroupNormalization", since=18)
def group_normalization_18(
    x, scale, bias, /, *, epsilon=9.999999747378752e-06, num_groups
):
    """GroupNormalization of opset 18 to 20: scale and bias are per group."""
    each = x.shape[1] // max(1, num_groups) if x.ndim > 1 else 1
    xp = namespace_of(x)
    scale, bias = xp.repeat(scale, each), xp.repeat(bias, each)
    return _by_groups(x, scale, bias, num_groups, epsilon)


@table("GroupNormalization", since=21, traits=("typed",))
def group_normalization(
    x, scale, bias, /, *, epsilon=9.999999747378752e-06, num_groups, stash_type=1
):
    """GroupNormalization: groups of channels by their statistics; scale per channel."""
    scale, bias = wide(scale), wide(bias)
    y = _by_groups(_stashed(x, stash_type), scale, bias, num_groups, epsilon)
    return rounded(y, x.dtype)


def _mean(x: Any, axes: tuple[int, ...]) -> Any:
    """Return the mean over some axes, which stay with size 1; of nothing it is NaN."""
    count = prod(x.shape[axis] for axis in axes)
    return x.sum(axis=axes, keepdims=True) / x.dtype.type(count)


def _by_groups(x: Any, scale: Any, b: Any, groups: int, epsilon: float) -> Any:
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        raise ValueError(
            f"channels of an input of shape {list(x.shape)} do not divide into "
            f"{groups} groups"
        )
    inner = prod(x.shape[1:]) // groups
    y, _, _ = _standardized(x.reshape(x.shape[0], groups, inner), epsilon)
    y = y.reshape(x.shape)
    with np.errstate(all="ignore"):
        y *= _per_channel(scale, x, 1)
        y += _per_channel(b, x, 1)
    return y


def _standardized(rows: Any, epsilon: float, centre: bool = True) -> tuple[Any, ...]:
    """Return rows less their mean over their deviation, with both: ``(..., 1)``.

    Without ``centre`` the mean is taken for 0.
    """
    xp = namespace_of(rows)
    count = rows.shape[-1]
    with np.errstate(all="ignore"):
        mean = _mean(rows, (-1,)) if centre else None
        y = rows - mean if centre else rows
        squares = xp.matmul(y[..., None, :], y[..., None])[..., 0]
        inverse = 1 / xp.sqrt(squares / count + rows.dtype.type(epsilon))
        y = xp.multiply(y, inverse, out=y) if centre else y * inverse
    return y, mean, inverse


def _stashed(x: Any, stash_type: int) -> Any:
    """Return the values that stage one computes with, at least as wide as float32."""
    stash = float_type(stash_type, "stash_type")
    if stash.itemsize < x.dtype.itemsize <= 4:
        x = rounded(x, stash)
    return wide(x)


@table("LayerNormalization", since=17, traits=("typed",))
def layer_normalization(
    x,
    scale,
    b=None,
    /,
    *,
    call,
    axis=-1,
    epsilon=9.999999747378752e-06,
    stash_type=1,
):
    """LayerNormalization over the axes from ``axis`` on.

    Mean and inverse deviation have the type ``stash_type``; doubles are computed as
    doubles all the same.
    """
    rows, kept = _rows(x, axis)
    y, mean, inverse = _standardized(_stashed(rows, stash_type), epsilon)
    y = y.reshape(x.shape)
    with np.errstate(all="ignore"):
        y *= wide(scale)
        if b is not None:
            y += wide(b)
    y = rounded(y, x.dtype)
    if not any(call.wanted[1:]):
        return y
    stash = float_type(stash_type, "stash_type")
    return (
        y,
        rounded(mean.reshape(kept), stash),
        rounded(inverse.reshape(kept), stash),
    )


def _rows(x: Any, axis: int) -> tuple[Any, tuple[int, ...]]:
    """Flatten the axes before ``axis``, and those from it on; and the kept shape."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis {axis} is outside an input of rank {x.ndim}")
    axis %= x.ndim
    lead, rest = x.shape[:axis], x.shape[axis:]
    return x.reshape(prod(lead), prod(rest)), (*lead, *(1,) * len(rest))


@table("RMSNormalization", since=23, traits=("typed",))
def rms_normalization(
    x, scale, /, *, axis=-1, epsilon=9.999999747378752e-06, stash_type=1
):
    """RMSNormalization: the axes from ``axis`` on over their root mean square.

    The result has the type of ``scale``.
    """
    rows, _ = _rows(x, axis)
    y, _, _ = _standardized(_stashed(rows, stash_type), epsilon, centre=False)
    with np.errstate(all="ignore"):
        y = y.reshape(x.shape) * wide(scale)
    return rounded(y, scale.dtype)


@table("LRN", since=1)
def lrn(x, /, *, alpha=9.999999747378752e-05, beta=0.75, bias=1.0, size):
    """LRN: each element over a power of the squares in the channels around it."""
    if x.ndim < 2 or size < 1:
        raise ValueError(
            f"{size} channels cannot be summed in an input of shape {list(x.shape)}"
        )
    xp = namespace_of(x)
    channels, inner = x.shape[1], prod(x.shape[2:])
    before, after = min((size - 1) // 2, channels), min(size // 2, channels)
    out = (channels, inner)
    around = Windows(
        (before + 1 + after, 1), (1, 1), (1, 1), (before, 0), (after, 0), out
    )
    with np.errstate(all="ignore"):
        squares = (x * x).reshape(x.shape[0], channels, inner)
        y = reduce_windows(xp, squares, around, xp.add, 0).reshape(x.shape)
        y *= x.dtype.type(alpha / size)
        y += x.dtype.type(bias)
        y **= x.dtype.type(-beta)
        y *= x
    return y


@table("LpNormalization", since=1)
def lp_normalization(x, /, *, axis=-1, p=2):
    """LpNormalization: vectors along an axis over their norm; zeros stay zeros."""
    if p not in (1, 2):
        raise ValueError(f"p must be 1 or 2, found {p}")
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis {axis} is outside an input of rank {x.ndim}")
    xp = namespace_of(x)
    with np.errstate(all="ignore"):
        if p == 1:
            norm = xp.abs(x).sum(axis=axis, keepdims=True)
        else:
            norm = xp.sqrt((x * x).sum(axis=axis, keepdims=True))
        return x / xp.where(norm == 0, x.dtype.type(1), norm)


@table("MeanVarianceNormalization", since=9)
def mean_variance_normalization(x, /, *, axes=(0, 2, 3)):
    """MeanVarianceNormalization: ``(x - mean) / (deviation + 1e-9)`` over some axes."""
    xp = namespace_of(x)
    if any(not -x.ndim <= axis < x.ndim for axis in axes):
        raise ValueError(f"axes {list(axes)} are outside an input of rank {x.ndim}")
    axes = tuple(axis % x.ndim for axis in axes)
    with np.errstate(all="ignore"):
        y = x - _mean(x, axes)
        deviation = xp.sqrt(_mean(y * y, axes))
        y /= deviation + x.dtype.type(1e-9)
    return y
