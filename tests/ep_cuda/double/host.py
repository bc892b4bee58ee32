"""A device that is the host: `runtime_ep_cuda.driver.Driver` by processor and NumPy.

Memory is poisoned and fenced, kernels are compiled by g++, libraries' operations are
evaluated, and what a device would get wrong now and then is an error here: races between
streams, work on freed memory, allocations while a graph is recorded.
"""

from __future__ import annotations

import ctypes
import struct
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np
from double.compiling import compiled
from double.current import Current
from double.libraries import HostCandidate
from double.memory import HostMemory
from double.ordering import Event, Order
from runtime_ep_cuda.codegen.kernel import ARGUMENTS, MOST_THREADS, Kernel
from runtime_ep_cuda.driver import Properties
from runtime_ep_cuda.memory import Pool
from runtime_ep_cuda.operations import Operation

Work = Callable[[int], None]
"""What a stream does; it is told which stream."""

DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
GRID = (2**31 - 1, 65535, 65535)
BLOCK = (1024, 1024, 64)

_all: weakref.WeakSet[HostDriver] = weakref.WeakSet()


class HostFunction:
    """A kernel that was compiled for the host."""

    __slots__ = ("entry", "kernel")

    def __init__(self, kernel: Kernel, library: ctypes.CDLL):
        self.kernel = kernel
        self.entry = getattr(library, f"shim_launch_{kernel.name}")
        self.entry.restype = ctypes.c_char_p
        self.entry.argtypes = [ctypes.c_char_p, ctypes.c_char_p]


class HostRecording:
    """What was begun in a stream, to be done again."""

    def __init__(self, driver: HostDriver, works: list[Work]):
        self._driver = driver
        self.works: list[Work] | None = works

    def launch(self, stream: int) -> None:
        """Do all of it once more."""
        if self.works is None:
            raise RuntimeError("a recording is launched that was closed")
        self._driver.counts["replays"] += 1
        for work in self.works:
            self._driver.begin(stream, work)

    def close(self) -> None:
        """Forget it."""
        self.works = None


