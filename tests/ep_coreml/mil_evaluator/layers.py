"""MIL's layers in NumPy: convolutions, pools, norms, recurrent layers and sampling."""

from __future__ import annotations

import numpy as np

from mil_evaluator.registry import ints, operation

# windows


def _around(kind, pad, sizes, kernel, strides, dilations):
    """Return the padding before and after each axis."""
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    if kind == "custom":
        flat = ints(pad) if pad is not None else [0] * (2 * len(sizes))
        return list(zip(flat[::2], flat[1::2], strict=True))
    found = []
    for size, window, stride, dilation in zip(
        sizes, kernel, strides, dilations, strict=True
    ):
        reach = (window - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        small, large = total // 2, total - total // 2
        found.append((small, large) if kind == "same" else (large, small))
    return found


def _windows(x, kernel, strides, dilations, around, filler):
    """Return (batch, channels, out…, kernel…)."""
    count = len(kernel)
    padded = np.pad(x, [(0, 0), (0, 0), *around], constant_values=filler)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    axes = tuple(range(2, 2 + count))
    views = np.lib.stride_tricks.sliding_window_view(padded, reach, axes)
    picks = [slice(None)] * 2 + [slice(None, None, s) for s in strides]
    picks += [slice(None, None, d) for d in dilations]
    return views[tuple(picks)]


@operation("conv")
def conv(
    x,
    weight,
    bias=None,
    strides=None,
    pad_type="valid",
    pad=None,
    dilations=None,
    groups=1,
):
    count = x.ndim - 2
    strides = ints(strides) if strides is not None else [1] * count
    dilations = ints(dilations) if dilations is not None else [1] * count
    kernel, groups = weight.shape[2:], int(groups)
    around = _around(str(pad_type), pad, x.shape[2:], kernel, strides, dilations)
    views = _windows(x, kernel, strides, dilations, around, 0)
    out = views.shape[2 : 2 + count]
    made = []
    for part, filters in zip(
        np.split(views, groups, 1), np.split(weight, groups, 0), strict=True
    ):
        order = [0, *range(2, 2 + count), 1, *range(2 + count, 2 + 2 * count)]
        rows = part.transpose(order).reshape(-1, filters[0].size)
        flat = rows @ filters.reshape(len(filters), -1).T
        made.append(np.moveaxis(flat.reshape(x.shape[0], *out, -1), -1, 1))
    y = np.concatenate(made, 1)
    return y if bias is None else y + np.reshape(bias, [-1] + [1] * count)


@operation("conv_transpose")
def conv_transpose(
    x, weight, bias=None, pad=None, output_shape=None, pad_type="valid", strides=None,
    dilations=None, groups=1,
):  # fmt: skip
    count, groups = x.ndim - 2, int(groups)
    strides = ints(strides) if strides is not None else [1] * count
    dilations = ints(dilations) if dilations is not None else [1] * count
    kernel = weight.shape[2:]
    size = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(x.shape[2:], strides, kernel, dilations, strict=True)
    ]
    per = weight.shape[1]
    full = np.zeros((x.shape[0], per * groups, *size), x.dtype)
    for group in range(groups):
        part = np.split(x, groups, 1)[group]
        filters = np.split(weight, groups, 0)[group]
        for place in np.ndindex(*kernel):
            taps = np.einsum("nc...,co->no...", part, filters[(..., *place)])
            where = tuple(
                slice(p * d, p * d + (n - 1) * s + 1, s)
                for p, d, n, s in zip(
                    place, dilations, x.shape[2:], strides, strict=True
                )
            )
            full[(slice(None), slice(group * per, (group + 1) * per), *where)] += taps
    around = [(0, 0)] * count
    if str(pad_type) == "custom":
        flat = ints(pad)
        around = list(zip(flat[::2], flat[1::2], strict=True))
    inner = tuple(slice(b, n - e) for (b, e), n in zip(around, size, strict=True))
    y = full[(slice(None), slice(None), *inner)]
    return y if bias is None else y + np.reshape(bias, [-1] + [1] * count)


def _pool(x, kernel_sizes, strides, pad_type, pad, filler):
    count = x.ndim - 2
    kernel = ints(kernel_sizes)
    strides = ints(strides) if strides is not None else [1] * count
    ones = [1] * count
    around = _around(str(pad_type), pad, x.shape[2:], kernel, strides, ones)
    views = _windows(x, kernel, strides, ones, around, filler)
    return views, tuple(range(-count, 0))


@operation("max_pool")
def max_pool(x, kernel_sizes, pad_type, strides=None, pad=None, ceil_mode=False):
    assert not ceil_mode
    views, axes = _pool(x, kernel_sizes, strides, pad_type, pad, -np.inf)
    return views.max(axis=axes)


@operation("avg_pool")
def avg_pool(
    x, kernel_sizes, pad_type, strides=None, pad=None, exclude_padding_from_average=False,
    ceil_mode=False,
):  # fmt: skip
    assert not ceil_mode
    views, axes = _pool(x, kernel_sizes, strides, pad_type, pad, 0)
    if not exclude_padding_from_average:
        return views.mean(axis=axes)
    count, _ = _pool(np.ones_like(x), kernel_sizes, strides, pad_type, pad, 0)
    return views.sum(axis=axes) / count.sum(axis=axes)


@operation("l2_pool")
def l2_pool(x, kernel_sizes, pad_type, strides=None, pad=None, ceil_mode=False):
    views, axes = _pool(x * x, kernel_sizes, strides, pad_type, pad, 0)
    return np.sqrt(views.sum(axis=axes))


# norms


