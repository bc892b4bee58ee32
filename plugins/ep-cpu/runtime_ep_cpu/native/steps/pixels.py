"""Images as rows of pixels: how convolutions divide what they read and write."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import NamedTuple

from runtime_ep_cpu.codegen import interleave
from runtime_ep_cpu.native.images import Margins, bordered
from runtime_ep_cpu.native.layout import Layout
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.native.steps.elementwise import widen

SEGMENT = 64
"""Pixels that are taken for a row where rows follow each other without a gap."""


class PixelRow(NamedTuple):
    """How many pixels a row has, and where it begins in each image, in elements.

    ``outer`` is its index along the axes that were not taken into it.
    """

    pixels: int
    offsets: tuple[int, ...]
    outer: tuple[int, ...]


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


def rows_of(places: Sequence[Layout], apart: int = 0) -> list[PixelRow]:
    """Divide pixels ``[batch, *sizes]`` that lie in several images into rows.

    Where a row continues the one before everywhere, they are one row, cut anew; but not
    across the first so many axes that are to stay ``apart``.
    """
    sizes = list(places[0].shape)
    strides = [list(place.strides) for place in places]
    length = sizes.pop()
    steps = [row.pop() for row in strides]
    while len(sizes) > apart and all(
        sizes[-1] == 1 or row[-1] == step * length
        for row, step in zip(strides, steps, strict=True)
    ):
        length *= sizes.pop()
        for row in strides:
            row.pop()
    pieces = -(-length // SEGMENT)
    cuts = [length * i // pieces for i in range(pieces + 1)]
    found = []
    for index in product(*map(range, sizes)):
        starts = [
            sum(i * s for i, s in zip(index, row, strict=True)) for row in strides
        ]
        for first, last in pairwise(cuts):
            pairs = zip(starts, steps, strict=True)
            at = tuple(start + first * step for start, step in pairs)
            found.append(PixelRow(last - first, at, index))
    return found
