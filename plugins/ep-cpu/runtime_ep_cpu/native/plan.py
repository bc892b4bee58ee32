"""A stage planned for given shapes, and the frames in which it runs.

A frame is one block of numbers with everything a run needs: the walk's own slots, the
levels, the steps, the counters, every step's arguments and the tables they point to. It
is made from the plan's template by adding addresses; a run writes those of its inputs
and outputs into it. As many frames exist as runs have gone side by side.
"""

from __future__ import annotations

import ctypes
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from runtime.abilities import Context
from runtime.errors import Cancelled

from runtime_ep_cpu.codegen import binding
from runtime_ep_cpu.codegen.walk import (
    COUNTER_SLOTS,
    FRAME,
    FRAME_SLOTS,
    LEVEL_SLOTS,
    STEP_SLOTS,
)
from runtime_ep_cpu.native.arena import arrange
from runtime_ep_cpu.native.layout import Home
from runtime_ep_cpu.native.planner import PlannedStep, Planner
from runtime_ep_cpu.native.profile import record
from runtime_ep_cpu.pool import Pool

_CANCELLED, _FAILED = FRAME["cancelled"], FRAME["failed"]

SMALL = 200_000.0
"""Multiplications, or as much other work, below which one thread alone is faster."""


@dataclass(frozen=True, slots=True)
class Output:
    """A result: its shape and NumPy type.

    ``count`` is the slot of the frame in which a run finds how many rows it has, if that
    depends on more than shapes; ``shape`` is then the largest it can have. ``texts`` are
    the strings that its numbers mean, if they mean any.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    count: int | None = None
    texts: np.ndarray[Any, Any] | None = None


class Frame:
    """The memory of one run: the block, an arena and the threads' scratch."""

    def __init__(self, plan: Plan) -> None:
        self.block = huge(plan.template.nbytes).view(np.int64)
        self.block[:] = plan.template
        self.words = self.block.data
        self.address = self.block.ctypes.data
        self.arena = huge(plan.arena)
        self.scratch = huge(plan.scratch * plan.threads)
        self.block[plan.own] += self.address
        self.block[plan.in_arena] += self.arena.ctypes.data
        self.block[FRAME["scratch"]] = self.scratch.ctypes.data
        self.block[FRAME["scratch_stride"]] = plan.scratch
        self.table = self.address + plan.table
        self.call = plan.caller(self.block) if plan.is_swift else None


_LARGE = 1 << 21


