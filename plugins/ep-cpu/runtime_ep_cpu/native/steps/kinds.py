"""Kinds of rows of a convolution: by the runs of the filter that read more than padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

import numpy as np

from runtime_ep_cpu.codegen.convolution import PIECE_FIELDS
from runtime_ep_cpu.native.steps.pixels import Numbers, PixelRows
from runtime_ep_cpu.native.steps.windows import Taps


class Kinds:
    """The kinds that rows are of: all that the axes' own kinds of windows make."""

    def __init__(self, taps: Taps, live: Sequence[Sequence[range]]) -> None:
        """Take which taps of each window are live, by axis; the last axis is one row."""
        self._kernel = taps.kernel[:-1]
        whole = [range(size) for size in self._kernel]
        several = [
            axis
            for axis, (windows, full) in enumerate(zip(live, whole, strict=False))
            if windows.count(full) != len(windows)
        ]
        self.apart = several[-1] + 2 if several else 0
        """How many axes, the batch among them, rows must not be joined across."""
        self._live = [*live[: self.apart - 1]] if several else []
        own = [tuple(dict.fromkeys(windows)) for windows in self._live]
        self._kinds = [*own, *((full,) for full in whole[len(own) :])]

    def of(self, rows: PixelRows) -> Numbers:
        """Return the number of each row's kind."""
        outer = rows.outer
        found = np.zeros((1,) * len(outer), np.int64)
        for axis, windows in enumerate(self._live, 1):
            numbers = {window: i for i, window in enumerate(self._kinds[axis - 1])}
            along = [numbers[window] for window in windows[: outer[axis]]]
            rank = (len(along), *(1,) * (len(outer) - axis - 1))
            found = found * len(numbers) + np.reshape(along, rank)
        return np.repeat(np.broadcast_to(found, outer), rows.segments)

    def pieces(self, runs: int, block: int) -> tuple[list[int], list[int]]:
        """Return, for each kind and block of runs, the place and number of its pieces,
        and all `PIECE_FIELDS`: first run, number of runs, whether sums begin and end."""
        blocks: list[int] = []
        pieces: list[int] = []
        fields = len(PIECE_FIELDS)
        along = runs // prod(self._kernel)
        for alive in self._alive(along):
            begins = 1
            for start in range(0, runs, block):
                blocks.append(len(pieces) // fields)
                run, end = start, min(start + block, runs)
                while run < end:
                    count = 0
                    while run + count < end and alive[run + count]:
                        count += 1
                    if count:
                        pieces += (run, count, begins, 0)
                        begins = 0
                    run += count + 1
                blocks.append(len(pieces) // fields - blocks[-1])
            pieces[-1] = 1
        return blocks, pieces

    def _alive(self, along: int) -> Iterator[list[bool]]:
        """Return, of each kind, which of its runs read more than padding."""
        for taps in product(*self._kinds):
            yield [
                all(i in own for i, own in zip(tap, taps, strict=True))
                for tap in product(*map(range, self._kernel))
                for _ in range(along)
            ]
