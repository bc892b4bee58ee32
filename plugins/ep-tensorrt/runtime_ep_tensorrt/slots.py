"""What a run takes while it goes on: a context, memory to work in, a stream, recordings."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from runtime_ep_cuda.driver import Driver, Recording, Stream
from runtime_ep_cuda.memory import Allocation, Pool

from runtime_ep_tensorrt.adapter import Engine, Run
from runtime_ep_tensorrt.spellings import Shape

Addresses = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Habits:
    """How a session wants runs: on a caller's stream, recorded, in memory that is shared."""

    streams: Streams
    stream: Stream | None = None
    graphs: bool = False
    shared: Shared | None = None


class Streams:
    """Streams of a device, which contexts take in turn: none is ever given up."""

    def __init__(self, driver: Driver) -> None:
        self._driver = weakref.proxy(driver)
        self._idle: list[Stream] = []
        self._lock = threading.Lock()

    def take(self) -> Stream:
        """Return a stream that nobody uses."""
        with self._lock:
            return self._idle.pop() if self._idle else int(self._driver.stream())

    def give(self, stream: Stream) -> None:
        """Give it back, with nothing left to do in it."""
        with self._lock:
            self._idle.append(stream)


class Shared:
    """Working memory for all engines of a session, which run one after another."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.lock = threading.RLock()
        self._held: Allocation | None = None

    def address(self, size: int) -> int:
        """Return memory of a size; the lock must be held until the run has ended."""
        if self._held is None or self._held.size < size:
            self._held = self._pool.hold(max(size, 1), "engines")
        return self._held.address


@dataclass(eq=False, slots=True)
class Slot:
    """A context with what its runs use: memory, a stream, and what was recorded.

    ``done`` marks the end of the run before, which may go on in ``last``, a caller's.
    """

    engine: Engine
    run: Run
    stream: Stream
    memory: Allocation | None
    done: Any
    last: Stream = 0
    room: dict[str, Allocation] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    recordings: OrderedDict[Addresses, Recording | None] = field(
        default_factory=OrderedDict
    )

    def reallocate(self, pool: Pool) -> Callable[[str, int, int], int]:
        """Return what gives an output memory while a run goes on."""

        def give(name: str, size: int, alignment: int) -> int:
            self.room[name] = held = pool.hold(max(size, 1), "results")
            return held.address

        return give

    def forget(self) -> None:
        """Forget what was recorded."""
        for recording in self.recordings.values():
            if recording is not None:
                recording.close()
        self.recordings.clear()
