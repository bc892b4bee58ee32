"""Which work is known to come after which: clocks of streams, and races between them.

Everything the double does is done at once. What would go wrong on a device, where streams
run side by side, is found by vector clocks: each stream counts its work, events carry the
counts, and whoever waits takes the larger of each.

The collector may free memory, and so change these books, at every step: what is walked
is a copy that was made in one.
"""

from __future__ import annotations

from typing import NamedTuple

Clock = dict[int, int]


class Place(NamedTuple):
    """One piece of work: which stream's, and the how-manieth."""

    stream: int
    count: int


class Event:
    """A place in a stream, once it is recorded."""

    __slots__ = ("at", "clock", "timed")

    def __init__(self, timed: bool = True) -> None:
        self.timed = timed
        self.clock: Clock | None = None
        self.at = 0.0


class Order:
    """The clocks of a device's streams, and who touched which memory last."""

    def __init__(self) -> None:
        self.clocks: dict[int, Clock] = {0: {}}
        self.host: Clock = {}
        self._retired: dict[int, Clock] = {}
        self._written: dict[tuple[int, int], Place] = {}
        self._touched: dict[tuple[int, int], Place] = {}

    def clock(self, stream: int) -> Clock:
        """Return a stream's clock; raises for a stream that there is not."""
        if stream not in self.clocks:
            raise RuntimeError(f"there is no stream {stream}")
        return self.clocks[stream]

    def begin(self, stream: int) -> Place:
        """Count one more piece of work in a stream."""
        clock = self.clock(stream)
        _merge(clock, self.host)
        clock[stream] = clock.get(stream, 0) + 1
        return Place(stream, clock[stream])

    def record(self, event: Event, stream: int) -> None:
        """Let an event stand for everything begun in a stream so far."""
        self.begin(stream)
        event.clock = dict(self.clock(stream))

    def wait(self, event: Event, stream: int) -> None:
        """Have a stream come after an event."""
        if event.clock is None:
            raise RuntimeError("an event is waited for that was not recorded")
        _merge(self.clock(stream), event.clock)

    def synchronize(self, stream: int) -> None:
        """Have everything that the host does from now on come after a stream."""
        _merge(self.host, self.clock(stream))

    def finish(self, event: Event) -> None:
        """Have everything that the host does from now on come after an event."""
        if event.clock is None:
            raise RuntimeError("an event is waited for that was not recorded")
        _merge(self.host, event.clock)

    def is_behind(self, event: Event) -> bool:
        """Whether the host is known to come after an event."""
        clock = event.clock or {}
        return all(self.host.get(s, 0) >= n for s, n in clock.items())

    def retire(self, stream: int) -> None:
        """Have a stream be gone: what was begun in it goes on all the same."""
        self._retired[stream] = self.clocks.pop(stream)

    def everything(self) -> None:
        """Have the host wait for all streams."""
        for stream in list(self.clocks):
            self.synchronize(stream)
        for clock in list(self._retired.values()):
            _merge(self.host, clock)

    def reads(self, address: int, place: Place) -> None:
        """Tell that work reads or writes memory from an address, no matter how much."""
        for (begin, end), writer in self._written.copy().items():
            if begin <= address < end:
                self._after(writer, place, address)
        self._touched[address, place.stream] = place

    def moves(self, address: int, size: int, place: Place, writes: bool) -> None:
        """Tell that work copies from or to exactly these bytes."""
        end = address + size
        for (begin, behind), writer in self._written.copy().items():
            if begin < end and address < behind:
                self._after(writer, place, max(begin, address))
                if writes and address <= begin and behind <= end:
                    self._written.pop((begin, behind), None)
        for (at, stream), other in self._touched.copy().items():
            if address <= at < end:
                self._after(other, place, at)
                if writes:
                    self._touched.pop((at, stream), None)
        if writes:
            self._written[address, end] = place
        else:
            self._touched[address, place.stream] = place

    def forget(self, address: int, size: int) -> None:
        """Forget memory that was freed."""
        end = address + size
        for key in [k for k in list(self._written) if k[0] < end and address < k[1]]:
            self._written.pop(key, None)
        for other in [k for k in list(self._touched) if address <= k[0] < end]:
            self._touched.pop(other, None)

    def _after(self, first: Place, then: Place, address: int) -> None:
        if self.clocks[then.stream].get(first.stream, 0) < first.count:
            raise RuntimeError(
                f"a race: stream {then.stream} uses memory at {address:#x} without "
                f"waiting for what stream {first.stream} does with it"
            )


def _merge(clock: Clock, other: Clock) -> None:
    for stream, count in other.copy().items():
        if count > clock.get(stream, 0):
            clock[stream] = count
