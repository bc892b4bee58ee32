"""GridSample: an image at points that are known when the run is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Final

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, grid_sample, nest
from runtime_ep_cpu.codegen.grid_sample import PADDINGS, TAPS, Points
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import FLOATS, element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import bordered, image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.rows import bits_of

_MODES: Final = {"bilinear": "linear", "bicubic": "cubic"}
"""What modes were called before opset 20."""

_MOVED: Final = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}
_FARTHEST: Final = 2**31
"""Elements of an image, at most: offsets within one are of 32 bits."""


def _mode(node: Node) -> str:
    mode: str = node.attribute("mode", "linear")
    return _MODES.get(mode, mode)


def is_supported(node: Node) -> bool:
    """Whether an image of one to three axes is sampled at floats; sums are of floats."""
    x, grid = node.inputs[:2]
    if x is None or x.shape is None or not 3 <= len(x.shape) <= 5:
        return False
    if grid is None or element_of(grid) not in FLOATS:
        return False
    mode = _mode(node)
    if node.attribute("padding_mode", "zeros") not in PADDINGS or mode not in TAPS:
        return False
    return mode == "nearest" or element_of(x) in FLOATS


class GridSampleStep:
    """A pixel for every point of a grid."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("sampling has an anchor")
        self._node = node = group.anchor
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        self._grid: Value = node.inputs[1]  # type: ignore[assignment]
        self._element = element_of(self._x) or "float"
        self._mode = _mode(node)
        self._axes = len(self._x.shape or ()) - 2
        moved = _MOVED[SIZES[self._element]]
        grid = element_of(self._grid) or "float"
        self._spec = grid_sample.spec(
            self._mode,
            node.attribute("padding_mode", "zeros"),
            self._axes,
            moved if self._mode == "nearest" else self._element,
            grid,
        )
        self.specs: Sequence[Spec] = (
            self._spec,
            *copies.specs(SIZES[self._element]),
            *copies.specs(SIZES[grid]),
        )

    def plan(self, planner: Planner) -> None:
        """Plan the points for the shapes at hand."""
        x, grid = planner.layout(self._x), planner.layout(self._grid)
        batch, channels, *sizes = x.shape
        points = grid.shape[1:-1]
        fits = (
            len(grid.shape) == len(x.shape)
            and grid.shape[0] == batch
            and grid.shape[-1] == self._axes
        )
        if not fits:
            raise Unplannable(f"a grid of {grid.shape} does not fit {x.shape}")
        x = bordered(planner, x, ((0, 0),) * len(sizes))
        if x.strides[2] * sizes[0] >= _FARTHEST:
            raise Unplannable(f"{x.shape} is too large for offsets of 32 bits")
        grid = planner.contiguous(grid)
        shape = (batch, channels, *points)
        out = image(planner, self._node.outputs[0], shape, self._element, [x, grid])
        self._lines(planner, x, grid, out)

    def _lines(self, planner: Planner, x: Layout, grid: Layout, out: Layout) -> None:
        """Add the points line by line; what lies in one line is one."""
        places, read = out.strides[2:], grid.strides[1:-1]
        sizes, (made, given) = nest.merged(out.shape[2:], (places, read))
        sizes = [1] * (2 - len(sizes)) + sizes
        made, given = ([0] * (len(sizes) - len(s)) + s for s in (made, given))
        *several, lines, line = sizes
        for index in product(*map(range, several)):
            start, first = (
                sum(i * s for i, s in zip(index, steps, strict=False))
                for steps in (made, given)
            )
            self._add(
                planner,
                x,
                grid.with_dims(
                    (grid.shape[0], lines, line * self._axes),
                    (grid.strides[0], given[-2], 1),
                    grid.offset + first,
                ),
                out.with_dims(
                    (out.shape[0], lines, line, out.shape[1]),
                    (out.strides[0], made[-2], made[-1], 1),
                    out.offset + start,
                ),
            )

    def _add(self, planner: Planner, x: Layout, grid: Layout, out: Layout) -> None:
        batch, lines, line, channels = out.shape
        points = Points(batch, lines, line, channels, self._axes)
        division = grid_sample.divide(planner.target, self._mode, points)
        zeros = planner.bias(None, -(-channels * SIZES[self._element] // 4))
        arguments: list[Argument] = [
            out, x, grid, zeros, channels, division.block, division.blocks, lines, line,
            x.strides[0], *out.strides[:3], *grid.strides[:2],
        ]  # fmt: skip
        corners = bool(self._node.attribute("align_corners", 0))
        for size, stride in zip(x.shape[2:], x.strides[2:], strict=True):
            arguments += (size, stride, *_borders(size, corners))
        planner.step(
            self._spec,
            arguments,
            division.chunks,
            [x, grid],
            [out],
            grid_sample.scratch(planner.target, self._mode, self._axes),
            2.0 * out.size * TAPS[self._mode] ** self._axes,
        )


def _borders(size: int, corners: bool) -> tuple[int, ...]:
    """Return what `codegen.grid_sample.AXIS_FIELDS` has of floats."""
    low, high = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
    numbers = (low, high, (high - low) / 2, 2 * (high - low) or 1.0)
    return tuple(bits_of(float(np.float32(number))) for number in numbers)
