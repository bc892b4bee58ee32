"""Steps planned apart become one step, whose chunks make the calls of several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runtime_ep_cpu.codegen.sequence import CALL_FIELDS, FIELDS, SPEC
from runtime_ep_cpu.native.layout import Buffer, Home, Layout
from runtime_ep_cpu.native.planner import PlannedStep, Planner, Share

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
    firsts, table, shifted = [0], list[int](), list[int]()
    words: list[int] = [0] * len(FIELDS)
    places: list[tuple[int, Buffer]] = []
    for chunk in chunks:
        for call in chunk:
            start, known = len(words), len(shifted)
            words += call.words
            for slot, buffer in call.places:
                if buffer.home is Home.SCRATCH:
                    words[start + slot] += front + buffer.address
                    shifted.append(slot)
                else:
                    places.append((start + slot, buffer))
            table += (
                call.address, start, len(call.words), call.chunks, known,
                len(shifted) - known,
            )  # fmt: skip
        firsts.append(len(table) // len(CALL_FIELDS))
    for slot, made in enumerate(map(planner.table, (firsts, table, shifted))):
        words[slot] = made.bytes
        places.append((slot, made.buffer))
    words[FIELDS.index("room")] = room = front + aligned(room)
    planner.call(
        SPEC,
        words,
        places,
        len(chunks),
        _outside(layout for call in calls for layout in call.reads),
        _outside(layout for call in calls for layout in call.writes),
        room + max(call.scratch for call in calls),
        sum(call.work for call in calls),
        shares,
    )


def _outside(layouts: Iterable[Layout]) -> list[Layout]:
    """Return one layout for each buffer that is not scratch."""
    found = {layout.buffer: layout for layout in layouts}
    return [each for buffer, each in found.items() if buffer.home is not Home.SCRATCH]


def aligned(size: int) -> int:
    """Return a size that ends with a cache line."""
    return -(-size // ALIGNMENT) * ALIGNMENT
