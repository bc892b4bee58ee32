"""Device memory in regions: grown by a strategy, cut into blocks, held to a limit.

Blocks are found by best fit, split, and joined with free neighbours, as onnxruntime's arena
does. What was freed is given out again at once: whoever frees has waited for the work that
uses it, or frees and allocates for the same stream. Work in a caller's stream nobody waits
for: what it uses is kept back until the place in the stream is reached.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import threading
import weakref
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from runtime.errors import LimitExceeded

from runtime_ep_cuda.driver import OutOfMemory

if TYPE_CHECKING:
    from runtime_ep_cuda.marks import Mark

ALIGNMENT = 256
FIRST_REGION = 1 << 20
"""The size of the first region where regions double."""
LARGEST_STEP = 1 << 30
"""Regions double up to this size; larger ones are as large as what is asked for."""
POWERS, AS_REQUESTED = "kNextPowerOfTwo", "kSameAsRequested"


class Source(Protocol):
    """Where regions come from: a `driver.Driver`, or a caller's allocator."""

    def allocate(self, size: int) -> int:
        """Return the address of new memory."""

    def free(self, address: int) -> None:
        """Give it back."""


@dataclass(slots=True)
class Block:
    """A piece of a region; neighbours are linked, so that free ones can be joined."""

    address: int
    size: int
    note: str | None = None
    before: Block | None = None
    behind: Block | None = None

    @property
    def is_free(self) -> bool:
        """Whether nobody has it."""
        return self.note is None


class Allocation:
    """Memory that goes back to its pool when nobody holds it any more."""

    __slots__ = ("__weakref__", "_marks", "_pool", "address", "size")

    def __init__(self, pool: Pool, address: int, size: int):
        self._pool: Pool | None = pool
        self._marks: tuple[Mark, ...] = ()
        self.address = address
        self.size = size

    def free(self) -> None:
        """Give it back now."""
        pool, self._pool = self._pool, None
        if pool is not None and pool.is_ours:
            pool.free(self.address, self._marks)

    def until(self, mark: Mark) -> None:
        """Have it kept back, once it is given back, until a mark is reached."""
        if self._pool is not None:
            with self._pool.lock:
                others = (m for m in self._marks if m.order is not mark.order)
                self._marks = (*(m for m in others if not m.reached()), mark)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the pool was closed, the process ends
            self.free()


