"""Conv of any number of axes, directly over images, with what follows element by element."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from math import prod
from typing import Any, NamedTuple

import numpy as np
from runtime.graph import Node, Tensor, Value

from runtime_ep_cpu.codegen import convolution, copies
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.microkernel import tiles
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import Margins, bordered, image
from runtime_ep_cpu.native.layout import Layout, Unplannable
from runtime_ep_cpu.native.packing import Request
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.epilogue import Addend, epilogue_of
from runtime_ep_cpu.native.steps.matrix import width_for
from runtime_ep_cpu.native.steps.windows import Windows

SEGMENT = 64
"""Pixels that are taken for a row where rows follow each other without a gap."""


def is_supported(node: Node) -> bool:
    """Whether a Conv has constant float32 filters, and up to three axes."""
    filters, bias = node.input(1), node.input(2)
    if any(element_of(v) != "float" for v in (*node.inputs, *node.outputs) if v):
        return False
    if filters is None or not filters.is_constant or filters.const is None:
        return False
    if bias is not None and not bias.is_constant:
        return False
    return 3 <= len(filters.const.shape) <= 5 and 0 not in filters.const.shape


class _Parts(NamedTuple):
    """The channels' parts, several groups of Conv taken together to fill a register."""

    number: int
    channels: int
    filters: int
    joined: int


