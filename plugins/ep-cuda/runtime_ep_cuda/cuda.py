"""The driver of an NVIDIA GPU, through CuPy's bindings of CUDA's runtime."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from runtime.errors import ProviderUnavailable

from runtime_ep_cuda import nvrtc
from runtime_ep_cuda.codegen.kernel import Kernel
from runtime_ep_cuda.current import Current, uncollected
from runtime_ep_cuda.driver import (
    Candidate,
    Function,
    Memory,
    OutOfMemory,
    Properties,
    Recording,
    Stream,
    Unrecordable,
)  # fmt: skip
from runtime_ep_cuda.handles import (
    CudaCandidate,
    CudaEvent,
    CudaFunction,
    CudaRecording,
)
from runtime_ep_cuda.library import Library, versions
from runtime_ep_cuda.operations import Operation
from runtime_ep_cuda.staging import Staging

Array = np.ndarray[Any, Any]

OLDEST = 75
"""The first compute capability that CUDA 13 has, times ten."""
OUT_OF_MEMORY, NOT_INITIALIZED = 2, 3
"""CUDA's numbers of two errors."""


class CudaDriver:
    """One GPU of this process."""

    def __init__(self, index: int):
        import cupy
        from cupy.cuda import driver, runtime

        self.index = index
        self.xp = cupy
        self.runtime = runtime
        self.library_lock, self.building_lock = threading.RLock(), threading.RLock()
        self._driver = driver
        try:
            self.current = Current(runtime, driver, index)
            with self.current:
                runtime.deviceSynchronize()
        except runtime.CUDARuntimeError as error:
            raise ProviderUnavailable(_unopened(index, error)) from error
        self.properties = self._described()
        self._library = Library(self.properties.sm, self.properties.multiprocessors)
        self._staging = Staging(runtime)
        self._functions: dict[tuple[str, str], CudaFunction] = {}
        self._streams: list[int] = []
        self._lock = threading.Lock()

    def _described(self) -> Properties:
        runtime, index = self.runtime, self.index
        sm = int(self.xp.cuda.Device(index).compute_capability)
        if sm < OLDEST:
            raise ProviderUnavailable(
                f"cuda:{index} has compute capability {sm / 10}, and CUDA 13 needs "
                f"{OLDEST / 10} or newer; choose another device_id"
            )

        def told(name: str) -> int:
            return int(runtime.deviceGetAttribute(getattr(runtime, name), index))

        name = runtime.getDeviceProperties(index)["name"]
        found = (
            ("driver", str(runtime.driverGetVersion())),
            ("runtime", str(runtime.runtimeGetVersion())),
            ("NVRTC", nvrtc.version()),
        )
        return Properties(
            name.decode() if isinstance(name, bytes) else str(name),
            divmod(sm, 10),
            told("cudaDevAttrMultiProcessorCount"),
            self.memory()[1],
            told("cudaDevAttrMaxSharedMemoryPerBlockOptin"),
            told("cudaDevAttrL2CacheSize"),
            found + tuple(versions()),
        )

    def allocate(self, size: int) -> int:
        """Return the address of new memory; CUDA aligns it to 256 bytes."""
        with self.current:
            try:
                return int(self.runtime.malloc(max(size, 1)))
            except self.runtime.CUDARuntimeError as error:
                if error.status != OUT_OF_MEMORY:
                    raise
                raise OutOfMemory(f"{size} bytes: {error}") from error

    def free(self, address: int) -> None:
        """Give memory back, once everything is done."""
        with self.current:
            self.runtime.free(address)

    def memory(self) -> tuple[int, int]:
        """Return the bytes free and in all."""
        with self.current:
            free, total = self.runtime.memGetInfo()
            return int(free), int(total)

    def upload(self, target: int, source: Array, stream: Stream) -> None:
        """Copy a C-ordered array, through pinned memory."""
        with self.current:
            self._staging.upload(target, source.ctypes.data, source.nbytes, stream)

    def download(self, target: Array, source: int, stream: Stream) -> None:
        """Copy into a C-ordered array, through pinned memory, and wait for it."""
        with self.current:
            self.runtime.streamSynchronize(stream)  # before others have to wait, too
            self._staging.download(target.ctypes.data, source, target.nbytes, stream)

    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        """Copy within the device, or from another one: addresses tell which."""
        kind = self.runtime.memcpyDefault
        with self.current:
            self.runtime.memcpyAsync(target, source, size, kind, stream)

    def fill(self, target: int, byte: int, size: int, stream: Stream) -> None:
        """Set every byte."""
        with self.current:
            self.runtime.memsetAsync(target, byte, size, stream)

    def stream(self) -> Stream:
        """Return a new stream, which waits for no other."""
        with self.current:
            flags = self.runtime.streamNonBlocking
            made = int(self.runtime.streamCreateWithFlags(flags))
        self._streams.append(made)
        return made

    def event(self, timed: bool = True) -> CudaEvent:
        """Return a new event; one that is not timed costs less."""
        runtime = self.runtime
        flags = runtime.eventDefault if timed else runtime.eventDisableTiming
        with self.current:
            made = runtime.eventCreateWithFlags(flags)
        return CudaEvent(made, self.runtime.eventDestroy)

    def record(self, event: CudaEvent, stream: Stream) -> None:
        """Mark a place in a stream."""
        with self.current:
            self.runtime.eventRecord(event.handle, stream)

    def wait(self, event: CudaEvent, stream: Stream) -> None:
        """Have a stream wait for a place in another."""
        with self.current:
            self.runtime.streamWaitEvent(stream, event.handle)

    def reached(self, event: CudaEvent) -> bool:
        """Whether all that was begun before a place in a stream is done."""
        with self.current:
            return bool(self.runtime.eventQuery(event.handle) == 0)

    def finish(self, event: CudaEvent) -> None:
        """Wait until a place in a stream is reached."""
        with self.current:
            self.runtime.eventSynchronize(event.handle)

    def elapsed(self, begin: CudaEvent, end: CudaEvent) -> float:
        """Return the seconds between two places that have been reached."""
        with self.current:
            return 1e-3 * float(self.runtime.eventElapsedTime(begin.handle, end.handle))

    def synchronize(self, stream: Stream) -> None:
        """Wait until all that was begun in a stream is done."""
        with self.current:
            self.runtime.streamSynchronize(stream)

    def load(self, kernels: Iterable[Kernel], cache: Any) -> Mapping[str, Function]:
        """Compile kernels, as far as neither this process nor the cache has them."""
        wanted = {kernel.name: kernel for kernel in kernels}
        with self._lock:
            missing = [
                kernel
                for kernel in wanted.values()
                if (kernel.name, kernel.text) not in self._functions
            ]
            programs = nvrtc.compiled(missing, self.properties.sm, cache)
            with self.current:
                for program, names in programs:
                    self._loaded(program, [wanted[name] for name in names])
            return {
                kernel.name: self._functions[kernel.name, kernel.text]
                for kernel in wanted.values()
            }

    def _loaded(self, program: bytes, kernels: Sequence[Kernel]) -> None:
        module = self._driver.moduleLoadData(program)
        for kernel in kernels:
            handle = self._driver.moduleGetFunction(module, kernel.name)
            self._functions[kernel.name, kernel.text] = CudaFunction(kernel, handle)

    def launch(
        self,
        function: Any,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared: int,
        arguments: Sequence[Any],
        stream: Stream,
    ) -> None:
        """Begin a kernel."""
        packed = ctypes.create_string_buffer(function.layout.pack(*arguments))
        base = ctypes.addressof(packed)
        count = len(function.places)
        table = (ctypes.c_void_p * max(count, 1))(*(base + p for p in function.places))
        with self.current:
            if shared > function.dynamic:
                self._driver.funcSetAttribute(
                    function.handle,
                    self._driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    shared,
                )
                function.dynamic = shared
            self._driver.launchKernel(
                function.handle,
                *grid,
                *block,
                shared,
                stream,
                ctypes.addressof(table),
                0,
            )

    @contextmanager
    def recording(self, stream: Stream) -> Iterator[list[Recording]]:
        """Capture what this thread begins in a stream meanwhile."""
        runtime, found = self.runtime, list[Recording]()
        with self.current, uncollected:
            runtime.streamBeginCapture(stream, runtime.streamCaptureModeThreadLocal)
            try:
                yield found
            except BaseException as error:
                self._abandon(stream)
                if isinstance(error, RuntimeError):
                    raise Unrecordable(str(error)) from error
                raise
            try:
                found.append(CudaRecording(self, runtime.streamEndCapture(stream)))
            except runtime.CUDARuntimeError as error:
                raise Unrecordable(str(error)) from error

    def records(self, stream: Stream) -> bool:
        """Whether a stream is being captured, by whomever."""
        with self.current:
            return bool(self.runtime.streamIsCapturing(stream))

    def _abandon(self, stream: Stream) -> None:
        """End a capture that nobody wants; it may be broken already."""
        try:
            self.runtime.graphDestroy(self.runtime.streamEndCapture(stream))
        except self.runtime.CUDARuntimeError:
            return

    def candidates(
        self,
        operation: Operation,
        limit: int,
        most: int = 8,
        deterministic: bool = False,
    ) -> list[Candidate]:
        """Return what the libraries offer, the likely fastest first."""
        with self.building_lock, self.current:
            found = self._library.candidates(operation, limit, most, deterministic)
        return [CudaCandidate(self, each) for each in found]

    def restore(self, operation: Operation, saved: bytes) -> CudaCandidate | None:
        """Return a candidate that was saved, or ``None`` where it does not fit here."""
        with self.building_lock, self.current:
            found = self._library.restore(operation, saved)
        return None if found is None else CudaCandidate(self, found)

    def view(
        self, address: int, shape: tuple[int, ...], dtype: Any, owner: Any = None
    ) -> Any:
        """Return memory as a CuPy array, which keeps its owner alive."""
        cuda, dtype = self.xp.cuda, np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        with self.current:
            memory = cuda.UnownedMemory(address, size, owner, self.index)
            pointer = cuda.MemoryPointer(memory, 0)
            return self.xp.ndarray(shape, dtype, pointer)

    @contextmanager
    def using(self, stream: Stream, memory: Memory | None = None) -> Iterator[None]:
        """Have CuPy work in a stream of this device meanwhile, and in some memory."""
        cuda = self.xp.cuda

        def allocate(size: int) -> Any:
            assert memory is not None
            held = memory.hold(size)
            lent = cuda.UnownedMemory(held.address, size, held, self.index)
            return cuda.MemoryPointer(lent, 0)

        with ExitStack() as entered:
            entered.enter_context(self.current)
            entered.enter_context(cuda.Device(self.index))
            entered.enter_context(
                cuda.ExternalStream(stream, self.index) if stream else cuda.Stream.null
            )
            if memory is not None:
                entered.enter_context(cuda.using_allocator(allocate))
            yield

    def close(self) -> None:
        """Give everything back."""
        with self.building_lock, self.library_lock, self.current:
            self._library.close()
            self._staging.close()
            for stream in self._streams:
                self.runtime.streamDestroy(stream)
            self._streams.clear()


def _unopened(index: int, error: Any) -> str:
    if error.status == NOT_INITIALIZED:
        return (
            "CUDA was in use in the process that this one was forked from, and cannot be "
            "used here; start workers with multiprocessing.get_context('spawn')"
        )
    return f"cuda:{index} cannot be opened: {error}"
