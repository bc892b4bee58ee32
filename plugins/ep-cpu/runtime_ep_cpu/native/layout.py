"""Where a value lies in a plan: a buffer, an offset, a shape and strides.

Reshapes, transpositions, slices and broadcasts are layouts over the same buffer, without
a copy, as far as strides can tell them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

ELEMENTS = {
    1: "float", 10: "half", 16: "bfloat", 11: "double",
    7: "i64", 6: "i32", 5: "i16", 3: "i8", 9: "i1",
}  # fmt: skip
"""LLVM's name of each ONNX element type that native code computes with."""

SIZES = {
    "float": 4, "half": 2, "bfloat": 2, "double": 8,
    "i64": 8, "i32": 4, "i16": 2, "i8": 1, "i1": 1,
}  # fmt: skip
"""Bytes of an element in memory."""

NAMES = {
    "float32": "float", "float16": "half", "bfloat16": "bfloat", "float64": "double",
    "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8", "bool": "i1",
}  # fmt: skip
"""LLVM's name of each NumPy type."""


_REMEMBERED = 1024
"""Results kept of what depends on shapes and strides alone; a model asks for few."""


class Unplannable(Exception):
    """A stage cannot be planned for these inputs; NumPy's kernels take the run."""


class Home(IntEnum):
    """Whose memory a buffer is."""

    ARENA = 0
    FIXED = 1
    INPUT = 2
    OUTPUT = 3
    TABLE = 4
    FRAME = 5
    SCRATCH = 6


@dataclass(slots=True, eq=False)
class Buffer:
    """Memory of a plan.

    ``address`` is the place in the arena, once planned, or in a thread's scratch, or of
    fixed memory, which ``holder`` keeps alive; ``index`` is which input or output.
    ``first`` and ``last`` are the levels between which an arena's buffer is in use.
    """

    home: Home
    size: int = 0
    address: int = 0
    index: int = 0
    holder: Any = None
    first: int = 1 << 60
    last: int = -1


class Layout(NamedTuple):
    """A value's elements in a buffer; ``offset`` and ``strides`` count elements."""

    buffer: Buffer
    element: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Offset in bytes."""
        return self.offset * SIZES[self.element]

    @property
    def is_contiguous(self) -> bool:
        """Whether elements lie in C order without gaps."""
        return _is_contiguous(self.shape, self.strides)

    def with_dims(
        self, shape: Sequence[int], strides: Sequence[int], offset: int | None = None
    ) -> Layout:
        """Return another view of the buffer."""
        start = self.offset if offset is None else offset
        return Layout(self.buffer, self.element, tuple(shape), tuple(strides), start)

    def transposed(self, permutation: Sequence[int]) -> Layout:
        """Return the view with dims in another order."""
        return self.with_dims(
            [self.shape[i] for i in permutation], [self.strides[i] for i in permutation]
        )

    def at(self, axis: int, index: int) -> Layout:
        """Return the part at one index of an axis, without the axis."""
        kept = [i for i in range(len(self.shape)) if i != axis]
        offset = self.offset + index * self.strides[axis]
        return self.with_dims(
            [self.shape[i] for i in kept], [self.strides[i] for i in kept], offset
        )

    def reshaped(self, shape: Sequence[int]) -> Layout | None:
        """Return the view of another shape, or ``None`` where it needs a copy."""
        strides = reshaped_strides(self.shape, self.strides, tuple(shape))
        return None if strides is None else self.with_dims(shape, strides)

    def broadcast(self, shape: Sequence[int]) -> Layout:
        """Return the view repeated along dims of size 1 and new leading dims.

        Raises `Unplannable` where shapes do not fit.
        """
        shape = tuple(shape)
        strides = _broadcast_strides(self.shape, self.strides, shape)
        return Layout(self.buffer, self.element, shape, strides, self.offset)


@lru_cache(_REMEMBERED)
def _broadcast_strides(
    shape: tuple[int, ...], strides: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[int, ...]:
    extra = len(wanted) - len(shape)
    if extra < 0:
        raise Unplannable(f"{shape} does not broadcast to {wanted}")
    found = [0] * extra
    for have, stride, want in zip(shape, strides, wanted[extra:], strict=True):
        if have != want and have != 1:
            raise Unplannable(f"{shape} does not broadcast to {wanted}")
        found.append(stride if have == want and have != 1 else 0)
    return tuple(found)


@lru_cache(_REMEMBERED)
def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    expected = 1
    for dim, stride in zip(reversed(shape), reversed(strides), strict=True):
        if dim != 1:
            if stride != expected:
                return False
            expected *= dim
    return True


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return C-ordered strides in elements."""
    return _contiguous_strides(tuple(shape))


@lru_cache(_REMEMBERED)
def _contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides = []
    step = 1
    for dim in reversed(shape):
        strides.append(step)
        step *= dim
    return tuple(reversed(strides))


@lru_cache(_REMEMBERED)
def reshaped_strides(
    shape: tuple[int, ...], strides: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Return the strides under which the same elements have another shape, if any.

    Dims are matched from the right in groups of equal size; within a group of the old
    shape each dim must continue the next.
    """
    found: list[int] = []
    old, new = len(shape) - 1, len(wanted) - 1
    while new >= 0:
        if wanted[new] == 1:
            found.append(1)
            new -= 1
            continue
        while old >= 0 and shape[old] == 1:
            old -= 1
        if old < 0:
            return None
        have, want = shape[old], wanted[new]
        step = strides[old]
        start = new
        while have != want:
            if have < want:
                old -= 1
                while old >= 0 and shape[old] == 1:
                    old -= 1
                if old < 0 or strides[old] != step * have:
                    return None
                have *= shape[old]
            else:
                new -= 1
                if new < 0:
                    return None
                want *= wanted[new]
        stride = step
        for dim in reversed(wanted[new : start + 1]):
            found.append(stride)
            stride *= dim
        old -= 1
        new -= 1
    return tuple(reversed(found))


@cache
def native_type(dtype: np.dtype[Any]) -> str | None:
    """Return LLVM's name of a NumPy type, where it has a native form."""
    return NAMES.get(dtype.name)


def of_array(array: np.ndarray[Any, Any]) -> Layout:
    """Return the layout of an array that stays where it is; one in C order is made."""
    array = in_order(array)
    element = native_type(array.dtype)
    if element is None:
        raise Unplannable(f"{array.dtype} has no native form")
    address = array.ctypes.data
    buffer = Buffer(Home.FIXED, array.nbytes, address, holder=array)
    return Layout(buffer, element, array.shape, contiguous_strides(array.shape))


def in_order(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array itself if it lies in C order, else a copy that does."""
    return array if array.flags.c_contiguous else array.copy(order="C")