class Pool:
    """Memory of one device. ``limit`` is of the bytes taken from it in all; 0 is none."""

    def __init__(self, source: Source, limit: int = 0, strategy: str = POWERS):
        self._source = source
        self._limit = limit
        self._doubles = strategy == POWERS
        self._next = FIRST_REGION
        self._process = os.getpid()
        self.lock = threading.Lock()
        self._later: deque[tuple[int, Sequence[Mark]]] = deque()
        self._busy: list[tuple[int, Sequence[Mark]]] = []
        self._regions: dict[int, int] = {}
        self._used: dict[int, Block] = {}
        self._free: list[tuple[int, int]] = []  # size and address, in order
        self._free_blocks: dict[int, Block] = {}
        gone = weakref.finalize(
            self, _give_back, source, self._regions, (self._busy, self._later),
            self._process,
        )  # fmt: skip
        gone.atexit = False  # the driver gives everything back then

    @property
    def reserved(self) -> int:
        """Bytes taken from the device."""
        return sum(self._regions.values())

    @property
    def used(self) -> int:
        """Bytes that somebody holds."""
        return sum(self.held().values())

    def held(self) -> Mapping[str, int]:
        """Return the bytes held by what they are for."""
        with self.lock:
            self._settle()
            return self._held()

    def _held(self) -> Mapping[str, int]:
        found: Counter[str] = Counter()
        for block in self._used.values():
            found[block.note or ""] += block.size
        return found

    def allocate(self, size: int, note: str = "values") -> int:
        """Return the address of memory for what ``note`` says.

        Raises `LimitExceeded` where the limit or the device has no more.
        """
        room = aligned(size)
        with self.lock:
            self._settle()
            self._look()
            block = self._fitting(room)
            if block is None:
                self._extend(room, note)
                block = self._fitting(room)
            assert block is not None
            self._cut(block, room)
            block.note = note
            self._used[block.address] = block
            return block.address

    def lend(self, size: int, note: str) -> int:
        """Return the address of a region of its own, until it is `returned`.

        It counts for the limit, and is not kept: other regions are as large as before.
        Raises `LimitExceeded` as `allocate` does.
        """
        room = aligned(size)
        with self.lock:
            self._settle()
            self._look()
            address = self._region(room)
            if address is None and self._trimmed():
                address = self._region(room)
            if address is None:
                raise LimitExceeded(self._refusal(room, note))
            self._used[address] = Block(address, room, note)
            return address

    def returned(self, address: int) -> None:
        """Take a region back that was lent, with nothing left to do in it."""
        with self.lock:
            del self._used[address], self._regions[address]
            self._source.free(address)

    def hold(self, size: int, note: str = "values") -> Allocation:
        """Return memory that is freed with the object."""
        return Allocation(self, self.allocate(size, note), size)

    def free(self, address: int, marks: Sequence[Mark] = ()) -> None:
        """Give memory back to the pool; may be called while it is at work, by a finalizer.

        It is given out again when all ``marks`` are reached.
        """
        if address not in self._used:
            raise RuntimeError(f"{address:#x} is not held, or was freed already")
        self._later.append((address, marks))
        if self.lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self.lock.release()

    def trim(self) -> int:
        """Give regions that nobody uses back to the device; return how many bytes."""
        with self.lock:
            self._settle()
            self._look()
            return self._trimmed()

    def _settle(self) -> None:
        """Free what was given back since, or keep it back."""
        while self._later:
            address, marks = self._later.popleft()
            if marks:
                self._busy.append((address, marks))
            else:
                self._release(address)

    def _look(self, waits: bool = False) -> None:
        """Free what was kept back and is done with; or wait until all of it is.

        Where one mark of an order is not reached, later ones are not asked.
        """
        if not self._busy:
            return
        ahead: list[object] = []
        freed: set[int] = set()
        try:
            for address, marks in self._busy:
                if waits:
                    for mark in marks:
                        mark.finish()
                orders = (m.order for m in marks if m.order in ahead or not m.reached())
                order = next(orders, None)
                if order is None:
                    freed.add(address)
                elif order not in ahead:
                    ahead.append(order)
        finally:
            self._busy[:] = [kept for kept in self._busy if kept[0] not in freed]
            for address in freed:
                self._release(address)

    def _release(self, address: int) -> None:
        block = self._used.pop(address)
        block.note = None
        self._put(self._joined(self._joined(block, block.behind), block.before))

    def _trimmed(self) -> int:
        given = 0
        for address, size in list(self._regions.items()):
            block = self._free_blocks.get(address)
            if block is not None and block.size == size:
                self._take(block)
                del self._regions[address]
                self._source.free(address)
                given += size
        if not self._regions:
            self._next = FIRST_REGION
        return given

    def close(self) -> None:
        """Give everything back, whoever still holds some of it."""
        with self.lock:
            self._settle()
            self._look(waits=True)
            for address in self._regions:
                self._source.free(address)
            for kept in (
                self._regions, self._used, self._free, self._free_blocks, self._later,
                self._busy,
            ):  # fmt: skip
                kept.clear()

    @property
    def is_ours(self) -> bool:
        """Whether this process opened it, and not one that it was forked from."""
        return self._process == os.getpid()

    def _fitting(self, room: int) -> Block | None:
        place = bisect.bisect_left(self._free, (room, 0))
        if place == len(self._free):
            return None
        block = self._free_blocks[self._free[place][1]]
        self._take(block)
        return block

    def _cut(self, block: Block, room: int) -> None:
        """Free what is behind the first ``room`` bytes of a block."""
        if block.size == room:
            return
        rest = Block(block.address + room, block.size - room, None, block, block.behind)
        if block.behind is not None:
            block.behind.before = rest
        block.behind, block.size = rest, room
        self._put(rest)

    def _joined(self, block: Block, other: Block | None) -> Block:
        if other is None or not other.is_free:
            return block
        self._take(other)
        first, second = sorted((block, other), key=lambda each: each.address)
        first.size += second.size
        first.behind = second.behind
        if second.behind is not None:
            second.behind.before = first
        return first

    def _put(self, block: Block) -> None:
        bisect.insort(self._free, (block.size, block.address))
        self._free_blocks[block.address] = block

    def _take(self, block: Block) -> None:
        del self._free[bisect.bisect_left(self._free, (block.size, block.address))]
        del self._free_blocks[block.address]

    def _extend(self, room: int, note: str) -> None:
        """Take another region from the device, or wait for what others still use."""
        if self._grown(room):
            return
        if self._busy:
            self._look(waits=True)
            if bisect.bisect_left(self._free, (room, 0)) < len(self._free):
                return
            if self._grown(room):
                return
        raise LimitExceeded(self._refusal(room, note))

    def _grown(self, room: int) -> bool:
        """Whether a region could be taken, smaller than wished where it must be."""
        sizes = dict.fromkeys((self._wished(room), room))
        return any(map(self._taken, sizes)) or bool(
            self._trimmed() and self._taken(room)
        )

    def _taken(self, size: int) -> bool:
        """Whether a region of a size could be taken, to be cut into blocks."""
        address = self._region(size)
        if address is not None:
            self._put(Block(address, size))
        return address is not None

    def _region(self, size: int) -> int | None:
        """Take memory from the device, or return ``None``: there is none within the limit."""
        if self._limit and self.reserved + size > self._limit:
            return None
        try:
            address = self._source.allocate(size)
        except OutOfMemory:
            return None
        self._regions[address] = size
        return address

    def _wished(self, room: int) -> int:
        if not self._doubles:
            return room
        while self._next < room:
            self._next *= 2
        size = self._next if room <= LARGEST_STEP else room
        self._next = min(size * 2, LARGEST_STEP)
        return size

    def _refusal(self, room: int, note: str) -> str:
        held = sorted(self._held().items(), key=lambda item: -item[1])
        told = (
            ", ".join(f"{told_size(size)} {name}" for name, size in held) or "nothing"
        )
        asked = f"{told_size(room)} of device memory for {note}"
        if self._limit and self.reserved + room > self._limit:
            return (
                f"gpu_mem_limit is {told_size(self._limit)}, and {asked} do not fit: held "
                f"are {told}; raise gpu_mem_limit, or give smaller inputs"
            )
        memory = getattr(self._source, "memory", None)
        free = f" ({told_size(memory()[0])} are free)" if memory is not None else ""
        return (
            f"the device has no {asked}{free}: held here are {told}; give smaller inputs, "
            "close other sessions and programs on the device, or choose another device_id"
        )


def _give_back(
    source: Source,
    regions: dict[int, int],
    kept: Sequence[Iterable[tuple[int, Sequence[Mark]]]],
    process: int,
) -> None:
    """Free the regions of a pool that nobody holds any more, in its own process."""
    if process != os.getpid():
        return
    with contextlib.suppress(RuntimeError):  # the driver is closed, and had it all
        for _, marks in chain(*kept):
            for mark in marks:
                mark.finish()
        for address in regions:
            source.free(address)
    regions.clear()


def aligned(size: int) -> int:
    """Return the bytes that an allocation of a size takes."""
    return max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT)


def told_size(size: int) -> str:
    """Return a number of bytes for people."""
    for unit, step in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size} bytes"
