"""Conv of as many groups as channels: each filter goes over one channel of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np
from runtime.graph import Node

from runtime_ep_cpu.codegen import depthwise
from runtime_ep_cpu.codegen.depthwise_tile import along, sizes, tiles
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import Margins
from runtime_ep_cpu.native.layout import Layout, of_array
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.convolution import (
    SlidingStep,
    anchor_of,
    filters_of,
    reading_specs,
)
from runtime_ep_cpu.native.steps.pixels import (
    PixelRows,
    rows_of,
    seen_by,
    without_channels,
)


def is_depthwise(node: Node, target: Target) -> bool:
    """Whether a Conv has one filter per channel, and channels enough for a register."""
    filters = node.inputs[1]
    if filters is None or filters.const is None:
        return False
    count, channels, *_ = filters.const.shape
    groups = node.attribute("group", 1)
    return bool(channels == 1 and count == groups and count >= target.lanes)


class DepthwiseStep(SlidingStep):
    """A convolution with one filter per channel."""

    def __init__(self, group: Group, target: Target) -> None:
        super().__init__(group)
        windows = self.windows
        self._lanes = target.lanes
        self._together = along(windows.kernel[-1])
        self._weights = of_array(_panels(filters_of(anchor_of(group)), target.lanes))
        self._limits = of_array(np.array(self.epilogue.limits, np.float32))
        self._sizes = sizes(target)
        self._tiles = tiles(
            target, self._together, windows.strides[-1], windows.dilations[-1]
        )
        self._spec = Spec.of(
            "depthwise", epilogue=self.epilogue.expression, wide=self.epilogue.wide
        )
        self.specs = (
            self._spec, *self._tiles, *reading_specs(self.source, self.epilogue)
        )  # fmt: skip

    def convolve(
        self,
        planner: Planner,
        x: Layout,
        out: Layout,
        operands: Sequence[Layout],
        margins: Margins,
    ) -> None:
        """Add the convolution of an image with its padding, of which ``margins`` are."""
        seen = seen_by(x, self.windows.strides, out.shape[2:])
        places = [seen, *map(without_channels, (out, *operands))]
        rows = rows_of(places)
        taps = prod(self.windows.kernel)
        steps, ahead = self._steps(x), self._ahead(x)
        cut = depthwise.blocking(
            rows.count,
            rows.longest,
            -(-self.channels // self._lanes),
            taps,
            self._lanes,
        )
        arguments: list[Argument] = [
            x, x.strides[-1] * 4,
            seen.strides[-1] * 4, planner.table(steps), len(steps), self._weights, taps,
            planner.bias(self.epilogue.bias, self.channels), self.channels, rows.count,
            *cut, *self._tables(planner, rows), out, places[1].strides[-1],
            planner.table(ahead), len(ahead), self._limits,
        ]  # fmt: skip
        for operand, place in zip(operands, places[2:], strict=True):
            arguments += [operand, place.strides[-1]]
        planner.step(
            self._spec,
            arguments,
            cut.blocks * cut.groups,
            [x, *operands],
            [out],
            scratch=rows.longest * self._lanes * 4,
            work=float(out.size) * taps * 2,
        )

    def _steps(self, x: Layout) -> list[int]:
        """Return where each row of the kernel, or part of one, begins, in bytes."""
        windows = self.windows
        *outer, last = windows.kernel
        parts = (*map(range, outer), range(0, last, self._together))
        pairs = list(zip(windows.dilations, x.strides[2:], strict=True))
        return [
            4 * sum(i * gap * s for i, (gap, s) in zip(index, pairs, strict=True))
            for index in product(*parts)
        ]

    def _ahead(self, x: Layout) -> list[int]:
        """Return where rows begin that the next row of the result reads first, in bytes."""
        windows = self.windows
        if len(windows.kernel) < 2:
            return []
        first, row = windows.reach[-2], x.strides[-2]
        return [4 * (first + i) * row for i in range(windows.strides[-2])]

    def _tables(self, planner: Planner, rows: PixelRows) -> tuple[Layout, Layout]:
        """Return the tables of tiles and of rows."""
        entries: list[int] = []
        sizes, which = np.unique(rows.pixels, return_inverse=True)
        ranges = np.zeros((len(sizes), 2), np.int64)
        for number, left in enumerate(sizes.tolist()):
            first = len(entries) // len(depthwise.TILE_FIELDS)
            for size, tile in zip(self._sizes, self._tiles, strict=True):
                if left >= size:
                    entries += (planner.library.address(tile), size, left // size)
                    left %= size
            ranges[number] = first, len(entries) // len(depthwise.TILE_FIELDS)
        numbers = rows.table(rows.pixels, ranges[which])
        return planner.table(entries), planner.table(numbers)


def _panels(filters: np.ndarray[Any, Any], lanes: int) -> np.ndarray[Any, Any]:
    """Return the weights of each panel of channels, ``[panels, taps, lanes]``.

    The last panel ends with the last channel, see `codegen.depthwise`.
    """
    taps = filters.reshape(len(filters), -1).T.astype(np.float32)
    starts = [
        min(start, len(filters) - lanes) for start in range(0, len(filters), lanes)
    ]
    return np.stack([taps[:, start : start + lanes] for start in starts])
