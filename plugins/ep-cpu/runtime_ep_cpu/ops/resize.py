"""Resize and Upsample: separable interpolation, one axis after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.dtypes import is_narrow
from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of

table = KernelTable()

MATMUL_LENGTH_PER_TAP = 64

ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True, slots=True)
class _Axis:
    """How one axis is resized.

    ``width`` is the output length before rounding down (scale × input length), which
    some coordinate modes use; ``roi`` is the cropped part in normalised coordinates.
    """

    axis: int
    length: int
    size: int
    width: float
    roi: tuple[float, float] = (0.0, 1.0)

    @property
    def scale(self) -> float:
        return self.width / self.length


@dataclass(frozen=True, slots=True)
class _Method:
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


@table("Upsample", since=1, traits=("typed",))
def upsample_1(x, /, *, height_scale, width_scale, mode="nearest"):
    """Upsample-1: an N×C×H×W image by two factors given as attributes."""
    if x.ndim != 4:
        raise ValueError(f"Upsample takes a 4-D input, found {x.ndim} dims")
    return _upsample(x, (1.0, 1.0, height_scale, width_scale), mode)


@table("Upsample", since=7, traits=("typed",))
def upsample_7(x, /, *, scales, mode="nearest"):
    """Upsample-7: one factor per axis, given as an attribute."""
    return _upsample(x, scales, mode)


@table("Upsample", since=9, until=9, traits=("typed",))
def upsample(x, scales, /, *, mode="nearest"):
    """Upsample-9: the factors are an input. Resize took its place in opset 10."""
    return _upsample(x, scales, mode)


def _upsample(x: Any, scales: Sequence[float], mode: str) -> Any:
    factors = [float(scale) for scale in scales]
    if any(scale < 1 for scale in factors):
        raise ValueError(f"Upsample needs scales of at least 1, found {factors}")
    method = _Method("linear" if mode == "bilinear" else mode)
    return _resize(x, _by_scales(x, factors, range(x.ndim), None), method)


@table("Resize", since=10, traits=("typed",))
def resize_10(x, scales, /, *, mode="nearest"):
    """Resize-10: asymmetric coordinates.

    The standard leaves open which pixel is the nearest one; like onnxruntime it is
    the one above when an axis shrinks and the one below otherwise.
    """
    method = _Method(mode, rounding="simple")
    return _resize(x, _by_scales(x, scales, range(x.ndim), None), method)


@table("Resize", since=11, traits=("typed",))
def resize_11(
    x,
    roi,
    scales,
    sizes=None,
    /,
    *,
    coordinate_transformation_mode="half_pixel",
    cubic_coeff_a=-0.75,
    exclude_outside=0,
    extrapolation_value=0.0,
    mode="nearest",
    nearest_mode="round_prefer_floor",
):
    """Resize-11: ``roi`` and ``scales`` are required but may be empty."""
    return resize(
        x,
        roi,
        scales,
        sizes,
        coordinate_transformation_mode=coordinate_transformation_mode,
        cubic_coeff_a=cubic_coeff_a,
        exclude_outside=exclude_outside,
        extrapolation_value=extrapolation_value,
        mode=mode,
        nearest_mode=nearest_mode,
    )


@table("Resize", since=13, traits=("typed",))
def resize_13(
    x,
    roi=None,
    scales=None,
    sizes=None,
    /,
    *,
    coordinate_transformation_mode="half_pixel",
    cubic_coeff_a=-0.75,
    exclude_outside=0,
    extrapolation_value=0.0,
    mode="nearest",
    nearest_mode="round_prefer_floor",
):
    """Resize-13: ``roi`` and ``scales`` became optional."""
    return resize_11(
        x,
        roi,
        scales,
        sizes,
        coordinate_transformation_mode=coordinate_transformation_mode,
        cubic_coeff_a=cubic_coeff_a,
        exclude_outside=exclude_outside,
        extrapolation_value=extrapolation_value,
        mode=mode,
        nearest_mode=nearest_mode,
    )


@table("Resize", since=18, traits=("typed",))
def resize(
    x,
    roi=None,
    scales=None,
    sizes=None,
    /,
    *,
    antialias=0,
    axes=None,
    coordinate_transformation_mode="half_pixel",
    cubic_coeff_a=-0.75,
    exclude_outside=0,
    extrapolation_value=0.0,
    keep_aspect_ratio_policy="stretch",
    mode="nearest",
    nearest_mode="round_prefer_floor",
):
    """Resize-18/19: ``axes``, ``antialias`` and ``keep_aspect_ratio_policy``.

    Integers are interpolated as floats; the result is cut towards zero (rounded with
    ``antialias``, as onnxruntime does) and saturates.
    """
    method = _Method(
        mode,
        coordinate_transformation_mode,
        nearest_mode,
        cubic_coeff_a,
        bool(exclude_outside),
        bool(antialias),
        extrapolation_value,
    )
    scales, sizes, roi = (
        None if v is None or not v.size else v for v in (scales, sizes, roi)
    )
    if (scales is None) == (sizes is None):
        raise ValueError("Resize needs either scales or sizes, and not both")
    if method.crops and roi is None:
        raise ValueError("tf_crop_and_resize needs the input roi")
    chosen = _axes(axes, x.ndim)
    window = roi if method.crops else None
    if scales is not None:
        return _resize(x, _by_scales(x, scales, chosen, window), method)
    plan = _by_sizes(x, sizes, chosen, window, keep_aspect_ratio_policy)
    return _resize(x, plan, method)


def _axes(axes: Sequence[int] | None, rank: int) -> list[int]:
    if axes is None:
        return list(range(rank))
    if any(not -rank <= axis < rank for axis in axes):
        raise ValueError(f"axes {list(axes)} are outside a rank of {rank}")
    return [int(axis) % rank for axis in axes]


def _rois(roi: Any, count: int) -> list[tuple[float, float]]:
    if roi is None:
        return [(0.0, 1.0)] * count
    if len(roi) != 2 * count:
        raise ValueError(f"roi has {len(roi)} values, {2 * count} are needed")
    return [(float(roi[i]), float(roi[count + i])) for i in range(count)]


def _by_scales(x: Any, scales: Any, axes: Sequence[int], roi: Any) -> list[_Axis]:
    """Plan the axes from factors.

    The products are rounded to float32, in which the factors are given, so that a
    factor such as 0.7 finds 7 pixels in 10.
    """
    if len(scales) != len(axes):
        raise ValueError(f"{len(scales)} scales were given for {len(axes)} axes")
    plan = []
    for axis, scale, part in zip(axes, scales, _rois(roi, len(axes)), strict=True):
        if not 0 < scale < np.inf:
            raise ValueError(f"scales must be positive, found {float(scale)}")
        length = x.shape[axis]
        width = float(np.float32(scale) * np.float32(length))
        plan.append(_Axis(axis, length, int(width), width, part))
    return plan


def _by_sizes(
    x: Any, sizes: Any, axes: Sequence[int], roi: Any, policy: str
) -> list[_Axis]:
    if len(sizes) != len(axes):
        raise ValueError(f"{len(sizes)} sizes were given for {len(axes)} axes")
    wanted = [int(size) for size in sizes]
    lengths = [x.shape[axis] for axis in axes]
    widths: list[float] = list(wanted)
    if policy != "stretch":
        if policy not in ("not_larger", "not_smaller"):
            raise ValueError(f"unknown keep_aspect_ratio_policy {policy!r}")
        pick = min if policy == "not_larger" else max
        pairs = [(s / n, s, n) for s, n in zip(wanted, lengths, strict=True) if n]
        _, size, length = pick(pairs, default=(1.0, 1, 1))
        widths = [n * size / length for n in lengths]
        wanted = [int(width + 0.5) for width in widths]
    parts = _rois(roi, len(axes))
    return [_Axis(*e) for e in zip(axes, lengths, wanted, widths, parts, strict=True)]


def _resize(x: Any, plan: list[_Axis], method: _Method) -> Any:
    shape = list(x.shape)
    for axis in plan:
        shape[axis.axis] = axis.size
        if axis.size > 0 and axis.length == 0:
            raise ValueError(f"an empty axis cannot be resized to {axis.size}")
    check_size(shape, x.dtype)
    if 0 in shape:
        return namespace_of(x).empty(shape, dtype=x.dtype)
    changing = _cheapest_first(
        [a for a in plan if method.crops or a.width != a.length or a.size != a.length]
    )
    if method.mode == "nearest":
        return _nearest(x, changing, method)
    if method.mode not in ("linear", "cubic"):
        raise ValueError(f"unknown Resize mode {method.mode!r}")
    return _interpolate(x, changing, method)


def _cheapest_first(plan: list[_Axis]) -> list[_Axis]:
    """Shrink before growing; of the growing axes the innermost first."""
    shrinking = [a for a in plan if a.size <= a.length]
    growing = [a for a in plan if a.size > a.length]
    by_axis = sorted(shrinking, key=lambda a: a.axis)
    return by_axis + sorted(growing, key=lambda a: -a.axis)


def _coordinates(axis: _Axis, mode: str) -> np.ndarray:
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


def _outside(axis: _Axis, x: np.ndarray) -> np.ndarray:
    """Tell which coordinates are extrapolated; rounding errors of the ends are not."""
    slack = 1e-6 * axis.length
    return (x < -slack) | (x > axis.length - 1 + slack)


def _nearest(x: Any, plan: list[_Axis], method: _Method) -> Any:
    result = x
    for axis in plan:
        where = _coordinates(axis, method.coordinates)
        rounding = method.rounding
        if rounding == "simple":
            rounding = "ceil" if axis.scale < 1 else "floor"
        if rounding not in ROUNDINGS:
            raise ValueError(f"unknown nearest_mode {rounding!r}")
        nearest = ROUNDINGS[rounding](where).astype(np.int64)
        result = _pick(result, nearest.clip(0, axis.length - 1), axis.axis)
    return _extrapolated(result, plan, method)


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


def _interpolate(x: Any, plan: list[_Axis], method: _Method) -> Any:
    """Weighted sums along one axis after another, computed in floats."""
    xp = namespace_of(x)
    kind, wide = x.dtype.kind, np.dtype(np.float64)
    if is_narrow(x) or kind == "b" or (kind in "iu" and x.dtype.itemsize < 4):
        wide = np.dtype(np.float32)
    elif kind in "fc":
        wide = x.dtype
    elif kind not in "iu":
        raise ValueError(f"{method.mode} Resize cannot interpolate {x.dtype}")
    result = x.astype(wide, copy=False)
    for axis in plan:
        indices, weights = _taps(axis, method)
        result = _weighted(result, indices, weights.astype(wide), axis.axis)
    result = _extrapolated(result, plan, method)
    if kind in "iu":
        limits = np.iinfo(x.dtype)
        result = xp.rint(result) if method.antialias else xp.trunc(result)
        result = result.clip(limits.min, limits.max)
    return result.astype(x.dtype, copy=False)


def _taps(axis: _Axis, method: _Method) -> tuple[np.ndarray, np.ndarray]:
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
    """Sum ``taps`` gathered pixels, or multiply by a matrix where that is cheaper."""
    xp = namespace_of(x)
    length, (count, taps) = x.shape[axis], indices.shape
    # A matrix also multiplies what a pixel does not see, so inf and nan would spread.
    if length <= MATMUL_LENGTH_PER_TAP * taps and bool(xp.isfinite(x.sum())):
        matrix = np.zeros((count, length), weights.dtype)
        np.add.at(matrix, (np.arange(count)[:, None], indices), weights)
        return _multiplied(x, xp.asarray(matrix), axis)
    tail = (1,) * (x.ndim - axis - 1)
    result = None
    for tap in range(taps):
        part = x.take(xp.asarray(indices[:, tap]), axis=axis)
        part *= xp.asarray(weights[:, tap]).reshape(count, *tail)
        result = part if result is None else xp.add(result, part, out=result)
    return result


def _multiplied(x: Any, matrix: Any, axis: int) -> Any:
    if axis == x.ndim - 1:
        return x @ matrix.T
    inner = int(np.prod(x.shape[axis + 1 :]))
    flat = x.reshape(-1, x.shape[axis], inner)
    return (matrix @ flat).reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])


def _extrapolated(result: Any, plan: list[_Axis], method: _Method) -> Any:
    """Fill the pixels that lie outside the input, which only a crop has."""
    if not method.crops:
        return result
    filled = None
    for axis in plan:
        outside = _outside(axis, _coordinates(axis, method.coordinates))
        if not outside.any():
            continue
        if result.dtype.kind not in "biufc" and not is_narrow(result):
            raise ValueError(f"{result.dtype} pixels cannot be extrapolated")
        filled = result.copy() if filled is None else filled
        chosen = namespace_of(result).asarray(np.flatnonzero(outside))
        filled[(slice(None),) * axis.axis + (chosen,)] = method.extrapolation
    return result if filled is None else filled
