"""Kinds of rows of a convolution: by the runs of the filter that read more than padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

from runtime_ep_cpu.native.steps.windows import Taps


class Kinds:
    """The kinds that rows are of, numbered as they are asked for."""

    def __init__(self, taps: Taps, live: Sequence[Sequence[range]]) -> None:
        """Take which taps of each window are live, by axis; the last axis is one row."""
        self._kernel = taps.kernel[:-1]
        whole = [range(size) for size in self._kernel]
        several = [
            axis
            for axis, (windows, full) in enumerate(zip(live, whole, strict=False))
            if any(window != full for window in windows)
        ]
        self.apart = several[-1] + 2 if several else 0
        """How many axes, the batch among them, rows must not be joined across."""
        self._whole = whole
        self._live = [*live[: self.apart - 1]] if several else []
        self._numbers: dict[tuple[range, ...], int] = {}

    def of(self, index: Sequence[int]) -> int:
        """Return the number of a row's kind; the index begins with the batch's."""
        own = [windows[i] for windows, i in zip(self._live, index[1:], strict=False)]
        key = (*own, *self._whole[len(own) :])
        return self._numbers.setdefault(key, len(self._numbers))

    def pieces(self, runs: int, block: int) -> tuple[list[int], list[int]]:
        """Return, for each kind and block of runs, the place and number of its pieces,
        and all pieces: first run, number of runs, whether sums begin with it."""
        blocks: list[int] = []
        pieces: list[int] = []
        along = runs // prod(self._kernel)
        for taps in self._numbers:
            alive = [
                all(i in own for i, own in zip(tap, taps, strict=True))
                for tap in product(*map(range, self._kernel))
                for _ in range(along)
            ]
            begins = 1
            for start in range(0, runs, block):
                blocks.append(len(pieces) // 3)
                run, end = start, min(start + block, runs)
                while run < end:
                    count = 0
                    while run + count < end and alive[run + count]:
                        count += 1
                    if count:
                        pieces += (run, count, begins)
                        begins = 0
                    run += count + 1
                blocks.append(len(pieces) // 3 - blocks[-1])
        return blocks, pieces
