"""What the double has in place of cuDNN and cuBLAS: each operation by NumPy."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from runtime_ep_cuda.operations import Attention, Convolution, Operation, Spec, text_of

if TYPE_CHECKING:
    from double.host import HostDriver


def specs(operation: Operation) -> tuple[tuple[Spec, ...], Spec]:
    """Return what a call is given, in its order, and its result."""
    if isinstance(operation, Attention):
        given = (operation.q, operation.k, operation.v)
        bias = () if operation.bias is None else (operation.bias,)
        return (*given, *bias), operation.y
    if isinstance(operation, Convolution):
        return (operation.x, operation.w, *operation.operands), operation.y
    return (operation.a, operation.b, *operation.operands), operation.y


def extent(spec: Spec) -> int:
    """Return how many bytes a tensor reaches over."""
    if 0 in spec.shape:
        return 0
    pairs = zip(spec.shape, spec.strides, strict=True)
    last = sum((dim - 1) * step for dim, step in pairs)
    return (last + 1) * _dtype(spec).itemsize


def view_of(spec: Spec, address: int) -> np.ndarray[Any, Any]:
    """Return memory as the strided array that a library would see there."""
    dtype = _dtype(spec)
    raw = (ctypes.c_char * max(extent(spec), 1)).from_address(address)
    steps = tuple(step * dtype.itemsize for step in spec.strides)
    return np.ndarray(spec.shape, dtype, raw, 0, steps)


def _dtype(spec: Spec) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, spec.dtype, spec.dtype))


class HostCandidate:
    """The one way of doing an operation; it leaves rubbish in its workspace."""

    name = "numpy"

    def __init__(self, driver: HostDriver, operation: Operation, workspace: int):
        self._driver = driver
        self._operation = operation
        self.workspace = workspace

    @classmethod
    def restored(
        cls, driver: HostDriver, operation: Operation, saved: bytes
    ) -> HostCandidate | None:
        """Return a candidate for what `save` returned, of the same operation only."""
        size, _, text = saved.decode(errors="replace").partition(" ")
        return cls(driver, operation, int(size)) if text == text_of(operation) else None

    def run(self, pointers: Sequence[int], workspace: int, stream: int) -> None:
        """Evaluate it, or have it evaluated whenever the recording is launched."""
        given, _ = specs(self._operation)
        if len(pointers) != len(given) + 1:
            raise RuntimeError(
                f"{type(self._operation).__name__}: {len(pointers)} pointers for "
                f"{len(given)} tensors and the result"
            )
        self._driver.begin(stream, lambda on: self._work(pointers, workspace, on))

    def save(self) -> bytes:
        """Return what `restored` takes."""
        return f"{self.workspace} {text_of(self._operation)}".encode()

    def _work(self, pointers: Sequence[int], workspace: int, stream: int) -> None:
        from double.evaluate import evaluate

        given, y = specs(self._operation)
        if self.workspace:
            self._driver.reach(workspace, self.workspace, stream, True)
            ctypes.memset(workspace, 0xA7, self.workspace)
        for spec, pointer in zip(given, pointers, strict=False):
            self._driver.reach(pointer, extent(spec), stream, False)
        arrays = [view_of(s, p) for s, p in zip(given, pointers, strict=False)]
        result = np.asarray(evaluate(self._operation, [a.copy() for a in arrays]))
        if result.shape != y.shape or result.dtype.name != y.dtype:
            raise RuntimeError(
                f"evaluate returned {result.dtype}{result.shape} for {y.dtype}{y.shape}"
            )
        self._driver.reach(pointers[-1], extent(y), stream, True)
        view_of(y, pointers[-1])[...] = result
        self._driver.counts["calls"] += 1
