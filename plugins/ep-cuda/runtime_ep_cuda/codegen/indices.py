"""Axes and indices: which axes can be walked as one, and how an index is taken apart."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod
from typing import NamedTuple

from runtime_ep_cuda.tensor import Tensor

MOST_NARROW = 2**31 - 1
"""Indices and offsets up to here are computed in 32 bits."""
MOST_BLOCKS = 2**31 - 1


class Axes(NamedTuple):
    """Axes to walk, outermost first: their lengths, and every tensor's strides."""

    shape: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def is_narrow(self) -> bool:
        """Whether 32 bits hold every index and every offset."""
        reach = (
            sum(
                abs(step) * (dim - 1)
                for dim, step in zip(self.shape, steps, strict=True)
            )
            for steps in self.strides
        )
        return max((self.size, *reach)) <= MOST_NARROW

    def ordered(self, order: Sequence[int]) -> Axes:
        """Return the axes in another order."""
        return Axes(
            tuple(self.shape[axis] for axis in order),
            tuple(tuple(steps[axis] for axis in order) for steps in self.strides),
        )


def axes_of(tensors: Sequence[Tensor]) -> Axes:
    """Return the axes of tensors of one shape, as the tensors have them."""
    shape = tensors[0].shape
    for tensor in tensors:
        if tensor.shape != shape:
            raise ValueError(
                f"a kernel walks over one shape, found {shape} and {tensor.shape}"
            )
    return Axes(shape, tuple(tensor.strides for tensor in tensors))


def collapsed(axes: Axes, leading: int = 0) -> Axes:
    """Return as few axes as do the same work, the innermost of a tensor's memory last.

    ``leading`` is the place of the tensor whose memory gives the order. Axes of one
    element vanish; neighbours that every tensor walks as one become one.
    """
    return grouped(axes, leading)[0]


def grouped(
    axes: Axes, leading: int = 0, apart: Collection[int] = ()
) -> tuple[Axes, list[tuple[int, ...]]]:
    """Collapse axes, and tell which ones became one; those ``apart`` stay alone."""
    steps = axes.strides[leading]
    order = [axis for axis, dim in enumerate(axes.shape) if dim != 1]
    order.sort(key=lambda axis: -abs(steps[axis]))
    groups: list[list[int]] = []
    for axis in order:
        alone = axis in apart or (bool(groups) and groups[-1][-1] in apart)
        if groups and not alone and _join(axes, groups[-1][-1], axis):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if not groups:
        return Axes((1,), tuple((0,) for _ in axes.strides)), [()]
    shape = tuple(prod(axes.shape[axis] for axis in group) for group in groups)
    strides = tuple(
        tuple(tensor[group[-1]] for group in groups) for tensor in axes.strides
    )
    return Axes(shape, strides), [tuple(group) for group in groups]


def _join(axes: Axes, outer: int, inner: int) -> bool:
    """Whether every tensor walks two neighbouring axes as one."""
    dim = axes.shape[inner]
    return all(steps[outer] == steps[inner] * dim for steps in axes.strides)


def magic(divisor: int) -> tuple[int, int]:
    """Return what the prelude's ``rt_over`` divides by ``divisor`` with.

    For n < 2³¹, n / d = (high(n · m) + n) >> s with s = ⌈log₂ d⌉ and
    m = ⌊2³² (2ˢ - d) / d⌋ + 1.
    """
    if not 1 <= divisor < 2**31:
        raise ValueError(f"a divisor must be from 1 to 2**31 - 1, found {divisor}")
    shift = (divisor - 1).bit_length()
    return (2**32 * (2**shift - divisor)) // divisor + 1, shift


def blocks(count: int, threads: int) -> int:
    """Return how many blocks have a thread for each of ``count``."""
    found = -(-count // threads)
    if found > MOST_BLOCKS:
        raise ValueError(f"{count} threads are more than a grid can have")
    return found
