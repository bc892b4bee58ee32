"""Copies between the host and CUDA devices, finished when they return."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from runtime.plugin import HOST, Device

from runtime_ep_cuda.arrays import DeviceArray
from runtime_ep_cuda.devices import Opened, device
from runtime_ep_cuda.marks import Mark, keep

KIND = "cuda"


def between(source: Device, target: Device) -> Any:
    """Return what copies values from one device to another, or ``None``: not ours."""
    kinds = (source.kind, target.kind)
    if source == HOST and target.kind == KIND:
        return Upload(device(target.index))
    if source.kind == KIND and target == HOST:
        return Download(device(source.index))
    if kinds == (KIND, KIND):
        return Across(device(target.index), device(source.index))
    return None


class _Copies:
    """What all transfers share: the device whose memory and stream they use."""

    def __init__(self, opened: Opened):
        self._opened = opened

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """Return new memory on the device."""
        dims = tuple(int(dim) for dim in shape)
        dtype = np.dtype(dtype)
        memory = self._opened.pool.hold(prod(dims) * dtype.itemsize)
        return DeviceArray(self._opened.driver, memory.address, dims, dtype, memory)

    def wrap(self, pointer: int, shape: Sequence[int], dtype: Any) -> Any:
        """Return foreign memory of the device as an array; its owner keeps it alive."""
        dims = tuple(int(dim) for dim in shape)
        return DeviceArray(self._opened.driver, pointer, dims, dtype)

    def synchronize(self) -> None:
        """Wait for the copies that nobody has waited for."""
        self._opened.driver.synchronize(self._opened.stream)

    def _stream(self, stream: Any) -> int:
        return self._opened.stream if stream is None else int(stream)

    def _leave(self, stream: Any, *arrays: Any) -> None:
        """Wait for a copy, or mark in a caller's stream until where it goes on."""
        if stream is None:
            self.synchronize()
        else:
            keep(arrays, Mark(self._opened.driver, int(stream)))


class Upload(_Copies):
    """From the host to a device, through pinned memory of the driver's."""

    def __call__(self, value: Any) -> Any:
        """Return a value on the device; sequences element by element."""
        if value is None:
            return None
        if isinstance(value, (list, tuple)):
            return [self(each) for each in value]
        return self.copy(value)

    def copy(self, source: Any, target: Any = None, stream: Any = None) -> Any:
        """Copy into new or given memory; it is waited for unless in a caller's stream."""
        array = _on_host(source)
        if target is None:
            target = self.empty(array.shape, array.dtype)
        _must_fit(array, target)
        opened = self._opened
        if array.nbytes:
            opened.driver.upload(target.pointer, array, self._stream(stream))
            self._leave(stream, target)
        opened.traffic.uploads += 1
        opened.traffic.uploaded += array.nbytes
        return target


class Download(_Copies):
    """From a device to the host."""

    def __call__(self, value: Any) -> Any:
        """Return a value on the host; sequences element by element."""
        if value is None:
            return None
        if isinstance(value, (list, tuple)):
            return [self(each) for each in value]
        return self.copy(value)

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """Return new memory on the host."""
        return np.empty(tuple(shape), dtype)

    def wrap(self, pointer: int, shape: Sequence[int], dtype: Any) -> Any:
        """Refuse: memory of the host is NumPy's."""
        raise TypeError("memory of the host is not the CUDA provider's to wrap")

    def copy(self, source: Any, target: Any = None, stream: Any = None) -> Any:
        """Copy into a new array, or into a C-ordered one that is there."""
        if target is None:
            target = np.empty(source.shape, source.dtype)
        _must_fit(source, target)
        straight = target.flags.c_contiguous
        buffer = target if straight else np.empty(target.shape, target.dtype)
        opened = self._opened
        if buffer.nbytes:
            opened.driver.download(buffer, source.pointer, self._stream(stream))
        if not straight:
            target[...] = buffer
        opened.traffic.downloads += 1
        opened.traffic.downloaded += buffer.nbytes
        return target


class Across(_Copies):
    """From a device to another, or into memory of the same one that a caller has bound."""

    def __init__(self, opened: Opened, source: Opened):
        super().__init__(opened)
        self._source = source

    def __call__(self, value: Any) -> Any:
        """Return a value on the other device; sequences element by element."""
        if value is None:
            return None
        if isinstance(value, (list, tuple)):
            return [self(each) for each in value]
        return self.copy(value)

    def copy(self, source: Any, target: Any = None, stream: Any = None) -> Any:
        """Copy into new or given memory; it is waited for unless in a caller's stream."""
        if target is None:
            target = self.empty(source.shape, source.dtype)
        _must_fit(source, target)
        opened, size = self._opened, source.nbytes
        if size and target.pointer != source.pointer:
            where = self._stream(stream)
            opened.driver.copy(target.pointer, source.pointer, size, where)
            self._leave(stream, source, target)
        opened.traffic.copies += 1
        opened.traffic.copied += size
        return target


def _on_host(value: Any) -> np.ndarray[Any, Any]:
    """Return a value as the C-ordered array that a driver can copy."""
    array = np.asarray(value, order="C")
    if array.dtype.kind in "OUSV" and array.dtype.type.__module__ == "numpy":
        raise TypeError(f"{array.dtype} values stay on the host; no GPU has strings")
    return array


def _must_fit(source: Any, target: Any) -> None:
    """Raise unless two arrays have one shape and element type."""
    shapes = tuple(source.shape), tuple(target.shape)
    if shapes[0] != shapes[1] or source.dtype != target.dtype:
        raise ValueError(
            f"a {source.dtype}{list(source.shape)} does not fit into memory of a "
            f"{target.dtype}{list(target.shape)}; they must be the same"
        )
