"""Tensors as a plan sees them: strided views of buffers that have no address yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

Dtype = np.dtype[Any]


@dataclass(eq=False, slots=True)
class Buffer:
    """A piece of device memory of known size; the plan gives it an address last.

    ``role`` says where it comes from: ``"arena"`` (planned by liveness), ``"weight"``,
    ``"input"``, ``"output"`` or ``"workspace"``.
    """

    size: int
    role: str = "arena"
    address: int = 0
    note: str = ""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A strided view of a buffer; shape, strides and offset are in elements.

    A broadcast axis has the stride 0. Views cost nothing: what reads a tensor says which
    strides it can take, and asks the plan for a copy where they do not fit.
    """

    buffer: Buffer
    dtype: Dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @classmethod
    def dense(
        cls,
        buffer: Buffer,
        dtype: Any,
        shape: Sequence[int],
        order: Sequence[int] | None = None,
    ) -> Tensor:
        """Return a tensor that fills a buffer; ``order`` lists axes, outermost first."""
        shape = tuple(map(int, shape))
        strides, step = [0] * len(shape), 1
        for axis in reversed(order if order is not None else range(len(shape))):
            strides[axis] = step
            step *= shape[axis]
        return cls(buffer, np.dtype(dtype), shape, tuple(strides))

    @cached_property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, each counted once however it is strided."""
        return self.size * self.dtype.itemsize

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def address(self) -> int:
        """Where the first element lies, once the buffer has its address."""
        return self.buffer.address + self.offset * self.dtype.itemsize

    @property
    def order(self) -> tuple[int, ...] | None:
        """The axes from outermost to innermost where the tensor is dense, else ``None``.

        Axes of one element take the place that keeps the others in order.
        """
        long = [axis for axis, dim in enumerate(self.shape) if dim != 1]
        ordered = sorted(long, key=lambda axis: -self.strides[axis])
        step = 1
        for axis in reversed(ordered):
            if self.strides[axis] != step:
                return None
            step *= self.shape[axis]
        return _with_short_axes(self.shape, ordered)

    def is_dense(self, order: Sequence[int] | None = None) -> bool:
        """Whether the elements lie without gaps, in an order of axes; C order if none."""
        wanted = tuple(range(self.rank)) if order is None else tuple(order)
        step = 1
        for axis in reversed(wanted):
            if self.shape[axis] != 1 and self.strides[axis] != step:
                return False
            step *= self.shape[axis]
        return True

    def ghost(self) -> np.ndarray[Any, Any]:
        """Return an array of these strides that must not be read: NumPy views it."""
        base = np.empty(1, self.dtype)
        steps = tuple(step * self.dtype.itemsize for step in self.strides)
        return np.lib.stride_tricks.as_strided(base, self.shape, steps)

    def like(self, view: np.ndarray[Any, Any], offset: int = 0) -> Tensor:
        """Return this tensor seen as NumPy saw its ghost, ``offset`` elements further."""
        steps = tuple(step // self.dtype.itemsize for step in view.strides)
        return replace(
            self, shape=view.shape, strides=steps, offset=self.offset + offset
        )

    def transposed(self, axes: Sequence[int]) -> Tensor:
        """Permute the axes; the memory stays as it is."""
        return replace(
            self,
            shape=tuple(self.shape[axis] for axis in axes),
            strides=tuple(self.strides[axis] for axis in axes),
        )

    def reshaped(self, shape: Sequence[int]) -> Tensor | None:
        """Return a view of another shape, or ``None`` where that needs a copy."""
        if self.size == 0:
            return Tensor.dense(self.buffer, self.dtype, shape)
        try:
            view = np.reshape(self.ghost(), tuple(shape), copy=False)
        except ValueError:
            return None
        return self.like(view)

    def broadcast(self, shape: Sequence[int]) -> Tensor:
        """Broadcast as ONNX does; new and widened axes have the stride 0."""
        missing = len(shape) - self.rank
        steps = (
            0 if have == 1 and want != 1 else step
            for have, want, step in zip(
                self.shape, tuple(shape)[missing:], self.strides, strict=True
            )
        )
        return replace(self, shape=tuple(shape), strides=(0,) * missing + tuple(steps))

    def sliced(self, axis: int, start: int, count: int, step: int = 1) -> Tensor:
        """Take ``count`` elements of an axis from ``start``; ``step`` may be negative."""
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[axis]
        shape[axis], strides[axis] = count, strides[axis] * step
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=offset)


def _with_short_axes(shape: Sequence[int], ordered: Sequence[int]) -> tuple[int, ...]:
    """Insert the axes of one element: each in front of the next longer-numbered one."""
    found = list(ordered)
    for axis, dim in enumerate(shape):
        if dim == 1:
            place = next(
                (i for i, other in enumerate(found) if other > axis), len(found)
            )
            found.insert(place, axis)
    return tuple(found)
