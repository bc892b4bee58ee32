"""The door to the device: all that is ever asked of a driver, and nothing else.

`cuda.CudaDriver` opens it to an NVIDIA GPU. The tests open it to the host: memory,
streams, launches and library calls that a processor carries out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from runtime_ep_cuda.codegen.kernel import Kernel
from runtime_ep_cuda.operations import Operation

Array = np.ndarray[Any, Any]
Stream = int
"""A stream's handle; 0 is the default stream."""


@dataclass(frozen=True, slots=True)
class Properties:
    """What is known of a device and of the libraries that drive it.

    ``capability`` is its compute capability, e.g. ``(9, 0)``; ``shared`` the bytes of
    shared memory a block may opt into; ``versions`` what cached plans depend on: driver,
    runtime, NVRTC, cuDNN, cuBLAS.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    memory: int
    shared: int
    l2: int
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def sm(self) -> int:
        """The capability as one number, e.g. 90."""
        return self.capability[0] * 10 + self.capability[1]


class Function(Protocol):
    """A compiled kernel on the device."""


class Recording(Protocol):
    """Work that was captured and can be sent to the device again as one."""

    def launch(self, stream: Stream) -> None:
        """Send all of it."""

    def close(self) -> None:
        """Forget it."""


class Candidate(Protocol):
    """One way in which a library does an operation."""

    name: str
    workspace: int
    """Bytes of scratch memory it needs."""

    def run(self, pointers: Sequence[int], workspace: int, stream: Stream) -> None:
        """Begin it; ``pointers`` are in the order of `operations.Call`, the result last."""

    def save(self) -> bytes:
        """Return what `Driver.restore` makes the same candidate of."""


class Held(Protocol):
    """Memory that is somebody's as long as this object lives."""

    address: int


class Memory(Protocol):
    """Where memory comes from: a `memory.Pool`."""

    def hold(self, size: int) -> Held:
        """Return memory that is freed with the object."""


class OutOfMemory(Exception):
    """The device has not as many bytes left as were asked for."""


class Unrecordable(RuntimeError):
    """What was begun cannot be captured; begun as usual it may be done all the same."""


class Driver(Protocol):
    """A device: memory, order, compiled functions and library calls.

    Everything with a ``stream`` is only begun when the call returns. Raises `OutOfMemory`
    from `allocate`, and ``RuntimeError`` with the driver's words for everything else.
    """

    index: int
    properties: Properties
    xp: Any
    """The array namespace of what has no kernel of its own: CuPy, or NumPy."""

    @property
    def current(self) -> AbstractContextManager[None]:
        """Has the calling thread on this device meanwhile."""

    def allocate(self, size: int) -> int:
        """Return the address of new memory, aligned to 256 bytes."""

    def free(self, address: int) -> None:
        """Give memory back; what is still to be done with it is waited for."""

    def memory(self) -> tuple[int, int]:
        """Return the bytes free and in all."""

    def upload(self, target: int, source: Array, stream: Stream) -> None:
        """Copy a C-ordered array; it may be changed once the call has returned."""

    def download(self, target: Array, source: int, stream: Stream) -> None:
        """Copy into a C-ordered array, and wait until it is there."""

    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        """Copy within the device, or from another one."""

    def fill(self, target: int, byte: int, size: int, stream: Stream) -> None:
        """Set every byte."""

    def stream(self) -> Stream:
        """Return a new stream, which waits for no other."""

    def event(self, timed: bool = True) -> Any:
        """Return a new event; one that is not timed costs less."""

    def record(self, event: Any, stream: Stream) -> None:
        """Mark a place in a stream."""

    def wait(self, event: Any, stream: Stream) -> None:
        """Have a stream wait for a place in another."""

    def reached(self, event: Any) -> bool:
        """Whether all that was begun before a place in a stream is done."""

    def finish(self, event: Any) -> None:
        """Wait until a place in a stream is reached; the stream may be gone."""

    def elapsed(self, begin: Any, end: Any) -> float:
        """Return the seconds between two places that have been reached."""

    def synchronize(self, stream: Stream) -> None:
        """Wait until all that was begun in a stream is done."""

    def load(self, kernels: Iterable[Kernel], cache: Any) -> Mapping[str, Function]:
        """Compile kernels, as far as the cache does not have them; by name."""

    def launch(
        self,
        function: Function,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared: int,
        arguments: Sequence[Any],
        stream: Stream,
    ) -> None:
        """Begin a kernel; arguments are numbers, addresses among them."""

    def recording(self, stream: Stream) -> AbstractContextManager[list[Recording]]:
        """Capture what is begun in a stream meanwhile; the list holds it afterwards.

        Raises `Unrecordable` where something in between cannot be captured.
        """

    def records(self, stream: Stream) -> bool:
        """Whether a stream is being recorded, by whomever."""

    def candidates(
        self,
        operation: Operation,
        limit: int,
        most: int = 8,
        deterministic: bool = False,
    ) -> list[Candidate]:
        """Return ways to do an operation in at most ``limit`` bytes of scratch memory.

        At most ``most`` of each library: building them takes its time. All of those that
        are ``deterministic`` give the same bits in every run.

        The likely fastest comes first; none where no library can do it.
        """

    def restore(self, operation: Operation, saved: bytes) -> Candidate | None:
        """Return a candidate that was saved, or ``None`` where it does not fit here."""

    def view(
        self, address: int, shape: tuple[int, ...], dtype: Any, owner: Any = None
    ) -> Any:
        """Return memory of the device as an array of `xp`, which keeps its owner alive."""

    def using(
        self, stream: Stream, memory: Memory | None = None
    ) -> AbstractContextManager[None]:
        """Have `xp` work in a stream meanwhile, on this device, and in some memory."""

    def close(self) -> None:
        """Give everything back."""
