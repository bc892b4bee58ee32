"""How GridSample reads pixels: coordinates, padding and weighted gathers."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from runtime_ep_cpu.dtypes import is_narrow
from runtime_ep_cpu.namespace import namespace_of

PADDINGS = ("zeros", "border", "reflection")
CUBIC_A = -0.75


@np.errstate(all="ignore")
def grid_sample(x: Any, grid: Any, mode: str, padding: str, corners: bool) -> Any:
    """Sample [N, C, *in] at normalised points [N, *out, rank]: [N, C, *out]."""
    xp = namespace_of(x, grid)
    _check(x, grid, mode, padding)
    batch, channels, *lengths = x.shape
    shape = grid.shape[1:-1]
    if 0 in (batch, channels, *shape):
        return xp.empty((batch, channels, *shape), x.dtype)
    wide = _computed_in(x, mode)
    points = grid.astype(np.float32) if is_narrow(grid) else grid
    points = points.reshape(batch, -1, len(lengths))
    result = xp.empty((batch, channels, points.shape[1]), wide)
    for n in range(batch):
        taps = [
            _taps(points[n, :, -1 - axis], length, mode, padding, corners)
            for axis, length in enumerate(lengths)
        ]
        image = x[n].reshape(channels, -1).astype(wide, copy=False)
        _gather(image, taps, lengths, padding == "zeros", result[n])
    return _rounded(result, x).reshape(batch, channels, *shape)


def _check(x: Any, grid: Any, mode: str, padding: str) -> None:
    if x.ndim < 3 or grid.ndim != x.ndim or grid.shape[-1] != x.ndim - 2:
        raise ValueError(
            f"a grid of shape {list(grid.shape)} cannot sample an input of shape "
            f"{list(x.shape)}: it needs the same rank and one coordinate per axis"
        )
    if grid.shape[0] != x.shape[0]:
        raise ValueError(f"{grid.shape[0]} grids were given for {x.shape[0]} images")
    if mode not in ("nearest", "linear", "cubic"):
        raise ValueError(f"unknown GridSample mode {mode!r}")
    if padding not in PADDINGS:
        raise ValueError(f"unknown padding_mode {padding!r}")
    if 0 in x.shape[2:] and grid.size:
        raise ValueError("an image without pixels cannot be sampled")


def _computed_in(x: Any, mode: str) -> Any:
    if mode == "nearest":
        return x.dtype
    if x.dtype.kind == "O":
        raise ValueError(f"strings cannot be sampled with mode {mode!r}")
    if is_narrow(x) or x.dtype.kind == "b":
        return np.dtype(np.float32)
    return x.dtype if x.dtype.kind in "fc" else np.dtype(np.float64)


def _rounded(result: Any, x: Any) -> Any:
    if x.dtype.kind in "iu" and result.dtype != x.dtype:
        limits = np.iinfo(x.dtype)
        result = namespace_of(x).trunc(result).clip(limits.min, limits.max)
    return result.astype(x.dtype, copy=False)


def _taps(
    point: Any, length: int, mode: str, padding: str, corners: bool
) -> list[tuple[Any, Any]]:
    """Return, for one axis, each tap's pixel (-1: outside) and weight (or None).

    Padding applies to each tap, not to the point: cubic points beside the border still
    see inner pixels, as in PyTorch and onnxruntime.
    """
    xp = namespace_of(point)
    low, high = (0.0, length - 1.0) if corners else (-0.5, length - 0.5)
    where = low + (point + 1) * ((high - low) / 2)
    if mode == "nearest":
        where = xp.rint(where)
    if padding == "reflection":
        where = xp.where(xp.isfinite(where), where, low).astype(where.dtype)
    where = xp.nan_to_num(where, nan=-length - 8.0, posinf=2.0**62, neginf=-(2.0**62))
    if padding == "reflection":
        where = _reflected(where, low, high)
    else:
        where = where.clip(-4, length + 4)
    base = xp.floor(where)
    part = where - base
    first = base.astype(np.int64)
    if mode == "nearest":
        steps: list[tuple[int, Any]] = [(0, None)]
    elif mode == "linear":
        steps = [(0, 1 - part), (1, part)]
    else:
        steps = list(zip(range(-1, 3), _cubic(part), strict=True))
    return [(_inside(first + k, length, padding, low, high), w) for k, w in steps]


def _inside(index: Any, length: int, padding: str, low: float, high: float) -> Any:
    xp = namespace_of(index)
    if padding == "border":
        return index.clip(0, length - 1)
    if padding == "reflection":
        index = _reflected(index.astype(np.float64), low, high).astype(np.int64)
        return index.clip(0, length - 1)
    return xp.where((index < 0) | (index >= length), -1, index)


def _reflected(where: Any, low: float, high: float) -> Any:
    """Mirror coordinates at both borders until they lie between them."""
    xp = namespace_of(where)
    span = high - low
    if span <= 0:
        return xp.full_like(where, low)
    outside = (where < low) | (where > high)
    distance = abs(where - low) % (2 * span)
    mirrored = low + xp.where(distance > span, 2 * span - distance, distance)
    return xp.where(outside, mirrored, where)


def _cubic(part: Any) -> list[Any]:
    """Return the four weights of Keys' kernel for a fractional position."""
    a = CUBIC_A

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(part + 1), near(part), near(1 - part), far(2 - part)]


def _gather(
    image: Any, taps: list[Any], lengths: list[int], zeros: bool, result: Any
) -> None:
    """Sum the products of all axes' taps of an image [C, pixels] into ``result``."""
    xp = namespace_of(image)
    blank = image.shape[1]
    if zeros:
        # Points outside read one more pixel, which is zero.
        zero = xp.zeros((image.shape[0], 1), image.dtype)
        if image.dtype.kind == "O":
            zero[...] = ""
        image = xp.concatenate([image, zero], axis=1)
    for number, combination in enumerate(product(*taps)):
        flat, weight, outside = None, None, None
        for length, (index, factor) in zip(lengths, combination, strict=True):
            beyond = index < 0 if zeros else None
            flat = index if flat is None else flat * length + index
            if zeros:
                outside = beyond if outside is None else outside | beyond
            if factor is not None:
                weight = factor if weight is None else weight * factor
        if zeros:
            flat = xp.where(outside, blank, flat)
        part = image.take(flat, axis=1)
        if weight is not None:
            part *= weight
        if number:
            result += part
        else:
            result[...] = part
