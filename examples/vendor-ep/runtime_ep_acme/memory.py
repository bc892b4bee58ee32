"""The simulated device: memory that NumPy cannot read, and copies into and out of it."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from runtime.plugin import HOST, Device


class Buffer:
    """An array in a device's memory; reading it on the host takes a transfer."""

    def __init__(self, data: np.ndarray, device: Device) -> None:
        self.data = data
        self.device = device

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        """The array's element type, as NumPy calls it."""
        return self.data.dtype

    @property
    def nbytes(self) -> int:
        """The array's size."""
        return self.data.nbytes

    @property
    def pointer(self) -> int:
        """The array's address on the device."""
        return self.data.ctypes.data

    def __array__(self, *args: Any, **keywords: Any) -> Any:
        raise TypeError(f"memory of {self.device} was read without a transfer")


class Transfer:
    """Copies values to one place from wherever they are: host or device."""

    def __init__(self, target: Device) -> None:
        self._target = target

    def __call__(self, value: Any) -> Any:
        """Copy a value, and return it once it is there."""
        return self._place(np.array(_content(value), order="C"))

    def copy(self, source: Any, target: Any = None, stream: Any = None) -> Any:
        """Copy into memory that is there already, or into new memory."""
        if target is None:
            return self(source)
        if tuple(source.shape) != tuple(target.shape):
            found, room = list(source.shape), list(target.shape)
            raise ValueError(f"a value of shape {found} does not fit memory of {room}")
        _content(target)[...] = _content(source)
        return target

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """Allocate memory whose content is not defined."""
        return self._place(np.empty(tuple(shape), dtype))

    def wrap(self, pointer: int, shape: Sequence[int], dtype: Any) -> Any:
        """Return a view of memory that somebody else owns."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        block = (ctypes.c_uint8 * size).from_address(pointer)
        return self._place(np.ndarray(tuple(shape), dtype, block))

    def synchronize(self) -> None:
        """Wait for copies under way: none, since each ends before its call returns."""

    def _place(self, data: np.ndarray) -> Any:
        return data if self._target == HOST else Buffer(data, self._target)


def _content(value: Any) -> np.ndarray:
    return value.data if isinstance(value, Buffer) else np.asarray(value)
