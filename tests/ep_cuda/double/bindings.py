"""As much of CuPy as `runtime_ep_cuda.cuda` calls, over the host's memory.

It shows that the driver calls what it means to: devices put back, errors translated,
arguments packed, captures ended. ``test_cuda_names`` shows that CuPy has these names.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from double.memory import HostMemory
from runtime_ep_cuda.driver import OutOfMemory


class CUDARuntimeError(RuntimeError):
    """CuPy's error of CUDA's runtime."""

    def __init__(self, status: int):
        super().__init__(f"cudaError {status}")
        self.status = status


class Runtime:
    """``cupy.cuda.runtime``: everything is done at once, or kept while it is captured."""

    CUDARuntimeError = CUDARuntimeError
    memcpyHostToDevice, memcpyDeviceToHost, memcpyDefault = 1, 2, 4  # noqa: N815
    streamNonBlocking, streamCaptureModeThreadLocal = 1, 1  # noqa: N815
    eventDefault, eventDisableTiming, hostAllocDefault = 0, 2, 0  # noqa: N815
    cudaDevAttrMultiProcessorCount = 16  # noqa: N815
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97  # noqa: N815
    cudaDevAttrL2CacheSize = 38  # noqa: N815

    def __init__(self, memory: int = 64 << 20) -> None:
        self.context = 0
        self.contexts: set[int] = set()
        self.space = HostMemory(memory)
        self.pinned: dict[int, Any] = {}
        self.handles = 100
        self.destroyed: list[int] = []
        self.capturing: list[Callable[[], object]] | None = None
        self.graphs: dict[int, list[Callable[[], object]]] = {}
        self.broken = 0
        self.spoilt = False
        self.unready = 0

    def __getattr__(self, name: str) -> Any:
        """Give handles where streams and events are made, and note where they go."""
        if name in ("streamCreateWithFlags", "eventCreateWithFlags"):
            return lambda flags: self._handle()
        if name in (
            "streamDestroy",
            "eventDestroy",
            "graphDestroy",
            "graphExecDestroy",
        ):
            return self.destroyed.append
        if name in ("eventSynchronize", "streamSynchronize"):
            return lambda handle: None
        if name in ("eventRecord", "streamWaitEvent"):
            return lambda *handles: None
        if name == "streamIsCapturing":
            return lambda stream: self.capturing is not None
        if name == "eventQuery":
            return lambda handle: self.unready
        raise AttributeError(name)

    def getDeviceCount(self) -> int:  # noqa: N802
        if self.broken:
            raise CUDARuntimeError(self.broken)
        return 4

    def setDevice(self, index: int) -> None:  # noqa: N802
        """Make a device current, and a context on it, as CUDA does since 12.0."""
        self.context = 1000 + index
        self.contexts.add(self.context)

    def deviceSynchronize(self) -> None:  # noqa: N802
        if not self.context:
            raise CUDARuntimeError(201)

    def deviceGetAttribute(self, which: int, index: int) -> int:  # noqa: N802
        return {16: 132, 97: 227 << 10, 38: 50 << 20}[which]

    def getDeviceProperties(self, index: int) -> dict[str, bytes]:  # noqa: N802
        return {"name": b"NVIDIA Fake"}

    def driverGetVersion(self) -> int:  # noqa: N802
        return 13000

    def runtimeGetVersion(self) -> int:  # noqa: N802
        return 13000

    def memGetInfo(self) -> tuple[int, int]:  # noqa: N802
        return self.space.total - self.space.used, self.space.total

    def malloc(self, size: int) -> int:
        try:
            return self.space.allocate(size)
        except OutOfMemory:
            raise CUDARuntimeError(2) from None

    def free(self, address: int) -> None:
        if self.capturing is not None:
            self.spoilt = True
            raise CUDARuntimeError(900)
        self.space.free(address)

    def hostAlloc(self, size: int, flags: int) -> int:  # noqa: N802
        block = ctypes.create_string_buffer(size)
        self.pinned[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def freeHost(self, address: int) -> None:  # noqa: N802
        del self.pinned[address]

    def memcpyAsync(  # noqa: N802
        self, target: int, source: int, size: int, kind: int, stream: int
    ) -> None:
        self.do(lambda: ctypes.memmove(target, source, size))

    def memsetAsync(  # noqa: N802
        self, address: int, byte: int, size: int, stream: int
    ) -> None:
        self.do(lambda: ctypes.memset(address, byte, size))

    def eventElapsedTime(self, begin: int, end: int) -> float:  # noqa: N802
        return 250.0

    def streamBeginCapture(self, stream: int, mode: int) -> None:  # noqa: N802
        self.capturing = []

    def streamEndCapture(self, stream: int) -> int:  # noqa: N802
        graph = self._handle()
        self.graphs[graph], self.capturing = self.capturing or [], None
        if self.spoilt:
            self.spoilt = False
            raise CUDARuntimeError(901)
        return graph

    def graphInstantiate(self, graph: int) -> int:  # noqa: N802
        made = self._handle()
        self.graphs[made] = self.graphs[graph]
        return made

    def graphLaunch(self, handle: int, stream: int) -> None:  # noqa: N802
        for work in self.graphs[handle]:
            work()

    def do(self, work: Callable[[], object]) -> None:
        """Do work, or keep it while a stream is captured."""
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)

    def _handle(self) -> int:
        self.handles += 1
        return self.handles


class Launcher:
    """``cupy.cuda.driver``: keeps what kernels were launched with."""

    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.names: list[str] = []
        self.modules: list[bytes] = []
        self.attributes: list[tuple[int, int, int]] = []
        self.launches: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []

    def ctxGetCurrent(self) -> int:  # noqa: N802
        return self._runtime.context

    def ctxSetCurrent(self, context: int) -> None:  # noqa: N802
        self._runtime.context = context

    def moduleLoadData(self, image: bytes) -> int:  # noqa: N802
        self.modules.append(image)
        return len(self.modules)

    def moduleGetFunction(self, module: int, name: str) -> int:  # noqa: N802
        self.names.append(name)
        return len(self.names) - 1

    def funcSetAttribute(self, handle: int, which: int, value: int) -> None:  # noqa: N802
        self.attributes.append((handle, which, value))

    def launchKernel(  # noqa: N802
        self, handle: int, *numbers: int
    ) -> None:
        *geometry, table, extra = numbers
        assert extra == 0
        slots = tuple((ctypes.c_void_p * 16).from_address(table)[:4])
        found = tuple(ctypes.c_uint64.from_address(at).value for at in slots if at)
        launch = (self.names[handle], tuple(geometry), found)
        self._runtime.do(lambda: self.launches.append(launch))


class Device(nullcontext[None]):
    """``cupy.cuda.Device``."""

    def __init__(self, index: int, capability: str):
        super().__init__()
        self.compute_capability = capability


class UnownedMemory(NamedTuple):
    """``cupy.cuda.UnownedMemory``."""

    ptr: int
    size: int
    owner: Any
    device_id: int


def module(runtime: Runtime, capability: str = "90") -> ModuleType:
    """Return what ``import cupy`` shall find."""
    made = ModuleType("cupy")

    @contextmanager
    def using_allocator(allocate: Callable[[int], object]) -> Iterator[None]:
        before, made.cuda.alloc = made.cuda.alloc, allocate
        yield
        made.cuda.alloc = before

    made.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        runtime=runtime,
        driver=Launcher(runtime),
        Device=lambda index: Device(index, capability),
        ExternalStream=lambda stream, index: nullcontext(),
        Stream=SimpleNamespace(null=nullcontext()),
        UnownedMemory=UnownedMemory,
        MemoryPointer=lambda memory, offset: memory,
        alloc=None,
        using_allocator=using_allocator,
    )
    return made
