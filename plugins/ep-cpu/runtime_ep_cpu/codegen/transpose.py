"""Transposes a square of numbers held in registers, by a network of shuffles."""

from __future__ import annotations

from collections.abc import Sequence

from runtime_ep_cpu.codegen.builder import Function, Val, kind


def transposed(function: Function, rows: Sequence[Val]) -> list[Val]:
    """Return the columns of as many vectors as each has lanes, a power of two.

    Each round exchanges blocks of half the size across the diagonal::

        for distance in (lanes / 2, …, 2, 1):
            for row without that bit: exchange the blocks it shares with row + distance

    Vectors of 128 bits are interleaved instead, as one instruction does everywhere.
    """
    lanes = len(rows)
    if lanes * kind(rows[0].type).bits == 128:
        return _interleaved(function, rows)
    now = list(rows)
    distance = lanes // 2
    while distance:
        low = [i if not i & distance else lanes + i - distance for i in range(lanes)]
        high = [i + distance if not i & distance else lanes + i for i in range(lanes)]
        following = list(now)
        for row in range(lanes):
            if not row & distance:
                pair = now[row], now[row + distance]
                following[row] = function.shuffle(*pair, low)
                following[row + distance] = function.shuffle(*pair, high)
        now = following
        distance //= 2
    return now


def _interleaved(function: Function, rows: Sequence[Val]) -> list[Val]:
    """Return the columns, by rounds that halve how far apart a column's numbers lie::

    for round in range(log2(lanes)):
        for row in the first half: interleave row with row + lanes / 2
    """
    lanes, half = len(rows), len(rows) // 2
    mixed = [lane + start for lane in range(lanes) for start in (0, lanes)]
    now = list(rows)
    for _ in range(half.bit_length()):
        now = [
            function.shuffle(*pair, part)
            for pair in zip(now[:half], now[half:], strict=True)
            for part in (mixed[:lanes], mixed[lanes:])
        ]
    return now
