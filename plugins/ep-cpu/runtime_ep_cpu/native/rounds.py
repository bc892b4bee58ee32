"""A loop's body among the steps around it: where its buffers lie, and its calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from runtime_ep_cpu.codegen import repeat
from runtime_ep_cpu.codegen.team import MOST_PARTS
from runtime_ep_cpu.native.arena import arrange
from runtime_ep_cpu.native.layout import Buffer, Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument, PlannedStep, Planner


@dataclass(slots=True, eq=False)
class Place:
    """Where a buffer of the body lies in the plan around it, and how that changes.

    ``move`` and ``flip`` are in bytes, as `repeat.MOVE_FIELDS` says.
    """

    layout: Layout | None = None
    move: int = 0
    flip: int = 0


@dataclass(slots=True)
class Inside:
    """A body being planned: its planner, and where its buffers lie around it.

    ``ends`` are the steps behind the last round; ``reads`` and ``writes`` are of the plan
    around it.
    """

    planner: Planner
    outer: Planner
    places: dict[Buffer, Place] = field(default_factory=dict)
    ends: list[PlannedStep] = field(default_factory=list)
    reads: list[Layout] = field(default_factory=list)
    writes: list[Layout] = field(default_factory=list)


class Calls:
    """The body's steps as `codegen.repeat` wants them.

    ``words`` are all arguments, one call's behind the other's; ``levels``, ``calls`` and
    ``moves`` are the tables that `repeat.FIELDS` names. ``memory`` is what the body's own
    buffers lie in, and ``reads`` what it reads of the plan around it.
    """

    def __init__(self, inside: Inside, levels: Sequence[Sequence[PlannedStep]]) -> None:
        outer, inner = inside.outer, inside.planner
        buffers = [buffer for buffer in inner.buffers if buffer.last >= 0]
        size = arrange(buffers)
        block = outer.allocate(None, (size,), "i8") if size else None
        self.memory = [] if block is None else [block]
        table, frame = outer.table(inner.tables), outer.failed()
        self._own = {
            inner.table(()).buffer: table,
            inner.failed().buffer: frame.with_dims((), (), 0),
        }
        if block is not None:
            self._own.update(dict.fromkeys(buffers, block))
        self._inside = inside
        self._arranged = set(buffers)
        self.words: list[Argument] = []
        self.levels: list[int] = []
        self.calls: list[int] = []
        self.moves: list[int] = []
        self.reads: list[Layout] = []
        for level in levels:
            self._level(level)

    def _level(self, steps: Sequence[PlannedStep]) -> None:
        first, end = len(self.calls) // len(repeat.CALL_FIELDS), 0
        for step in steps:
            end += step.chunks
            self.calls += (step.address, len(self.words), end)
            self._arguments(step)
        if end > MOST_PARTS:
            raise Unplannable("a round has too many parts")
        self.levels += (first, end)

    def _arguments(self, step: PlannedStep) -> None:
        """Add a call's arguments, and how those move that point to what moves."""
        start = len(self.words)
        self.words += step.words
        for slot, buffer in step.places:
            word = step.words[slot]
            place = self._inside.places.get(buffer)
            if place is not None:
                if place.layout is None:
                    raise ValueError("a buffer of the body lies nowhere")
                word += place.layout.bytes
                home = place.layout.buffer
                if place.move or place.flip:
                    self.moves += (start + slot, place.move, place.flip)
            elif buffer in self._own:
                found = self._own[buffer]
                word += found.bytes
                word += buffer.address if buffer in self._arranged else 0
                home = found.buffer
            else:
                home = buffer
                self.reads.append(Layout(buffer, "i8", (1,), (1,)))
            self.words[start + slot] = Layout(home, "i8", (1,), (1,), word)