def huge(size: int) -> np.ndarray[Any, Any]:
    """Return bytes aligned to a cache line, or to a large page where they fill some."""
    if size >= _LARGE:
        return _mapped(size)
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def _mapped(size: int) -> np.ndarray[Any, Any]:
    """Return bytes in large pages, those that fill none in small ones."""
    import mmap

    room = size + _LARGE
    if hasattr(mmap, "MAP_PRIVATE"):
        # By default memory is shared with children, and then has no large pages either.
        memory = mmap.mmap(-1, room, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    else:
        memory = mmap.mmap(-1, room)
    raw = np.frombuffer(memory, np.uint8)
    start = -raw.ctypes.data % _LARGE
    end = start + size // _LARGE * _LARGE
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without large pages has small ones
            memory.madvise(mmap.MADV_HUGEPAGE, start, end - start)
            memory.madvise(mmap.MADV_NOHUGEPAGE, end, room - end)
    return raw[start : start + size]


class Plan:
    """Everything decided for some shapes. Thread-safe.

    ``grown`` gives what is called before a frame is made, with the plan, as long as its
    owner lives.
    """

    def __init__(
        self,
        planner: Planner,
        inputs: Sequence[np.ndarray[Any, Any]],
        outputs: Sequence[Output],
        pool: Pool,
        threads: int,
        grown: Callable[[], Callable[[Plan], None] | None] = lambda: None,
    ) -> None:
        self._kinds = [(array.dtype, array.shape) for array in inputs]
        self.outputs = tuple(outputs)
        counts = [(index, output.count) for index, output in enumerate(outputs)]
        self._counts = [(i, slot) for i, slot in counts if slot is not None]
        self._texts = [
            (index, output.texts)
            for index, output in enumerate(self.outputs)
            if output.texts is not None
        ]
        self._grown = grown
        self._pool = pool
        self.steps = sorted(planner.steps, key=lambda step: step.level)
        work = sum(step.work for step in self.steps)
        self.threads = threads if work > SMALL else 1
        self.arena = arrange([b for b in planner.buffers if b.last >= 0])
        self.scratch = -(-planner.scratch // 64) * 64
        self._lay_out(planner)
        means = bool(self._counts or self._texts)
        self.is_swift = self._bound and self.threads <= 1 and not means
        self.caller = pool.caller
        self._idle: list[Frame] = []
        self._active: set[Frame] = set()

    def _lay_out(self, planner: Planner) -> None:
        """Make the template and the places where addresses are to be added."""
        levels: list[list[PlannedStep]] = []
        for step in self.steps:
            if len(levels) == step.level:
                levels.append([])
            levels[step.level].append(step)
        self.levels = levels
        level_table = FRAME_SLOTS
        step_table = level_table + LEVEL_SLOTS * len(levels)
        counters = -(-(step_table + STEP_SLOTS * len(self.steps)) // 8) * 8
        tables = counters + COUNTER_SLOTS * len(levels)
        position = tables + len(planner.tables)
        words = array("q", bytes(8 * position))
        words[FRAME["levels"]] = len(levels)
        words[FRAME["level_table"]] = 8 * level_table
        words[FRAME["step_table"]] = 8 * step_table
        words[FRAME["counters"]] = 8 * counters
        words[tables:position] = planner.tables
        own = [FRAME["level_table"], FRAME["step_table"], FRAME["counters"]]
        places: dict[Home, list[tuple[int, int]]] = {home: [] for home in Home}
        holders: dict[int, Any] = {}
        index = 0
        for number, steps in enumerate(levels):
            chunks = 0
            row = level_table + LEVEL_SLOTS * number
            words[row] = index
            words[row + 1] = len(steps)
            for step in steps:
                chunks += step.chunks
                entry = step_table + STEP_SLOTS * index
                words[entry] = step.address
                words[entry + 1] = 8 * position
                words[entry + 2] = chunks
                own.append(entry + 1)
                words.extend(step.words)
                for slot, buffer in step.places:
                    place = position + slot
                    home = buffer.home
                    if home is Home.FIXED:
                        words[place] += buffer.address
                        holders[id(buffer)] = buffer.holder
                        continue
                    if home is Home.ARENA:
                        words[place] += buffer.address
                    elif home is Home.TABLE:
                        words[place] += 8 * tables
                    places[home].append((place, buffer.index))
                position += len(step.words)
                index += 1
            words[row + 2] = chunks
        own += [p for home in (Home.TABLE, Home.FRAME) for p, _ in places[home]]
        self._holders = list(holders.values())  # who own fixed memory
        self._bound = self._bind(words, places, planner.inputs)
        self.table = 8 * position
        if self._bound:
            words[FRAME["table"]] = 8 * position
            own += [position, FRAME["table"]]
            for slot, address in binding.pythons().items():
                words[slot] = address
        self.template = np.array(words)
        self.own = np.array(own, np.intp)
        self.in_arena = np.array([p for p, _ in places[Home.ARENA]], np.intp)
        self._given = _Given(self.template, places[Home.INPUT])
        self._made = _Given(self.template, places[Home.OUTPUT])
        self._shapes = [output.shape for output in self.outputs]
        self._dtypes = [output.dtype for output in self.outputs]

    def _bind(
        self,
        words: array[int],
        places: dict[Home, list[tuple[int, int]]],
        inputs: int,
    ) -> bool:
        """Append the table by which native code finds arrays, if it can."""
        offsets = binding.offsets()
        if offsets is not None:
            words += binding.table(
                *offsets,
                (
                    (first + index, place, words[place])
                    for home, first in ((Home.INPUT, 0), (Home.OUTPUT, inputs))
                    for place, index in places[home]
                ),
                self._kinds,
            )
        return offsets is not None

    def run(
        self, inputs: Sequence[Any], buffers: Sequence[Any], context: Context
    ) -> list[Any] | None:
        """Run once; ``None`` where a kernel found its inputs wrong.

        ``inputs`` are C-contiguous arrays; ``buffers`` as for an executable.
        """
        results = self._results(inputs, buffers)
        frame = self._lease()
        try:
            self._address(frame, inputs, results)
            if context.stopped():
                raise Cancelled("the run was stopped, as asked")
            if context.trace is None:
                self._pool.run(frame.address, self.threads)
            else:
                self._timed(frame, context)
            if frame.words[_CANCELLED]:
                raise Cancelled("the run was stopped, as asked")
            return None if frame.words[_FAILED] else self._meant(frame, results)
        finally:
            self._give_back(frame)

    def run_plainly(self, inputs: Sequence[Any]) -> list[Any] | None:
        """Run once into new arrays, untraced; ``None`` where `run` would do otherwise.

        That is where a kernel found its inputs wrong, or where `cancel` stopped this run
        along with another one.
        """
        results = self._new()
        frame = self._lease()
        try:
            if self._bound and type(inputs) is list:
                arrays = inputs + results
                self._pool.bind(frame.table, id(arrays))
            else:
                self._address(frame, inputs, results)
            self._pool.run(frame.address, self.threads)
            spoiled = frame.words[_FAILED] or frame.words[_CANCELLED]
            return None if spoiled else self._meant(frame, results)
        finally:
            self._give_back(frame)

    def run_swiftly(self, inputs: Sequence[Any]) -> list[Any] | None:
        """Do the same by one thread with arrays whose memory native code finds.

        Only where the plan `is_swift`. So short a run is not stopped once it has begun.
        There is none where inputs have other types or shapes than the plan is for.
        """
        results = list(map(np.empty, self._shapes, self._dtypes))
        try:
            frame = self._idle.pop()
        except IndexError:
            frame = self._made_frame()
        spoiled = frame.call([*inputs, *results])  # type: ignore[misc]
        self._idle.append(frame)
        return None if spoiled else results

    def _meant(self, frame: Frame, results: list[Any]) -> list[Any]:
        """Return results with no more rows than this run has counted, and strings in
        the place of the numbers that mean them."""
        for index, slot in self._counts:
            results[index] = results[index][: frame.words[slot]].copy()
        for index, texts in self._texts:
            results[index] = texts.take(results[index])
        return results

    def _address(
        self, frame: Frame, inputs: Sequence[Any], results: Sequence[Any]
    ) -> None:
        """Make a frame ready: where its inputs and outputs lie, and nothing wrong yet."""
        words = frame.words
        self._given.write(words, inputs)
        self._made.write(words, results)
        words[_FAILED] = 0
        words[_CANCELLED] = 0

    def _new(self) -> list[Any]:
        return list(map(np.empty, self._shapes, self._dtypes))

    def _results(self, inputs: Sequence[Any], buffers: Sequence[Any]) -> list[Any]:
        """Return where results go: the caller's buffers, if all of them will do."""
        given = [buffer for buffer in buffers if buffer is not None]
        if not given:
            return self._new()
        made = zip(buffers, self.outputs, strict=True)
        if not (
            all(buffer is None or _fits(buffer, output) for buffer, output in made)
            and apart(given, inputs)
        ):
            buffers = (None,) * len(buffers)
        return [
            np.empty(output.shape, output.dtype) if buffer is None else buffer
            for output, buffer in zip(self.outputs, buffers, strict=True)
        ]

    def _timed(self, frame: Frame, context: Context) -> None:
        """Run with the cycle counter read after each level, and tell the trace."""
        stamps = np.zeros(len(self.levels) + 1, np.int64)
        frame.block[FRAME["stamps"]] = stamps.ctypes.data
        began = time.perf_counter_ns()
        self._pool.run(frame.address, self.threads)
        ended = time.perf_counter_ns()
        frame.block[FRAME["stamps"]] = 0
        record(context.trace, self.levels, stamps, began, ended)

    def _lease(self) -> Frame:
        """Return a frame nobody uses; lists and sets change in one step each."""
        try:
            frame = self._idle.pop()
        except IndexError:
            frame = self._made_frame()
        self._active.add(frame)
        return frame

    def _made_frame(self) -> Frame:
        if grown := self._grown():
            grown(self)
        return Frame(self)

    def _give_back(self, frame: Frame) -> None:
        self._active.discard(frame)
        self._idle.append(frame)

    def cancel(self) -> None:
        """Make runs in progress stop after the chunks that are under way."""
        for frame in self._active.copy():
            frame.words[FRAME["cancelled"]] = 1

    def trim(self) -> None:
        """Let go of the memory of idle frames."""
        idle, self._idle = self._idle, []
        if idle:
            self._pool.retire(idle)

    def __del__(self) -> None:
        if idle := getattr(self, "_idle", None):
            self._pool.retire(idle)

    @property
    def memory(self) -> int:
        """Bytes of one frame, in all frames that exist."""
        one = self.template.nbytes + self.arena + self.scratch * self.threads
        return one * (len(self._idle) + len(self._active))


class _Given:
    """Where addresses of arrays that change from run to run are written."""

    def __init__(
        self, template: np.ndarray[Any, Any], places: Sequence[tuple[int, int]]
    ) -> None:
        found: dict[int, list[tuple[int, int]]] = {}
        for place, index in places:
            found.setdefault(index, []).append((place, int(template[place])))
        self._places = tuple(found.items())

    def write(self, words: memoryview, arrays: Sequence[Any]) -> None:
        """Write the arrays' addresses."""
        for index, places in self._places:
            address = address_of(arrays[index])
            for place, offset in places:
                words[place] = address + offset


_view: Any = ctypes.c_char.from_buffer


def address_of(array: np.ndarray[Any, Any]) -> int:
    """Return where an array's elements begin; the quick way where it is writable."""
    try:
        return ctypes.addressof(_view(array))
    except (TypeError, ValueError, BufferError):
        return int(array.ctypes.data)


def _fits(buffer: Any, output: Output) -> bool:
    return bool(
        isinstance(buffer, np.ndarray)
        and buffer.shape == output.shape
        and buffer.dtype == output.dtype
        and buffer.flags.c_contiguous
        and buffer.flags.writeable
    )


def apart(buffers: Sequence[Any], inputs: Sequence[Any]) -> bool:
    """Whether no buffer shares memory with another, or with an input."""
    return not any(
        isinstance(other, np.ndarray) and np.may_share_memory(buffer, other)
        for place, buffer in enumerate(buffers)
        for other in (*inputs, *buffers[:place])
    )
