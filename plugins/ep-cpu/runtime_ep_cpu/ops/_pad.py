"""Pad and CenterCropPad: tensors grown or cut at their borders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._axes import axes_of, ints

table = KernelTable()
Widths = list[tuple[int, int]]


@table("Pad", since=1, traits=("moves",))
def pad_1(data, /, *, paddings, mode="constant", value=0.0):
    """Pad of opset 1: widths in the attribute ``paddings``."""
    return pad_2(data, pads=paddings, mode=mode, value=value)


@table("Pad", since=2, traits=("moves",))
def pad_2(data, /, *, pads, mode="constant", value=0.0):
    """Pad before opset 11: widths in the attribute ``pads``."""
    with np.errstate(over="ignore"):
        constant = np.array(value).astype(data.dtype)
    return _pad(data, _widths(data, pads, None), mode, constant)


@table("Pad", since=11, traits=("moves",))
def pad_11(data, pads, constant_value=None, /, *, mode="constant"):
    """Pad before opset 18: widths and the constant are inputs."""
    return pad(data, pads, constant_value, mode=mode)


@table("Pad", since=18, traits=("moves",))
def pad(data, pads, constant_value=None, axes=None, /, *, mode="constant"):
    """Pad: some axes or all; ``wrap`` is legal from opset 19.

    Negative widths cut first, and the other modes then see what is left, as
    onnxruntime has it. A reflection wider than the axis reflects again.
    """
    value = None
    if constant_value is not None:
        if constant_value.size != 1:
            raise ValueError(
                "constant_value must hold one element, found the shape "
                f"{list(constant_value.shape)}"
            )
        value = constant_value.reshape(())
    return _pad(data, _widths(data, pads, axes), mode, value)


def _widths(data: Any, pads: Any, axes: Any) -> Widths:
    """Return how much to add before and after each axis of the data."""
    amounts = ints(pads)
    chosen = range(data.ndim) if axes is None else axes_of(ints(axes), data.ndim)
    if len(amounts) != 2 * len(chosen):
        raise ValueError(f"{len(amounts)} pads are given for {len(chosen)} axes")
    widths = [(0, 0)] * data.ndim
    for index, axis in enumerate(chosen):
        widths[axis] = (amounts[index], amounts[index + len(chosen)])
    return widths


def _pad(data: Any, widths: Widths, mode: str, value: Any) -> Any:
    if mode not in ("constant", *SOURCES):
        raise ValueError(f"there is no pad mode {mode!r}")
    shape = [
        dim + before + after
        for dim, (before, after) in zip(data.shape, widths, strict=True)
    ]
    check_size(shape, data.dtype)
    if not any(before or after for before, after in widths):
        return data
    if mode == "constant":
        return _constant(data, widths, shape, value)
    data, widths = _cut(data, widths)
    xp = namespace_of(data)
    for axis, (before, after) in enumerate(widths):
        if before or after:
            dim = data.shape[axis]
            if dim == 0:
                raise ValueError(f"axis {axis} is empty: nothing to {mode} there")
            source = SOURCES[mode](np.arange(-before, dim + after), dim)
            data = xp.take(data, xp.asarray(source), axis=axis)
    return data


def _cut(data: Any, widths: Widths) -> tuple[Any, Widths]:
    """Apply the negative widths; return what is left and the others."""
    kept = []
    for dim, (before, after) in zip(data.shape, widths, strict=True):
        if max(-before, 0) + max(-after, 0) > dim:
            raise ValueError(f"{-before} and {-after} cannot be cut from {dim}")
        kept.append(slice(max(-before, 0), dim + min(after, 0)))
    return data[(*kept, ...)], [(max(b, 0), max(a, 0)) for b, a in widths]


def _constant(data: Any, widths: Widths, shape: Sequence[int], value: Any) -> Any:
    """Copy the data into the middle and write only the borders around it.

    An axis cut by more than it has leaves nothing but the constant.
    """
    if value is None:
        value = "" if data.dtype == object else 0
    result = namespace_of(data).empty(shape, data.dtype)
    source, target = [], []
    for dim, size, (before, after) in zip(data.shape, shape, widths, strict=True):
        start = min(max(before, 0), size)
        stop = max(size - max(after, 0), start)
        first = min(max(-before, 0), dim)
        stop = min(stop, start + dim - first)
        source.append(slice(first, first + stop - start))
        target.append(slice(start, stop))
    for axis, middle in enumerate(target):
        inner = tuple(target[:axis])
        result[(*inner, slice(None, middle.start))] = value
        result[(*inner, slice(middle.stop, None))] = value
    result[tuple(target)] = data[tuple(source)]
    return result


def _mirrored(index: np.ndarray, dim: int) -> np.ndarray:
    period = max(2 * (dim - 1), 1)
    index = index % period
    return np.where(index < dim, index, period - index)


SOURCES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "reflect": _mirrored,
    "edge": lambda index, dim: index.clip(0, dim - 1),
    "wrap": lambda index, dim: index % dim,
}
"""Where each element along an axis comes from, by mode."""


@table("CenterCropPad", since=18, traits=("moves",))
def center_crop_pad(data, shape, /, *, axes=None):
    """CenterCropPad: cut or zero-pad both ends; an odd element more at the right."""
    wanted = ints(shape)
    chosen = range(data.ndim) if axes is None else axes_of(axes, data.ndim)
    if len(wanted) != len(chosen):
        raise ValueError(f"{len(wanted)} sizes are given for {len(chosen)} axes")
    widths = [(0, 0)] * data.ndim
    for axis, size in zip(chosen, wanted, strict=True):
        missing = size - data.shape[axis]
        before = abs(missing) // 2 * (1 if missing > 0 else -1)
        widths[axis] = (before, missing - before)
    return _pad(data, widths, "constant", None)