def _parts(groups: int, channels: int, filters: int, lanes: int) -> _Parts:
    """Join groups until their filters fill a register; what is not theirs is zeros."""
    each = filters // groups
    joined = next(
        j
        for j in range(1, groups + 1)
        if not groups % j and (each * j >= lanes or j == groups)
    )
    return _Parts(groups // joined, channels * joined, each * joined, joined)


class ConvolutionStep:
    """``epilogue(Conv(X, W) + bias)``; filters are packed when the session is made."""

    def __init__(self, group: Group, target: Target) -> None:
        if group.anchor is None:
            raise ValueError("a convolution has an anchor")
        self._node = node = group.anchor
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        filters: Value = node.inputs[1]  # type: ignore[assignment]
        if filters.const is None:
            raise ValueError("filters are constant")
        self._filters, channels, *kernel = filters.const.shape
        self._windows = Windows(node, kernel)
        groups = node.attribute("group", 1)
        if self._filters % groups:
            raise ValueError(f"{self._filters} filters are not of {groups} groups")
        self._channels = channels * groups
        self._parts = _parts(groups, channels, self._filters, target.lanes)
        self._vectors = width_for(target, self._parts.filters)
        self._width = target.lanes * self._vectors
        self._epilogue = epilogue_of(
            node.outputs[0], group.after, self._filters, Addend(node.input(2)), 1
        )
        self._spec = Spec.of(
            "convolution",
            vectors=self._vectors,
            epilogue=self._epilogue.expression,
            wide=self._epilogue.wide,
        )
        self._tiles = tiles(target, self._vectors, runs=True)
        matrix = _matrix(filters, groups, self._parts, self._width)
        weights = Value(filters.name, None, Tensor.of(matrix))
        self.packed = Request(weights, self._vectors, True, "float", self._width)
        self.specs: Sequence[Spec] = (
            self._spec, *self._tiles, self.packed.spec, *copies.specs(4)
        )  # fmt: skip

    @property
    def border(self) -> tuple[Value, Margins] | None:
        """The zeros it reads around its input, where they don't depend on its size."""
        margins = self._windows.margins(None)
        return None if margins is None else (self._x, margins)

    def plan(self, planner: Planner) -> None:
        """Plan the convolution for the shapes at hand."""
        x = planner.layout(self._x)
        batch, channels, *sizes = x.shape
        if channels != self._channels or len(sizes) != len(self._windows.kernel):
            raise Unplannable(f"{x.shape} does not fit the filters")
        margins = self._windows.margins(sizes)
        if margins is None:
            raise Unplannable("a padding is negative")
        counts = self._windows.counts(sizes, margins)
        shape = (batch, self._filters, *counts)
        given = [planner.layout(v).broadcast(shape) for v in self._epilogue.operands]
        operands = [
            _per_pixel(planner, operand) if wide else operand
            for operand, wide in zip(given, self._epilogue.wide, strict=True)
        ]
        x = bordered(planner, x, margins)
        out = image(planner, self._epilogue.result, shape, "float", [x, *operands])
        self._convolve(planner, x, out, operands)

    def _convolve(
        self, planner: Planner, x: Layout, out: Layout, operands: Sequence[Layout]
    ) -> None:
        windows, parts = self._windows, self._parts
        strides = [
            s * step for s, step in zip(x.strides[2:], windows.strides, strict=True)
        ]
        seen = x.with_dims((out.shape[0], *out.shape[2:]), (x.strides[0], *strides))
        places = [seen, *(_pixels(layout) for layout in (out, *operands))]
        table, rows, pixels = _rows(planner, places)
        k, steps = windows.runs(parts.channels, x.strides[2:], parts.number == 1)
        cut = convolution.blocking(
            rows, pixels, parts.filters, len(steps), k, self._width
        )
        panels = planner.panels(self.packed)
        if panels is None:
            raise Unplannable("filters are not packed")
        count = -(-parts.filters // self._width)
        bias = planner.bias(self._epilogue.bias, self._filters + self._width)
        pixel = places[1].strides[-1]
        arguments: list[Argument] = [
            x, seen.strides[-1] * 4, panels, out, pixel, bias, rows, parts.filters, k,
            len(steps), cut.run_block, planner.table(_moves(steps, k, cut.run_block)),
            cut.block, cut.blocks, cut.panels, cut.groups, parts.channels,
            count * self._width * k * len(steps),
            planner.tile_table(self._tiles), table, out, pixel,
        ]  # fmt: skip
        for operand, place in zip(operands, places[2:], strict=True):
            arguments += [operand, place.strides[-1]]
        planner.step(
            self._spec,
            arguments,
            parts.number * cut.groups * cut.blocks,
            [x, panels, *operands],
            [out],
            work=float(out.size) * k * len(steps),
        )


def _matrix(
    filters: Value, groups: int, parts: _Parts, width: int
) -> np.ndarray[Any, Any]:
    """Return filters as rows of what each reads, in memory order: taps, then channels.

    Joined groups have zeros for each other's channels. Every part is filled up with
    rows of zeros to whole panels, where there are several.
    """
    array = filters.constant()
    if array is None:
        raise ValueError("filters are constant")
    taps = np.moveaxis(array, 1, -1).reshape(
        groups, -1, prod(array.shape[2:]), array.shape[1]
    )
    if groups == 1:
        return np.ascontiguousarray(taps[0].reshape(len(array), -1))
    each, (_, _, count, channels) = len(array) // groups, taps.shape
    rows = -(-parts.filters // width) * width if parts.number > 1 else parts.filters
    made = np.zeros((parts.number, rows, count, parts.joined, channels), np.float32)
    for member in range(parts.joined):
        own = slice(member * each, (member + 1) * each)
        made[:, own, :, member] = taps[member :: parts.joined]
    return made.reshape(parts.number * rows, -1)


def _per_pixel(planner: Planner, operand: Layout) -> Layout:
    """Return an operand whose channels lie innermost, or are all the same."""
    if operand.shape[1] == 1 or operand.strides[1] == 1:
        return operand
    return bordered(planner, operand, ((0, 0),) * (len(operand.shape) - 2))


def _pixels(layout: Layout) -> Layout:
    """Return an image without its channels."""
    return layout.at(1, 0)


def _rows(planner: Planner, places: Sequence[Layout]) -> tuple[Layout, int, int]:
    """Return the table of rows, how many they are, and how long the longest is.

    ``places`` are the input, at what the first tap reads, the result and the operands,
    [batch, *sizes] each. Where a row continues the one before everywhere, they are one
    row, cut anew.
    """
    sizes = list(places[0].shape)
    strides = [list(place.strides) for place in places]
    length = sizes.pop()
    steps = [row.pop() for row in strides]
    while sizes and all(
        sizes[-1] == 1 or row[-1] == step * length
        for row, step in zip(strides, steps, strict=True)
    ):
        length *= sizes.pop()
        for row in strides:
            row.pop()
    pieces = -(-length // SEGMENT)
    cuts = [length * i // pieces for i in range(pieces + 1)]
    numbers: list[int] = []
    for index in product(*map(range, sizes)):
        starts = [
            sum(i * s for i, s in zip(index, row, strict=True)) for row in strides
        ]
        for first, last in pairwise(cuts):
            at = [
                start + first * step for start, step in zip(starts, steps, strict=True)
            ]
            numbers += (last - first, at[0], at[1], *at[1:])
    rows = prod(sizes) * pieces
    return (
        planner.table(numbers),
        rows,
        max(b - a for a, b in pairwise(cuts)),
    )


def _moves(starts: Sequence[int], k: int, block: int) -> list[int]:
    """Return the bytes from the end of each run to the next, anew for every block."""
    return [
        4 * (start if i % block == 0 else start - starts[i - 1] - k)
        for i, start in enumerate(starts)
    ]
