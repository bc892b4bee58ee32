"""Input windows whose every tap is moved by an offset, sampled linearly."""

from __future__ import annotations

from itertools import product as combinations
from math import prod
from typing import Any

import numpy as np

from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._windows import Windows


def deformed_columns(
    x: Any, offset: Any, mask: Any, windows: Windows, groups: int
) -> Any:
    """Return columns ``(N, C, taps, L)`` of ``x (N, C, *in)`` at moved positions.

    ``offset`` is ``(N, groups, taps, axes, L)`` and ``mask``, which weighs the samples,
    ``(N, groups, taps, L)`` or ``None``.
    """
    xp = namespace_of(x, offset)
    batch, channels, *sizes = x.shape
    count = prod(windows.out)
    flat = x.reshape(batch, groups, channels // groups, prod(sizes))
    shape = (batch, groups, channels // groups, prod(windows.kernel), count)
    columns = xp.zeros(shape, x.dtype)
    corner = _corners(xp, windows, x.dtype)
    for tap, place in enumerate(combinations(*map(range, windows.kernel))):
        shift = xp.asarray(place) * xp.asarray(windows.dilations)
        at = corner + shift.astype(x.dtype)[:, None] + offset[:, :, tap]
        _add_samples(xp, flat, at, sizes, columns[:, :, :, tap])
        if mask is not None:
            columns[:, :, :, tap] *= mask[:, :, None, tap]
    return columns.reshape(batch, channels, shape[3], count)


def _corners(xp: Any, windows: Windows, dtype: Any) -> Any:
    """Return where each window begins, ``(axes, L)``, counted without padding."""
    ranges = [
        xp.arange(out, dtype=dtype) * stride - begin
        for out, stride, begin in zip(
            windows.out, windows.strides, windows.begin, strict=True
        )
    ]
    grid = xp.meshgrid(*ranges, indexing="ij")
    return xp.stack([axis.reshape(-1) for axis in grid])


def _add_samples(xp: Any, flat: Any, at: Any, sizes: list[int], out: Any) -> None:
    """Add linear samples of ``flat (N, G, C, S)`` at ``(N, G, axes, L)`` onto ``out``.

    Elements outside count as zero.
    """
    pairs = list(np.ndindex(*flat.shape[:2]))
    with np.errstate(all="ignore"):
        floor = xp.floor(at)
        beyond = at - floor
        for ends in combinations((0, 1), repeat=len(sizes)):
            index, weight = 0, 1
            for axis, (end, size) in enumerate(zip(ends, sizes, strict=True)):
                position = floor[:, :, axis] + end
                inside = (position >= 0) & (position < size)
                part = beyond[:, :, axis]
                weight = weight * xp.where(inside, part if end else 1 - part, 0)
                position = xp.where(inside, position, 0).astype(np.int64)
                index = index * size + position
            weight = weight.astype(flat.dtype, copy=False)
            for pair in pairs:
                found = flat[pair].take(index[pair], axis=1)
                found *= weight[pair]
                out[pair] += found
