"""Gives buffers that are never in use at the same time the same memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from runtime_ep_cpu.native.layout import Buffer

ALIGNMENT = 64


def arrange(buffers: Sequence[Buffer]) -> int:
    """Set each buffer's ``address`` within one block; return the block's size in bytes.

    The largest first, each at the lowest place free during its levels.
    """
    levels = 1 + max((buffer.last for buffer in buffers), default=-1)
    busy: list[list[tuple[int, int]]] = [[] for _ in range(levels)]
    whole = 0
    for buffer in sorted(buffers, key=lambda b: (-b.size, b.first)):
        during = busy[buffer.first : buffer.last + 1]
        place = 0
        for start, end in sorted(set(chain.from_iterable(during))):
            if place + buffer.size <= start:
                break
            place = max(place, -(-end // ALIGNMENT) * ALIGNMENT)
        buffer.address = place
        whole = max(whole, place + buffer.size)
        for level in during:
            level.append((place, place + buffer.size))
    return -(-whole // ALIGNMENT) * ALIGNMENT