def _channels(array, rank):
    return np.reshape(array, [1, -1] + [1] * (rank - 2))


@operation("batch_norm")
def batch_norm(x, mean, variance, gamma=1.0, beta=0.0, epsilon=1e-5):
    mean, variance = _channels(mean, x.ndim), _channels(variance, x.ndim)
    unit = (x - mean) / np.sqrt(variance + epsilon)
    return unit * _channels(gamma, x.ndim) + _channels(beta, x.ndim)


@operation("instance_norm")
def instance_norm(x, gamma=1.0, beta=0.0, epsilon=1e-5):
    axes = tuple(range(2, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = (centred**2).mean(axis=axes, keepdims=True)
    unit = centred / np.sqrt(variance + epsilon)
    return unit * _channels(gamma, x.ndim) + _channels(beta, x.ndim)


@operation("layer_norm")
def layer_norm(x, axes=None, gamma=None, beta=None, epsilon=1e-5):
    axes = tuple(range(x.ndim)) if axes is None else tuple(ints(axes))
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = (centred**2).mean(axis=axes, keepdims=True)
    unit = centred / np.sqrt(variance + epsilon)
    unit = unit if gamma is None else unit * gamma
    return unit if beta is None else unit + beta


@operation("l2_norm")
def l2_norm(x, epsilon=1e-6):
    axes = tuple(range(max(x.ndim - 3, 0), x.ndim))
    return x / np.sqrt((x * x).sum(axis=axes, keepdims=True) + epsilon)


@operation("local_response_norm")
def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    half = int(size) // 2
    squares = np.pad(x * x, [(0, 0), (half, half)] + [(0, 0)] * (x.ndim - 2))
    total = sum(squares[:, i : i + x.shape[1]] for i in range(int(size)))
    return x / (k + alpha / int(size) * total) ** beta


# recurrent layers


def _function(name):
    return {
        "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
        "tanh": np.tanh,
        "relu": lambda v: np.maximum(v, 0),
        "linear": lambda v: v,
    }[str(name)]


@operation("lstm")
def lstm(
    x, initial_h, initial_c, weight_ih, weight_hh, bias=0.0, peephole=None,
    direction="forward", output_sequence=False, recurrent_activation="sigmoid",
    cell_activation="tanh", activation="tanh",
):  # fmt: skip
    assert direction == "forward"
    gate, cell, out = map(
        _function, (recurrent_activation, cell_activation, activation)
    )
    h, c, made = initial_h, initial_c, []
    pi, pf, po = np.split(peephole, 3) if peephole is not None else (0.0, 0.0, 0.0)
    for step in x:
        i, f, o, z = np.split(step @ weight_ih.T + h @ weight_hh.T + bias, 4, axis=1)
        i, f = gate(i + pi * c), gate(f + pf * c)
        c = f * c + i * cell(z)
        h = gate(o + po * c) * out(c)
        made.append(h)
    return np.stack(made) if output_sequence else h[None], h, c


@operation("rnn")
def rnn(
    x, initial_h, weight_ih, weight_hh, bias=0.0, direction="forward",
    output_sequence=False, activation="tanh",
):  # fmt: skip
    assert direction == "forward"
    function, h, made = _function(activation), initial_h, []
    for step in x:
        h = function(step @ weight_ih.T + h @ weight_hh.T + bias)
        made.append(h)
    return np.stack(made) if output_sequence else h[None], h


# sampling


def _pixels(place, size, align):
    return (place + 1) / 2 * (size - 1) if align else ((place + 1) * size - 1) / 2


PADDED = {
    "border": lambda place, size: np.clip(place, 0, size - 1),
    "reflection": lambda place, size: _reflected(place, max(2 * (size - 1), 1), size),
    "symmetric": lambda place, size: _mirrored(place, size),
    "constant": lambda place, size: place,
}
"""The pixel that stands where an image of a size is padded, by MIL's examples in one axis."""


def _reflected(place, period, size):
    """|1, 2, 3| -> |2, 3, 2, 1, 2, 3, 2, 1, 2|: the edges are not repeated."""
    rest = np.mod(place, period)
    return np.minimum(rest, period - rest) if size > 1 else np.zeros_like(place)


def _mirrored(place, size):
    """|1, 2, 3| -> |3, 2, 1, 1, 2, 3, 3, 2, 1|: the edges are repeated."""
    rest = np.mod(place, 2 * size)
    return np.minimum(rest, 2 * size - 1 - rest)


@operation("resample")
def resample(
    x, coordinates, sampling_mode, padding_mode, padding_value, coordinates_mode,
    align_corners,
):  # fmt: skip
    """Blend the four pixels around each place, of the image padded without end."""
    assert sampling_mode == "bilinear"
    assert coordinates_mode == "normalized_minus_one_to_one"
    height, width = x.shape[2:]
    rows = _pixels(coordinates[..., 1], height, align_corners)
    columns = _pixels(coordinates[..., 0], width, align_corners)
    padded = PADDED[str(padding_mode)]
    total = np.zeros((x.shape[0], x.shape[1], *rows.shape[1:]), x.dtype)
    for down in (0, 1):
        for right in (0, 1):
            r = np.floor(rows).astype(int) + down
            c = np.floor(columns).astype(int) + right
            weight = (1 - abs(rows - r)) * (1 - abs(columns - c))
            r, c = padded(r, height), padded(c, width)
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            r, c = np.clip(r, 0, height - 1), np.clip(c, 0, width - 1)
            for n in range(len(x)):
                values = np.where(inside[n], x[n][:, r[n], c[n]], padding_value)
                total[n] += values * weight[n]
    return total
