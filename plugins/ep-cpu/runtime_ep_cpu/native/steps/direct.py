"""Filters made ready to be slid over images directly: kernels, panels, and the call."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
from runtime.graph import Tensor, Value

from runtime_ep_cpu.codegen import convolution
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.microkernel import UNLIMITED, tiles
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.images import image
from runtime_ep_cpu.native.layout import Layout, Unplannable, of_array
from runtime_ep_cpu.native.packing import Request
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.epilogue import Epilogue
from runtime_ep_cpu.native.steps.kinds import Kinds
from runtime_ep_cpu.native.steps.matrix import width_for
from runtime_ep_cpu.native.steps.pixels import rows_of, without_channels
from runtime_ep_cpu.native.steps.windows import Taps


class _Parts(NamedTuple):
    """The channels' parts, several groups of Conv taken together to fill a register."""

    number: int
    channels: int
    filters: int
    joined: int


def _parts(groups: int, channels: int, filters: int, lanes: int) -> _Parts:
    """Join as many groups as a register holds filters of; what is not theirs is zeros."""
    each = filters // groups
    joined = max(
        j
        for j in range(1, groups + 1)
        if not groups % j and (j == 1 or each * j <= lanes)
    )
    return _Parts(groups // joined, channels * joined, each * joined, joined)


class Filters:
    """``[filters, channels of a group, *kernel]``, in panels, with one epilogue.

    Raises ``ValueError`` where filters do not divide into groups.
    """

    def __init__(
        self,
        name: str,
        array: np.ndarray[Any, Any],
        groups: int,
        epilogue: Epilogue,
        target: Target,
    ) -> None:
        count, channels = array.shape[:2]
        if count % groups:
            raise ValueError(f"{count} filters are not of {groups} groups")
        self._count = count
        self._parts = _parts(groups, channels, count, target.lanes)
        vectors = width_for(target, self._parts.filters, self._parts.number == 1)
        self._width = target.lanes * vectors
        self._epilogue = epilogue
        limits = (*UNLIMITED, *epilogue.limits)
        self._limits = of_array(np.array(limits, np.float32))
        self._spec = Spec.of(
            "convolution",
            vectors=vectors,
            epilogue=epilogue.expression,
            wide=epilogue.wide,
        )
        self._tiles = tiles(target, vectors, runs=True)
        matrix = _matrix(array, groups, self._parts, self._width)
        self._usual, rest = _divided(self._parts, vectors, target.lanes)
        self._narrow_width = target.lanes * rest
        self._narrow_tiles = tiles(target, rest, runs=True) if rest else []
        cut = self._usual * self._width if rest else len(matrix)
        self.packed = [
            Request(Value(name, None, Tensor.of(part)), size, True, "float", width)
            for part, size, width in (
                (matrix[:cut], vectors, self._width),
                (matrix[cut:], rest, self._narrow_width),
            )
            if len(part)
        ]
        self.specs: Sequence[Spec] = (
            self._spec, *self._tiles, *self._narrow_tiles,
            *(request.spec for request in self.packed),
        )  # fmt: skip

    def convolve(
        self,
        planner: Planner,
        x: Layout,
        seen: Layout,
        taps: Taps,
        out: Layout,
        operands: Sequence[Layout],
        live: Sequence[Sequence[range]] = (),
    ) -> None:
        """Add ``out = epilogue(x * filters + bias)``.

        ``x`` has its padding around it, ``seen`` tells where in it windows begin, and
        ``live``, see `Taps.live`, which taps of which windows read no padding.
        """
        parts = self._parts
        sums = out
        if out.element != "float":
            flat = ((0, 0),) * (len(out.shape) - 2)
            sums = image(planner, None, out.shape, "float", [x], flat)
        places = [seen, *map(without_channels, (sums, out, *operands))]
        kinds = Kinds(taps, live)
        rows = rows_of(places, kinds.apart)
        k, starts = taps.runs(parts.channels, x.strides[2:], parts.number == 1)
        cut = convolution.blocking(
            rows.count, rows.longest, parts.filters, len(starts), k, self._width
        )
        blocks, pieces = kinds.pieces(len(starts), cut.run_block)
        steps = [4 * (b - a - k) for a, b in pairwise((-k, *starts))]
        shifts = [4 * start - step for start, step in zip(starts, steps, strict=True)]
        panels, narrow = self._panels(planner)
        bias = planner.bias(self._epilogue.bias, self._count + self._width)
        arguments: list[Argument] = [
            x, seen.strides[-1] * 4, panels, sums, places[1].strides[-1], bias,
            rows.count, parts.filters, k, len(starts), -(-len(starts) // cut.run_block),
            planner.table(steps), planner.table(shifts), planner.table(blocks),
            planner.table(pieces),
            *cut[1:], parts.channels,
            -(-parts.filters // self._width) * self._width * k * len(starts),
            planner.tile_table(self._tiles), self._usual, narrow, self._narrow_width,
            planner.tile_table(self._narrow_tiles or self._tiles), self._limits,
            planner.table(rows.table(kinds.of(rows), rows.pixels)),
            out, places[2].strides[-1],
        ]  # fmt: skip
        for operand, place in zip(operands, places[3:], strict=True):
            arguments += [operand, place.strides[-1]]
        planner.step(
            self._spec,
            arguments,
            parts.number * cut.groups * cut.blocks,
            [x, panels, narrow, *operands],
            [out] if sums is out else [sums, out],
            work=float(out.size) * k * len(starts),
        )

    def _panels(self, planner: Planner) -> tuple[Layout, Layout]:
        """Return where the panels lie, and the narrow one, if there is one."""
        found = [planner.panels(request) for request in self.packed]
        if found[0] is None or found[-1] is None:
            raise Unplannable("filters are not packed")
        return found[0], found[-1]


def _divided(parts: _Parts, vectors: int, lanes: int) -> tuple[int, int]:
    """Return how many panels are of the usual width, and the last one's registers.

    There are none of them where the last panel is as wide as the others.
    """
    count, rest = divmod(parts.filters, lanes * vectors)
    narrow = -(-rest // lanes)
    if parts.number > 1 or not count or not 0 < narrow < vectors:
        return -(-parts.filters // (lanes * vectors)), 0
    return count, narrow


def _matrix(
    array: np.ndarray[Any, Any], groups: int, parts: _Parts, width: int
) -> np.ndarray[Any, Any]:
    """Return filters as rows of what each reads, in memory order: taps, then channels.

    Joined groups have zeros for each other's channels. Every part is filled up with
    rows of zeros to whole panels, where there are several.
    """
    taps = np.moveaxis(array.astype(np.float32, copy=False), 1, -1).reshape(
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
