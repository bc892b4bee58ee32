"""Resize and Upsample: separable interpolation, one axis after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.ops._axes import axes_of, floats, ints
from runtime_ep_cpu.ops._interpolation import Axis, Method, resized

table = KernelTable()


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
    factors = floats(scales)
    if any(scale < 1 for scale in factors):
        raise ValueError(f"Upsample needs scales of at least 1, found {factors}")
    method = Method("linear" if mode == "bilinear" else mode)
    return resized(x, by_scales(x, factors, range(x.ndim), None), method)


@table("Resize", since=10, traits=("typed",))
def resize_10(x, scales, /, *, mode="nearest"):
    """Resize-10: asymmetric coordinates.

    The standard leaves open which pixel is the nearest one; like onnxruntime it is
    the one above when an axis shrinks and the one below otherwise.
    """
    method = Method(mode, rounding="simple")
    return resized(x, by_scales(x, scales, range(x.ndim), None), method)


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
    method = Method(
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
    chosen = chosen_axes(axes, x.ndim)
    window = roi if method.crops else None
    if scales is not None:
        return resized(x, by_scales(x, scales, chosen, window), method)
    plan = by_sizes(x, sizes, chosen, window, keep_aspect_ratio_policy)
    return resized(x, plan, method)


def chosen_axes(axes: Sequence[int] | None, rank: int) -> list[int]:
    """Return the axes that are resized, counted from the front; by default all."""
    if axes is None:
        return list(range(rank))
    if any(not -rank <= axis < rank for axis in axes):
        raise ValueError(f"axes {list(axes)} are outside a rank of {rank}")
    return list(axes_of(axes, rank))


def _rois(roi: Any, count: int) -> list[tuple[float, float]]:
    if roi is None:
        return [(0.0, 1.0)] * count
    roi = floats(roi)
    if len(roi) != 2 * count:
        raise ValueError(f"roi has {len(roi)} values, {2 * count} are needed")
    return [(roi[i], roi[count + i]) for i in range(count)]


def by_scales(x: Any, scales: Any, axes: Sequence[int], roi: Any) -> list[Axis]:
    """Plan the axes of ``x``, of which only the shape matters, from factors.

    The products are rounded to float32, in which the factors are given, so that a
    factor such as 0.7 finds 7 pixels in 10.
    """
    scales = floats(scales)
    if len(scales) != len(axes):
        raise ValueError(f"{len(scales)} scales were given for {len(axes)} axes")
    plan = []
    for axis, scale, part in zip(axes, scales, _rois(roi, len(axes)), strict=True):
        length = x.shape[axis]
        with np.errstate(over="ignore"):
            width = float(np.float32(scale) * np.float32(length))
        if not (scale > 0 and width < np.inf):
            raise ValueError(f"scales must be positive and finite, found {scale}")
        plan.append(Axis(axis, length, int(width), width, part, 2.0**-23))
    return plan


def by_sizes(
    x: Any, sizes: Any, axes: Sequence[int], roi: Any, policy: str
) -> list[Axis]:
    """Plan the axes of ``x``, of which only the shape matters, from wanted sizes."""
    wanted = ints(sizes)
    if len(wanted) != len(axes):
        raise ValueError(f"{len(wanted)} sizes were given for {len(axes)} axes")
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
    return [Axis(*e) for e in zip(axes, lengths, wanted, widths, parts, strict=True)]
