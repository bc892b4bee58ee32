"""Filters made ready to be slid over images directly: kernels, panels, and the call."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from runtime.graph import Value

from runtime_ep_cpu.codegen import convolution
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.microkernel import UNLIMITED, tiles, tiles_of_columns
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.images import image
from runtime_ep_cpu.native.layout import Layout, Unplannable, of_array
from runtime_ep_cpu.native.packing import constant_of
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.epilogue import Epilogue
from runtime_ep_cpu.native.steps.filters import FilterRequest, Parts, Widths
from runtime_ep_cpu.native.steps.kinds import Kinds
from runtime_ep_cpu.native.steps.pixels import rows_of, without_channels
from runtime_ep_cpu.native.steps.windows import Taps


class Filters:
    """``[filters, channels of a group, *kernel]``, in panels, with one epilogue.

    Raises ``ValueError`` where filters do not divide into groups.
    """

    def __init__(
        self, value: Value, groups: int, epilogue: Epilogue, target: Target
    ) -> None:
        self._count, channels, *_ = constant_of(value).shape
        self._parts = Parts.of(groups, channels, self._count, target.lanes)
        self._widths = widths = Widths.of(self._parts, target)
        self._width = target.lanes * widths.vectors
        self._narrow_width = target.lanes * widths.narrow
        self._epilogue = epilogue
        limits = (*UNLIMITED, *epilogue.limits)
        self._limits = of_array(np.array(limits, np.float32))
        self._spec = Spec.of(
            "convolution",
            vectors=widths.vectors,
            epilogue=epilogue.expression,
            wide=epilogue.wide,
        )
        wide = self._width * (widths.number - (not widths.narrow))
        last = tiles_of_columns(
            target, widths.narrow or widths.vectors, self._parts.filters - wide
        )
        self._narrow_tiles = last if widths.narrow else []
        self._tiles = tiles(target, widths.vectors, runs=True)
        if widths.number == 1 and not widths.narrow:
            self._tiles = last
        self.packed = FilterRequest(value, groups, self._parts, widths, target.lanes)
        self.specs: Sequence[Spec] = (
            self._spec, *self._tiles, *self._narrow_tiles, *self.packed.specs
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
        panels = planner.panels(self.packed)
        if panels is None:
            raise Unplannable("filters are not packed")
        narrow = self.packed.narrow(panels)
        bias = planner.bias(self._epilogue.bias, self._count + self._width)
        arguments: list[Argument] = [
            x, seen.strides[-1] * 4, panels, sums, places[1].strides[-1], bias,
            rows.count, parts.filters, k, len(starts), -(-len(starts) // cut.run_block),
            planner.table(steps), planner.table(shifts), planner.table(blocks),
            planner.table(pieces),
            *cut[1:], parts.channels,
            -(-parts.filters // self._width) * self._width * k * len(starts),
            planner.tile_table(self._tiles), self._widths.number, narrow, self._narrow_width,
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
