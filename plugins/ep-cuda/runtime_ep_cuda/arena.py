"""One block of memory for all that lives between the actions of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runtime_ep_cuda.tensor import Buffer

ALIGNMENT = 256


@dataclass(slots=True)
class _Life:
    buffer: Buffer
    first: int
    last: int


def lives(touched: Sequence[Iterable[Buffer]]) -> list[_Life]:
    """Return from which to which action each arena buffer is in use.

    ``touched`` are the buffers of each action, in order.
    """
    found: dict[Buffer, _Life] = {}
    for place, buffers in enumerate(touched):
        for buffer in buffers:
            if buffer.role == "arena":
                life = found.setdefault(buffer, _Life(buffer, place, place))
                life.last = place
    return list(found.values())


def lay_out(touched: Sequence[Iterable[Buffer]]) -> tuple[dict[Buffer, int], int]:
    """Return each arena buffer's offset and the bytes of all.

    Large buffers are placed first, each into the lowest gap that is free while it lives.
    Offsets are multiples of `ALIGNMENT`.
    """
    placed: list[tuple[int, int, _Life]] = []
    offsets: dict[Buffer, int] = {}
    total = 0
    for life in sorted(
        lives(touched), key=lambda life: (-life.buffer.size, life.first)
    ):
        size = aligned(life.buffer.size)
        taken = sorted(
            (start, end)
            for start, end, other in placed
            if other.first <= life.last and life.first <= other.last
        )
        offset = _gap(taken, size)
        placed.append((offset, offset + size, life))
        offsets[life.buffer] = offset
        total = max(total, offset + size)
    return offsets, total


def _gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    """Return the lowest offset with so many bytes free between sorted ranges."""
    offset = 0
    for start, end in taken:
        if start - offset >= size:
            break
        offset = max(offset, end)
    return offset


def aligned(size: int) -> int:
    """Round a number of bytes up."""
    return -(-size // ALIGNMENT) * ALIGNMENT
