"""What a run takes while it goes on: a context, memory to work in, a stream, recordings."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from runtime_ep_cuda.driver import Driver, Recording, Stream
from runtime_ep_cuda.marks import Mark
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


@dataclass(eq=False, slots=True)
class Place:
    """What one run at a time is in: ``last`` marks one that goes on in a caller's stream.

    That stream may be gone when somebody waits.
    """

    last: Mark | None = None

    def enter(self, stream: Stream) -> None:
        """Have a stream wait for the run before."""
        if self.last is not None:
            self.last.precede(stream)

    def settle(self) -> None:
        """Wait until nobody is in it any more."""
        if self.last is not None:
            self.last.finish()
            self.last = None


class Shared:
    """Working memory for all engines of a session, which run one after another."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.lock = threading.RLock()
        self.place = Place()
        self._held: Allocation | None = None

    def address(self, size: int) -> int:
        """Return memory of a size; the lock must be held until the run has been begun."""
        if self._held is None or self._held.size < size:
            self.place.settle()
            self._held = self._pool.hold(max(size, 1), "engines")
        return self._held.address


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded run, and the context that it was recorded in and depends on."""

    run: Run
    recording: Recording

    def close(self) -> None:
        """Release it."""
        self.recording.close()


@dataclass(eq=False, slots=True)
class Slot:
    """A context with what its runs use: memory, a stream, and what was recorded.

    ``address`` is of the memory that it works in, its own or the session's.
    """

    engine: Engine
    run: Run
    stream: Stream
    memory: Allocation | None
    place: Place = field(default_factory=Place)
    address: int = 0
    room: dict[str, Allocation] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    recordings: OrderedDict[Addresses, Recorded | None] = field(
        default_factory=OrderedDict
    )

    def __post_init__(self) -> None:
        if self.memory is not None:
            self.address = self.memory.address

    def reallocate(self, pool: Pool) -> Callable[[str, int, int], int]:
        """Return what gives an output memory while a run goes on."""

        def give(name: str, size: int, alignment: int) -> int:
            self.room[name] = held = pool.hold(max(size, 1), "results")
            return held.address

        return give

    def forget(self) -> None:
        """Forget what was recorded."""
        for recorded in self.recordings.values():
            if recorded is not None:
                recorded.close()
        self.recordings.clear()