class HostDriver:
    """One device, or the one of that index, with so many bytes of memory.

    ``counts`` has ``launches``, ``calls``, ``uploads``, ``downloads``, ``copies``,
    ``fills``, ``allocations``, ``replays``, ``events``, and ``uploaded``, ``downloaded`` and
    ``copied`` in bytes. With ``backwards``, blocks and the threads of a block run in the
    opposite order: what is computed must not depend on it.
    """

    xp: Any = np

    def __init__(
        self,
        index: int = 0,
        memory: int = 1 << 30,
        capability: tuple[int, int] = (9, 0),
    ):
        self.index = index
        self.backwards = False
        self.scratch = 4096
        self.is_closed = False
        self.current = Current()
        self.counts: Counter[str] = Counter()
        self.space = HostMemory(memory)
        self.order = Order()
        self.properties = Properties(
            f"host double {index}", capability, 132, memory, 227 << 10, 50 << 20,
            (("double", "1"),),
        )  # fmt: skip
        self._lock = threading.RLock()
        self._recording: dict[int, list[Work]] = {}
        self._recorders: dict[int, int] = {}
        self._streams = 0
        _all.add(self)

    def allocate(self, size: int) -> int:
        """Return new memory full of NaN."""
        with self._lock:
            self._not_recording("allocate")
            self.counts["allocations"] += 1
            return self.space.allocate(size)

    def free(self, address: int) -> None:
        """Give memory back; nobody can touch it any more. What is closed has it all."""
        with self._lock:
            if self.is_closed:
                return
            self._not_recording("free")
            self.order.everything()
            block = self.space.free(address)
            self.order.forget(block.address, block.size)

    def memory(self) -> tuple[int, int]:
        """Return the bytes free and in all."""
        return self.space.total - self.space.used, self.space.total

    def upload(self, target: int, source: np.ndarray[Any, Any], stream: int) -> None:
        """Copy an array to the device."""
        with self._lock:
            self._not_recording("upload")
            _check_array(source)
            self._move(target, source.nbytes, stream, True)
            ctypes.memmove(target, source.ctypes.data, source.nbytes)
            self.counts["uploads"] += 1
            self.counts["uploaded"] += source.nbytes

    def download(self, target: np.ndarray[Any, Any], source: int, stream: int) -> None:
        """Copy into an array, and wait for it."""
        with self._lock:
            self._not_recording("download")
            _check_array(target)
            self._move(source, target.nbytes, stream, False)
            ctypes.memmove(target.ctypes.data, source, target.nbytes)
            self.order.synchronize(stream)
            self.counts["downloads"] += 1
            self.counts["downloaded"] += target.nbytes

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy within the device or from another one."""

        def work(on: int) -> None:
            self._move_from(source, size, on)
            self._move(target, size, on, True)
            ctypes.memmove(target, source, size)
            self.counts["copies"] += 1
            self.counts["copied"] += size

        self._do(stream, work)

    def fill(self, target: int, byte: int, size: int, stream: int) -> None:
        """Set every byte."""

        def work(on: int) -> None:
            self._move(target, size, on, True)
            ctypes.memset(target, byte, size)
            self.counts["fills"] += 1

        self._do(stream, work)

    def stream(self) -> int:
        """Return a new stream."""
        with self._lock:
            self._streams += 1
            number = self.index * 1000 + self._streams
            self.order.clocks[number] = {}
            return number

    def event(self, timed: bool = True) -> Event:
        """Return a new event."""
        self.counts["events"] += 1
        return Event(timed)

    def record(self, event: Event, stream: int) -> None:
        """Mark a place in a stream."""

        def work(on: int) -> None:
            self.order.record(event, on)
            event.at = time.perf_counter()

        self._do(stream, work)

    def wait(self, event: Event, stream: int) -> None:
        """Have a stream wait for a place in another."""
        self._do(stream, lambda on: self.order.wait(event, on))

    def reached(self, event: Event) -> bool:
        """Whether the host has waited for a place in a stream: else it may lie ahead."""
        with self._lock:
            self._not_recording("reached")
            return self.order.is_behind(event)

    def finish(self, event: Event) -> None:
        """Wait for a place in a stream, which may be gone."""
        with self._lock:
            self._not_recording("finish")
            self.order.finish(event)

    def gone(self, stream: int) -> None:
        """Destroy a stream, as its owner may: nothing may be asked of it any more."""
        with self._lock:
            self.order.retire(stream)

    def elapsed(self, begin: Event, end: Event) -> float:
        """Return the seconds between two places that the host has waited for."""
        with self._lock:
            self._not_recording("elapsed")
            for event in (begin, end):
                if event.clock is None or not event.timed:
                    raise RuntimeError("elapsed: an event was not recorded, or timed")
                if not self.order.is_behind(event):
                    raise RuntimeError(
                        "elapsed: an event may not have been reached yet"
                    )
            return end.at - begin.at

    def synchronize(self, stream: int) -> None:
        """Wait for a stream."""
        with self._lock:
            self._not_recording("synchronize")
            self.order.synchronize(stream)

    def load(self, kernels: Iterable[Kernel], cache: Any) -> Mapping[str, HostFunction]:
        """Compile kernels with g++, all into one object."""
        named: dict[str, Kernel] = {}
        for kernel in kernels:
            if named.setdefault(kernel.name, kernel) != kernel:
                raise RuntimeError(f"two kernels with the name {kernel.name}")
        ordered = [named[name] for name in sorted(named)]
        library = compiled(ordered) if ordered else None
        return {kernel.name: HostFunction(kernel, library) for kernel in ordered}

    def launch(
        self,
        function: HostFunction,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared: int,
        arguments: Sequence[Any],
        stream: int,
    ) -> None:
        """Run a kernel, threads as fibers."""
        kernel = function.kernel
        _check_geometry(kernel, grid, block, shared, self.properties.shared)
        slots, pointers = _packed(kernel, arguments)

        def work(on: int) -> None:
            self._touch(kernel.name, pointers, on)
            geometry = struct.pack("8I", *grid, *block, shared, self.backwards)
            wrong = function.entry(geometry, slots)
            self.counts["launches"] += 1
            if wrong:
                raise RuntimeError(f"{kernel.name}: {wrong.decode()}")
            for pointer in filter(None, pointers):
                self.space.check(pointer)

        self._do(stream, work)

    @contextmanager
    def recording(self, stream: int) -> Iterator[list[HostRecording]]:
        """Keep what is begun in a stream meanwhile, without doing it."""
        with self._lock:
            if stream == 0:
                raise RuntimeError("the default stream cannot be recorded")
            self._not_recording("recording")
            self.order.clock(stream)
            works = self._recording[stream] = []
            self._recorders[stream] = threading.get_ident()
        found: list[HostRecording] = []
        try:
            yield found
            found.append(HostRecording(self, works))
        finally:
            with self._lock:
                del self._recording[stream], self._recorders[stream]

    def records(self, stream: int) -> bool:
        """Whether a stream is being recorded."""
        return stream in self._recording

    def candidates(
        self,
        operation: Operation,
        limit: int,
        most: int = 8,
        deterministic: bool = False,
    ) -> list[HostCandidate]:
        """Return the one way in which NumPy does it."""
        return [HostCandidate(self, operation, min(limit, 4096))]

    def restore(self, operation: Operation, saved: bytes) -> HostCandidate | None:
        """Return the candidate that was saved, if it was for the same operation."""
        return HostCandidate.restored(self, operation, saved)

    def view(
        self, address: int, shape: tuple[int, ...], dtype: Any, owner: Any = None
    ) -> Any:
        """Return memory as a NumPy array, which keeps its owner alive."""
        dtype = DTYPES.get(str(dtype)) or np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if not size:
            return np.empty(shape, dtype)
        self.space.block_of(address, size)
        raw = (ctypes.c_char * size).from_address(address)
        raw.owner = owner  # type: ignore[attr-defined]
        return np.frombuffer(raw, dtype).reshape(shape)

    @contextmanager
    def using(self, stream: int, memory: Pool | None = None) -> Iterator[None]:
        """Let NumPy work, which is done at once, and takes `scratch` of memory."""
        if stream in self._recording:
            raise RuntimeError("NumPy's work cannot be recorded")
        self.begin(stream, lambda on: None)
        held = memory.hold(self.scratch) if memory is not None else None
        if held is not None:
            self.fill(held.address, 0xFF, self.scratch, stream)
        yield
        del held

    def close(self) -> None:
        """Give everything back."""
        self.is_closed = True
        self.space.close()

    def begin(self, stream: int, work: Work) -> None:
        """Do work, or keep it where the stream is recorded."""
        self._do(stream, work)

    def reach(self, address: int, size: int, stream: int, writes: bool) -> None:
        """Check that bytes are there and that nobody else may be at them."""
        self._move(address, size, stream, writes)

    def _do(self, stream: int, work: Work) -> None:
        with self._lock:
            kept = self._recording.get(stream)
            if kept is not None:
                kept.append(work)
            else:
                self.order.clock(stream)
                work(stream)

    def _move(self, address: int, size: int, stream: int, writes: bool) -> None:
        if not size:
            return
        block = self.space.block_of(address, size)
        place = self.order.begin(stream)
        self.order.moves(address, size, place, writes)
        self.space.check(block.address)

    def _move_from(self, source: int, size: int, stream: int) -> None:
        """Check what a copy reads, which may lie on another device."""
        for other in list(_all):
            if other is not self:
                try:
                    other.space.block_of(source, size)
                except RuntimeError:
                    continue
                return
        self._move(source, size, stream, False)

    def _touch(self, name: str, pointers: Sequence[int], stream: int) -> None:
        place = self.order.begin(stream)
        for number, pointer in enumerate(pointers):
            if not pointer:
                continue
            try:
                self.space.block_of(pointer)
                self.order.reads(pointer, place)
            except RuntimeError as error:
                raise RuntimeError(f"{name}: pointer {number}: {error}") from None

    def _not_recording(self, what: str) -> None:
        """Refuse what a thread must not do while it captures, as its mode is relaxed."""
        if threading.get_ident() in self._recorders.values():
            raise RuntimeError(f"{what}: not while a stream is recorded")


def _check_array(array: np.ndarray[Any, Any]) -> None:
    if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
        raise RuntimeError("the host's side of a copy is a C-ordered NumPy array")


def _check_geometry(
    kernel: Kernel, grid: Any, block: Any, shared: int, most: int
) -> None:
    threads = block[0] * block[1] * block[2]
    if len(grid) != 3 or len(block) != 3:
        raise RuntimeError(f"{kernel.name}: grid and block have three numbers")
    if any(not 1 <= n <= top for n, top in zip(grid, GRID, strict=True)):
        raise RuntimeError(f"{kernel.name}: no device launches the grid {grid}")
    if any(not 1 <= n <= top for n, top in zip(block, BLOCK, strict=True)):
        raise RuntimeError(f"{kernel.name}: no device launches the block {block}")
    if threads > min(kernel.threads, MOST_THREADS):
        raise RuntimeError(
            f"{kernel.name}: {threads} threads, and it is compiled for {kernel.threads}"
        )
    if not 0 <= shared <= most:
        raise RuntimeError(f"{kernel.name}: {shared} bytes shared, of {most} there are")


def _packed(kernel: Kernel, arguments: Sequence[Any]) -> tuple[bytes, list[int]]:
    """Return arguments in slots of 8 bytes, and the pointers among them."""
    if len(arguments) != len(kernel.parameters):
        raise RuntimeError(
            f"{kernel.name}: {len(arguments)} arguments for {len(kernel.parameters)} "
            "parameters"
        )
    slots, pointers = [], []
    pairs = zip(kernel.parameters, arguments, strict=True)
    for number, (word, value) in enumerate(pairs):
        try:
            slots.append(struct.pack(f"={ARGUMENTS[word]}", value).ljust(8, b"\0"))
        except struct.error as error:
            raise RuntimeError(
                f"{kernel.name}: argument {number} is {value!r}, no {word}: {error}"
            ) from None
        if word == "pointer":
            pointers.append(int(value))
    return b"".join(slots), pointers
