"""Images as rows of pixels: how convolutions divide what they read and write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from runtime_ep_cpu.codegen import interleave
from runtime_ep_cpu.native.images import Margins, bordered
from runtime_ep_cpu.native.layout import Layout
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.native.steps.elementwise import widen

SEGMENT = 64
"""Pixels that are taken for a row where rows follow each other without a gap."""


Numbers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class PixelRows:
    """Rows of pixels in C order: how many each has, and where it begins in each image.

    ``pixels`` is ``[rows]``, ``offsets`` ``[rows, images]``, in elements. ``outer`` are
    the sizes of the axes that were not taken into rows; each index along these has
    ``segments`` rows.
    """

    pixels: Numbers
    offsets: Numbers
    outer: tuple[int, ...]
    segments: int

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.pixels)

    @property
    def longest(self) -> int:
        """How many pixels the longest row has."""
        return int(self.pixels.max())

    def table(self, *columns: Numbers) -> list[int]:
        """Return, row by row, a number of each column and where the row begins."""
        numbers: list[int] = np.column_stack((*columns, self.offsets)).ravel().tolist()
        return numbers


def readable(planner: Planner, x: Layout, margins: Margins) -> Layout:
    """Return an image of float32 with zeros around it, copied where it is none."""
    return bordered(planner, x, margins, _fill)


def _fill(planner: Planner, x: Layout, image: Layout) -> None:
    """Copy an image to where one of float32 lies."""
    channels = image.shape[1]
    in_planes = x.strides[-1] == 1 and image.strides[-1] == channels > 1
    if x.element != "float":
        widen(planner, x, image)
    elif in_planes and planner.library.has(interleave.spec(channels)):
        _interleave(planner, x, image)
    else:
        planner.copy(x, image)


def _interleave(planner: Planner, x: Layout, image: Layout) -> None:
    into, planes = (without_channels(layout) for layout in (image, x))
    made = interleave.plan(
        x.shape[1], into.shape, into.strides, planes.strides, x.strides[1]
    )
    planner.step(
        interleave.spec(x.shape[1]),
        [image, x, *made.numbers],
        made.chunks,
        [x],
        [image],
        work=float(x.size),
    )


def per_pixel(planner: Planner, operand: Layout) -> Layout:
    """Return an operand whose channels lie innermost, or are all the same."""
    if operand.shape[1] == 1 or operand.strides[1] == 1:
        return operand
    return bordered(planner, operand, ((0, 0),) * (len(operand.shape) - 2))


def without_channels(layout: Layout) -> Layout:
    """Return where the pixels of an image lie."""
    return layout.at(1, 0)


def seen_by(x: Layout, strides: Sequence[int], counts: Sequence[int]) -> Layout:
    """Return where windows begin in an image: ``[batch, *counts]``."""
    steps = [s * step for s, step in zip(x.strides[2:], strides, strict=True)]
    return x.with_dims((x.shape[0], *counts), (x.strides[0], *steps))


def rows_of(places: Sequence[Layout], apart: int = 0) -> PixelRows:
    """Divide pixels ``[batch, *sizes]`` that lie in several images into rows.

    Where a row continues the one before everywhere, they are one row, cut anew; but not
    across the first so many axes that are to stay ``apart``.
    """
    return _rows_of(places[0].shape, tuple([p.strides for p in places]), apart)


@lru_cache(256)
def _rows_of(
    shape: tuple[int, ...], strides: tuple[tuple[int, ...], ...], apart: int
) -> PixelRows:
    outer, length, images = len(shape) - 1, shape[-1], range(len(strides))
    while outer > apart and all(
        shape[outer - 1] == 1 or row[outer - 1] == row[-1] * length for row in strides
    ):
        outer -= 1
        length *= shape[outer]
    sizes = shape[:outer]
    pieces = -(-length // SEGMENT)
    cuts = length * np.arange(pieces + 1) // pieces
    starts = np.zeros((*sizes, pieces, len(strides)), np.int64)
    for axis, size in enumerate((*sizes, pieces)):
        along = np.arange(size) if axis < outer else cuts[:-1]
        steps = [strides[i][axis if axis < outer else -1] for i in images]
        rank = (size, *(1,) * (outer - axis), len(strides))
        starts += np.outer(along, steps).reshape(rank)
    whole = np.tile(np.diff(cuts), starts[..., 0].size // pieces)
    return PixelRows(whole, starts.reshape(-1, len(strides)), sizes, pieces)
