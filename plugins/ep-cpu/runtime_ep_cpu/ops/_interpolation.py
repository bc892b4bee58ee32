"""How Resize interpolates: coordinates, taps and weighted sums along single axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime_ep_cpu.dtypes import is_narrow
from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of

MATMUL_WINDOW_PER_TAP = 48
WINDOW = 96

ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True, slots=True)
class Axis:
    """How one axis is resized.

    ``width`` is the output length before rounding down (scale × input length), which
    some coordinate modes use; ``roi`` is the cropped part in normalised coordinates;
    ``precision`` is the relative error of the width, hence of coordinates.
    """

    axis: int
    length: int
    size: int
    width: float
    roi: tuple[float, float] = (0.0, 1.0)
    precision: float = 2.0**-48

    @property
    def scale(self) -> float:
        return self.width / self.length


@dataclass(frozen=True, slots=True)
class Method:
    """Everything that is the same for all axes."""

    mode: str
    coordinates: str = "asymmetric"
    rounding: str = "floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    extrapolation: float = 0.0

    @property
    def crops(self) -> bool:
        return self.coordinates == "tf_crop_and_resize"


@np.errstate(all="ignore")
def resized(x: Any, plan: list[Axis], method: Method) -> Any:
    shape = list(x.shape)
    for axis in plan:
        shape[axis.axis] = axis.size
        if axis.size > 0 and axis.length == 0:
            raise ValueError(f"an empty axis cannot be resized to {axis.size}")
    check_size(shape, x.dtype)
    if 0 in shape:
        return namespace_of(x).empty(shape, dtype=x.dtype)
    moving = _cheapest_first(changing(plan, method))
    if method.mode == "nearest":
        return _nearest(x, moving, method)
    if method.mode not in ("linear", "cubic"):
        raise ValueError(f"unknown Resize mode {method.mode!r}")
    return _interpolate(x, moving, method)


def changing(plan: list[Axis], method: Method) -> list[Axis]:
    """Return the axes whose pixels do not stay what they are."""
    return [
        a for a in plan if method.crops or a.width != a.length or a.size != a.length
    ]


def _cheapest_first(plan: list[Axis]) -> list[Axis]:
    """Shrink before growing; of the growing axes the innermost first."""
    shrinking = [a for a in plan if a.size <= a.length]
    growing = [a for a in plan if a.size > a.length]
    by_axis = sorted(shrinking, key=lambda a: a.axis)
    return by_axis + sorted(growing, key=lambda a: -a.axis)


def _coordinates(axis: Axis, mode: str) -> np.ndarray:
    """Return where each output pixel lies on the input axis."""
    y = np.arange(axis.size, dtype=np.float64)
    last, single = axis.length - 1, axis.size == 1
    if mode == "align_corners":
        return y if single else y * last / (axis.width - 1)
    if mode == "asymmetric":
        return y * axis.length / axis.width
    if mode == "tf_crop_and_resize":
        start, end = axis.roi
        if single:
            return np.full(1, 0.5 * (start + end) * last)
        return start * last + y * ((end - start) * last) / (axis.size - 1)
    if mode == "pytorch_half_pixel" and single:
        return y
    if mode == "tf_half_pixel_for_nn":
        return (y + 0.5) * axis.length / axis.width
    if mode not in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
        raise ValueError(f"unknown coordinate_transformation_mode {mode!r}")
    offset = 0.0
    if mode == "half_pixel_symmetric":
        offset = axis.length / 2 * (1 - axis.size / axis.width)
    return offset + (y + 0.5) * axis.length / axis.width - 0.5


def outside(axis: Axis, method: Method) -> np.ndarray:
    """Tell which output pixels are extrapolated; rounding errors of the ends are not."""
    x = _coordinates(axis, method.coordinates)
    slack = 1e-6 * axis.length
    return (x < -slack) | (x > axis.length - 1 + slack)


def _snapped(x: np.ndarray, precision: float) -> np.ndarray:
    """Put coordinates that are halves but for their rounding error onto the half."""
    half = np.rint(2 * x) / 2
    return np.where(np.abs(x - half) <= precision * (np.abs(x) + 1), half, x)


def _nearest(x: Any, plan: list[Axis], method: Method) -> Any:
    result = x
    for axis in plan:
        result = _pick(result, nearest(axis, method), axis.axis)
    return _extrapolated(result, plan, method)


def nearest(axis: Axis, method: Method) -> np.ndarray:
    """Return the input pixel [out] that is the nearest of each output pixel."""
    where = _snapped(_coordinates(axis, method.coordinates), axis.precision)
    rounding = method.rounding
    if rounding == "simple":
        rounding = "ceil" if axis.scale < 1 else "floor"
    if rounding not in ROUNDINGS:
        raise ValueError(f"unknown nearest_mode {rounding!r}")
    return ROUNDINGS[rounding](where).astype(np.int64).clip(0, axis.length - 1)


def _pick(x: Any, indices: np.ndarray, axis: int) -> Any:
    """Gather along an axis; regular indices need no gather."""
    length, count = x.shape[axis], len(indices)
    before = (slice(None),) * axis
    repeats = count // length
    if repeats * length == count and np.array_equal(
        indices, np.arange(count) // repeats
    ):
        xp = namespace_of(x)
        grown = xp.empty((*x.shape[:axis], count, *x.shape[axis + 1 :]), x.dtype)
        for offset in range(repeats):
            grown[(*before, slice(offset, None, repeats))] = x
        return grown
    step = int(indices[1] - indices[0]) if count > 1 else 1
    if step > 0 and np.array_equal(indices, indices[0] + step * np.arange(count)):
        return x[(*before, slice(int(indices[0]), int(indices[-1]) + 1, step))]
    return x.take(namespace_of(x).asarray(indices), axis=axis)


def _interpolate(x: Any, plan: list[Axis], method: Method) -> Any:
    """Weighted sums along one axis after another, computed in floats."""
    xp = namespace_of(x)
    kind, wide = x.dtype.kind, np.dtype(np.float64)
    if is_narrow(x) or kind == "b" or (kind in "iu" and x.dtype.itemsize == 1):
        wide = np.dtype(np.float32)
    elif kind in "fc":
        wide = x.dtype
    elif kind not in "iu":
        raise ValueError(f"{method.mode} Resize cannot interpolate {x.dtype}")
    result = x.astype(wide, copy=False)
    for axis in plan:
        indices, weights = taps(axis, method)
        result = _weighted(result, indices, weights.astype(wide), axis.axis)
    result = _extrapolated(result, plan, method)
    if kind in "iu":
        limits = np.iinfo(x.dtype)
        whole = xp.rint(result)
        if not method.antialias:
            whole = xp.where(abs(result - whole) < 1e-4, whole, xp.trunc(result))
        result = whole.clip(limits.min, limits.max)
    return result.astype(x.dtype, copy=False)


def taps(axis: Axis, method: Method) -> tuple[np.ndarray, np.ndarray]:
    """Return the input pixels [out, taps] of each output pixel, and their weights."""
    where = _coordinates(axis, method.coordinates)
    squeeze = min(axis.scale, 1.0) if method.antialias else 1.0
    reach = int(np.ceil((2 if method.mode == "cubic" else 1) / squeeze))
    indices = np.floor(where)[:, None] + np.arange(1 - reach, reach + 1)
    distance = np.abs(indices - where[:, None]) * squeeze
    if method.mode == "cubic":
        weights = _cubic(distance, method.cubic_a)
    else:
        weights = np.clip(1 - distance, 0, None)
    outside = (indices < 0) | (indices > axis.length - 1)
    if method.exclude_outside:
        weights[outside] = 0
    if method.exclude_outside or method.antialias:
        total = weights.sum(axis=1, keepdims=True)
        weights /= np.where(total == 0, 1, total)
    return indices.astype(np.int64).clip(0, axis.length - 1), weights


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel: pieces for distances up to 1 and up to 2."""
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def _weighted(x: Any, indices: np.ndarray, weights: np.ndarray, axis: int) -> Any:
    """Sum ``taps`` gathered pixels, or multiply by matrices where that is cheaper."""
    xp = namespace_of(x)
    length, (count, taps) = x.shape[axis], indices.shape
    block = count if length <= 2 * WINDOW else max(16, WINDOW * count // length)
    window = min(length, block * length // count + taps)
    # A matrix also multiplies what a pixel does not see, so inf and nan would spread.
    if window <= MATMUL_WINDOW_PER_TAP * taps and bool(xp.isfinite(x.sum())):
        return _multiplied(x, indices, weights, axis, block)
    tail = (1,) * (x.ndim - axis - 1)
    result = None
    for tap in range(taps):
        part = x.take(xp.asarray(indices[:, tap]), axis=axis)
        part *= xp.asarray(weights[:, tap]).reshape(count, *tail)
        result = part if result is None else xp.add(result, part, out=result)
    return result


def _multiplied(
    x: Any, indices: np.ndarray, weights: np.ndarray, axis: int, block: int
) -> Any:
    """Multiply each block of output pixels by the part of the axis that it sees."""
    xp = namespace_of(x)
    count = len(indices)
    before = (slice(None),) * axis
    result = xp.empty((*x.shape[:axis], count, *x.shape[axis + 1 :]), x.dtype)
    for first in range(0, count, block):
        seen = indices[first : first + block]
        low, high = int(seen.min()), int(seen.max()) + 1
        matrix = np.zeros((len(seen), high - low), weights.dtype)
        rows = np.arange(len(seen))[:, None]
        np.add.at(matrix, (rows, seen - low), weights[first : first + block])
        part = _along(x[(*before, slice(low, high))], xp.asarray(matrix), axis)
        if block >= count:
            return part
        result[(*before, slice(first, first + block))] = part
    return result


def _along(x: Any, matrix: Any, axis: int) -> Any:
    """Multiply one axis by a matrix [out, in]."""
    if axis == x.ndim - 1:
        return x @ matrix.T
    inner = int(np.prod(x.shape[axis + 1 :]))
    flat = x.reshape(-1, x.shape[axis], inner)
    return (matrix @ flat).reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])


def _extrapolated(result: Any, plan: list[Axis], method: Method) -> Any:
    """Fill the pixels that lie outside the input, which only a crop has."""
    if not method.crops:
        return result
    filled = None
    for axis in plan:
        beyond = outside(axis, method)
        if not beyond.any():
            continue
        if result.dtype.kind not in "biufc" and not is_narrow(result):
            raise ValueError(f"{result.dtype} pixels cannot be extrapolated")
        filled = result.copy() if filled is None else filled
        chosen = namespace_of(result).asarray(np.flatnonzero(beyond))
        filled[(slice(None),) * axis.axis + (chosen,)] = method.extrapolation
    return result if filled is None else filled
