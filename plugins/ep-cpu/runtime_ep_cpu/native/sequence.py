"""Steps planned apart become one step, whose chunks make the calls of several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runtime_ep_cpu.codegen.sequence import CALL_FIELDS, FIELDS, SPEC
from runtime_ep_cpu.native.layout import Home, Layout
from runtime_ep_cpu.native.planner import Argument, PlannedStep, Planner, Share

ALIGNMENT = 64
"""Bytes of a cache line, where what lies in scratch begins."""


def add(
    planner: Planner,
    chunks: Sequence[Sequence[PlannedStep]],
    room: int,
    shares: Sequence[Share],
) -> None:
    """Add a step of one chunk per list of calls, which follow each other.

    ``room`` is how many bytes of scratch their buffers take together; in front of these
    lie the arguments of the call under way. ``shares`` tell whose work it is.
    """
    calls = [call for chunk in chunks for call in chunk]
    front = aligned(8 * max(len(call.words) for call in calls))
    firsts, table = [0], list[int]()
    shifted, words = list[int](), list[Argument]()
    for chunk in chunks:
        for call in chunk:
            slots = [n for n, buffer in call.places if buffer.home is Home.SCRATCH]
            table += (
                call.address, len(FIELDS) + len(words), len(call.words), call.chunks,
                len(shifted), len(slots),
            )  # fmt: skip
            shifted += slots
            words += _arguments(call, front)
        firsts.append(len(table) // len(CALL_FIELDS))
    room = front + aligned(room)
    tables = map(planner.table, (firsts, table, shifted))
    planner.step(
        SPEC,
        [*tables, room, *words],
        len(chunks),
        _outside(layout for call in calls for layout in call.reads),
        _outside(layout for call in calls for layout in call.writes),
        room + max(call.scratch for call in calls),
        sum(call.work for call in calls),
        shares,
    )


def _arguments(call: PlannedStep, front: int) -> list[Argument]:
    """Return the arguments of a call, with distances in place of scratch's addresses."""
    found: list[Argument] = list(call.words)
    for slot, buffer in call.places:
        offset = call.words[slot]
        if buffer.home is Home.SCRATCH:
            found[slot] = front + buffer.address + offset
        else:
            found[slot] = Layout(buffer, "i8", (), (), offset)
    return found


def _outside(layouts: Iterable[Layout]) -> list[Layout]:
    """Return one layout for each buffer that is not scratch."""
    found = {layout.buffer: layout for layout in layouts}
    return [each for buffer, each in found.items() if buffer.home is not Home.SCRATCH]


def aligned(size: int) -> int:
    """Return a size that ends with a cache line."""
    return -(-size // ALIGNMENT) * ALIGNMENT
