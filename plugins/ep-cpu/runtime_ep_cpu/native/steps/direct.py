"""Filters made ready to be slid over images directly: kernels, panels, and the call."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
from runtime.graph import Tensor, Value

from runtime_ep_cpu.codegen import convolution
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.microkernel import tiles
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.images import image
from runtime_ep_cpu.native.layout import Layout, Unplannable
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
    """Join groups until their filters fill a register; what is not theirs is zeros."""
    each = filters // groups
    joined = next(
        j
        for j in range(1, groups + 1)
        if not groups % j and (each * j >= lanes or j == groups)
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
        vectors = width_for(target, self._parts.filters)
        self._width = target.lanes * vectors
        self._epilogue = epilogue
        self._spec = Spec.of(
            "convolution",
            vectors=vectors,
            epilogue=epilogue.expression,
            wide=epilogue.wide,
        )
        self._tiles = tiles(target, vectors, runs=True)
        matrix = _matrix(array, groups, self._parts, self._width)
        weights = Value(name, None, Tensor.of(matrix))
        self.packed = Request(weights, vectors, True, "float", self._width)
        self.specs: Sequence[Spec] = (self._spec, *self._tiles, self.packed.spec)

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
        pixels = max(row.pixels for row in rows)
        k, starts = taps.runs(parts.channels, x.strides[2:], parts.number == 1)
        cut = convolution.blocking(
            len(rows), pixels, parts.filters, len(starts), k, self._width
        )
        numbers = [(kinds.of(row.outer), row.pixels, *row.offsets) for row in rows]
        blocks, pieces = kinds.pieces(len(starts), cut.run_block)
        steps = [4 * (b - a - k) for a, b in pairwise((-k, *starts))]
        shifts = [4 * start - step for start, step in zip(starts, steps, strict=True)]
        panels = planner.panels(self.packed)
        if panels is None:
            raise Unplannable("filters are not packed")
        bias = planner.bias(self._epilogue.bias, self._count + self._width)
        arguments: list[Argument] = [
            x, seen.strides[-1] * 4, panels, sums, places[1].strides[-1], bias,
            len(rows), parts.filters, k, len(starts), -(-len(starts) // cut.run_block),
            planner.table(steps), planner.table(shifts), planner.table(blocks),
            planner.table(pieces),
            *cut[1:], parts.channels,
            -(-parts.filters // self._width) * self._width * k * len(starts),
            planner.tile_table(self._tiles),
            planner.table(chain.from_iterable(numbers)),
            out, places[2].strides[-1],
        ]  # fmt: skip
        for operand, place in zip(operands, places[3:], strict=True):
            arguments += [operand, place.strides[-1]]
        planner.step(
            self._spec,
            arguments,
            parts.number * cut.groups * cut.blocks,
            [x, panels, *operands],
            [out] if sums is out else [sums, out],
            work=float(out.size) * k * len(starts),
        )


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
