"""Gives buffers that are never in use at the same time the same memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from runtime_ep_cpu.native.layout import Buffer

ALIGNMENT = 64


def arrange(buffers: Sequence[Buffer]) -> int:
    """Set each buffer's ``address`` within one block; return the block's size in bytes.

    Each lies at the lowest place free during its levels. First come the largest, or those
    of the levels that need most, whichever makes the block smaller.
    """
    needs = _needs(buffers)

    def most(buffer: Buffer) -> int:
        return max(needs[buffer.first : buffer.last + 1])

    orders = (
        sorted(buffers, key=lambda b: (-b.size, b.first)),
        sorted(buffers, key=lambda b: (-most(b), -b.size, b.first)),
    )
    whole, places = min((_placed(order) for order in orders), key=lambda made: made[0])
    for buffer, place in places:
        buffer.address = place
    return whole


def _needs(buffers: Sequence[Buffer]) -> list[int]:
    """Return the bytes in use during each level."""
    needs = [0] * (1 + max((buffer.last for buffer in buffers), default=-1))
    for buffer in buffers:
        for level in range(buffer.first, buffer.last + 1):
            needs[level] += buffer.size
    return needs


def _placed(order: Sequence[Buffer]) -> tuple[int, list[tuple[Buffer, int]]]:
    """Return the size of a block for buffers that are placed in this order, and where."""
    levels = 1 + max((buffer.last for buffer in order), default=-1)
    busy: list[list[tuple[int, int]]] = [[] for _ in range(levels)]
    whole, places = 0, []
    for buffer in order:
        during = busy[buffer.first : buffer.last + 1]
        place = 0
        for start, end in sorted(set(chain.from_iterable(during))):
            if place + buffer.size <= start:
                break
            place = max(place, -(-end // ALIGNMENT) * ALIGNMENT)
        places.append((buffer, place))
        whole = max(whole, place + buffer.size)
        for level in during:
            level.append((place, place + buffer.size))
    return -(-whole // ALIGNMENT) * ALIGNMENT, places
