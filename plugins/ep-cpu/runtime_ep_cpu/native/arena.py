"""Gives buffers that are never in use at the same time the same memory."""

from __future__ import annotations

from collections.abc import Sequence

from runtime_ep_cpu.native.layout import Buffer

ALIGNMENT = 64


def arrange(buffers: Sequence[Buffer]) -> int:
    """Set each buffer's ``address`` within one block; return the block's size in bytes.

    The largest first, each at the lowest place free during its levels.
    """
    placed: list[Buffer] = []
    whole = 0
    for buffer in sorted(buffers, key=lambda b: (-b.size, b.first)):
        taken = sorted(
            (other.address, other.address + other.size)
            for other in placed
            if other.first <= buffer.last and buffer.first <= other.last
        )
        place = 0
        for start, end in taken:
            if place + buffer.size <= start:
                break
            place = max(place, -(-end // ALIGNMENT) * ALIGNMENT)
        buffer.address = place
        whole = max(whole, place + buffer.size)
        placed.append(buffer)
    return -(-whole // ALIGNMENT) * ALIGNMENT
