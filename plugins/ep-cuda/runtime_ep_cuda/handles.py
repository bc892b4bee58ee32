"""What the driver of an NVIDIA GPU gives out: functions, events, recordings, candidates."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runtime_ep_cuda.codegen.kernel import ARGUMENTS, Kernel
from runtime_ep_cuda.driver import Stream

if TYPE_CHECKING:
    from runtime_ep_cuda.cuda import CudaDriver

FREE_SHARED = 48 << 10
"""Dynamic shared memory that a kernel has without asking."""


class CudaFunction:
    """A kernel in a loaded module, and how its arguments are packed."""

    __slots__ = ("dynamic", "handle", "kernel", "layout", "places")

    def __init__(self, kernel: Kernel, handle: int):
        self.kernel = kernel
        self.handle = handle
        self.dynamic = FREE_SHARED
        codes = "".join(ARGUMENTS[word] + "0q" for word in kernel.parameters)
        self.layout = struct.Struct(f"@{codes}")
        self.places = [
            struct.calcsize(f"@{codes[: 3 * number]}")
            for number in range(len(kernel.parameters))
        ]


class CudaEvent:
    """A place in a stream; given back with the object, by the process that made it."""

    __slots__ = ("_destroy", "_process", "handle")

    def __init__(self, handle: int, destroy: Any):
        self.handle = handle
        self._destroy = destroy
        self._process = os.getpid()

    def __del__(self) -> None:
        if self._process == os.getpid():
            self._destroy(self.handle)


class CudaRecording:
    """A captured graph, ready to be launched."""

    def __init__(self, driver: CudaDriver, graph: int):
        self._driver = driver
        self._handle = 0
        self._process = os.getpid()
        try:
            self._handle = driver.runtime.graphInstantiate(graph)
        finally:
            driver.runtime.graphDestroy(graph)

    def launch(self, stream: Stream) -> None:
        """Send all of it."""
        with self._driver.current:
            self._driver.runtime.graphLaunch(self._handle, stream)

    def close(self) -> None:
        """Forget it."""
        handle, self._handle = self._handle, 0
        if handle:
            with self._driver.current:
                self._driver.runtime.graphExecDestroy(handle)

    def __del__(self) -> None:
        if self._process == os.getpid():
            with contextlib.suppress(Exception):  # the process ends, the driver is gone
                self.close()


class CudaCandidate:
    """A library's candidate, run on its device by one thread at a time.

    That is while others are built: who runs does not wait for them.
    """

    def __init__(self, driver: CudaDriver, inner: Any):
        self.name: str = inner.name
        self.workspace: int = inner.workspace
        self._driver = driver
        self._inner = inner

    def run(self, pointers: Sequence[int], workspace: int, stream: Stream) -> None:
        """Begin it."""
        with self._driver.library_lock, self._driver.current:
            self._inner.run(pointers, workspace, stream)

    def save(self) -> bytes:
        """Return what `CudaDriver.restore` makes the same candidate of."""
        with self._driver.building_lock, self._driver.current:
            saved: bytes = self._inner.save()
            return saved
