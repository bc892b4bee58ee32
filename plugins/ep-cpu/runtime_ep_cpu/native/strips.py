"""Convolutions that follow each other, strip by strip: what lies between stays in a cache.

A *strip* is some rows of the last one's result. One thread makes all of it: the rows of
each image before it that are needed lie in the thread's scratch, with the padding they
are read with around them. Rows that two strips need are made twice. Every number is
computed as it is without strips, so that results are the same bits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

from runtime_ep_cpu.native import sequence
from runtime_ep_cpu.native.images import Margins, clear, image
from runtime_ep_cpu.native.layout import Buffer, Home, Layout
from runtime_ep_cpu.native.planner import PlannedStep, Planner, Share
from runtime_ep_cpu.native.steps.convolution import SlidingStep, operands_over
from runtime_ep_cpu.native.steps.pixels import readable

CACHE = 768 * 1024
"""Bytes for weights and the images between: most of a second cache of 1 MiB."""
_LEAST = 16
"""Into how many strips a convolution is divided at least, so that threads can share it."""


@dataclass(frozen=True, slots=True)
class Link:
    """One of the convolutions: its input's shape, the zeros around it, its result's."""

    step: SlidingStep
    source: tuple[int, ...]
    margins: Margins
    shape: tuple[int, ...]


class Band(NamedTuple):
    """Rows that a convolution makes in one strip, and the padded rows it reads for them.

    ``margins`` are the padding among what it reads.
    """

    rows: tuple[int, int]
    padded: tuple[int, int]
    margins: Margins

    @property
    def height(self) -> int:
        """How many padded rows it reads."""
        return self.padded[1] - self.padded[0]


@dataclass(frozen=True, slots=True)
class _Strip:
    """Where one strip reads and writes: input, result, and each convolution's operands."""

    bands: Sequence[Band]
    x: Layout
    out: Layout
    operands: Sequence[Sequence[Layout]]

    @classmethod
    def of(
        cls,
        bands: Sequence[Band],
        index: int,
        x: Layout,
        out: Layout,
        operands: Sequence[Sequence[Layout]],
    ) -> _Strip:
        """Return the strip of one image of a batch."""
        own = [
            [_rows(operand, index, band.rows) for operand in each]
            for each, band in zip(operands, bands, strict=True)
        ]
        here = _rows(x, index, bands[0].padded)
        return cls(bands, here, _rows(out, index, bands[-1].rows), own)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What strips have in common whose calls differ in addresses only."""
        return tuple(
            (band.rows[1] - band.rows[0], band.height, band.margins)
            for band in self.bands
        )

    def moved(
        self, like: _Strip, calls: Sequence[PlannedStep]
    ) -> list[PlannedStep] | None:
        """Return the calls of another strip of this kind, with this one's addresses.

        ``None`` where parts of one buffer lie differently.
        """
        shifts: dict[Buffer, int] = {}
        for mine, other in zip(self._layouts, like._layouts, strict=True):
            shift = mine.bytes - other.bytes
            if shifts.setdefault(mine.buffer, shift) != shift:
                return None
        found = []
        for call in calls:
            words = call.words.copy()
            for slot, buffer in call.places:
                words[slot] += shifts.get(buffer, 0)
            found.append(replace(call, words=words))
        return found

    @property
    def _layouts(self) -> list[Layout]:
        return [self.x, self.out, *(each for own in self.operands for each in own)]


class Strips:
    """Convolutions cut into strips that are as high as the cache allows."""

    def __init__(self, links: Sequence[Link], height: int) -> None:
        """Take convolutions, and how many rows a strip has at most."""
        self._links = links
        rows = links[-1].shape[2]
        count = -(-rows // height)
        cuts = [rows * i // count for i in range(count + 1)]
        self._bands = [_bands(links, *pair) for pair in pairwise(cuts)]

    @classmethod
    def of(cls, links: Sequence[Link]) -> Strips | None:
        """Return the strips, or ``None`` where not even one row fits the cache."""
        batch, _, rows, *_ = links[-1].shape
        left = CACHE - 4 * sum(link.step.weights for link in links)

        def excess(height: int) -> int:
            first = (rows - height) // 2
            bands = _bands(links, first, first + height)
            return sum(map(_size, links[1:], bands[1:])) - left

        most = -(-rows // -(-_LEAST // batch))
        height = bisect_left(range(1, most + 1), 1, key=excess)
        return cls(links, height) if height else None

    @property
    def repeated(self) -> int:
        """How many multiplications are done more than once."""
        batch = self._links[0].shape[0]
        whole = 0
        for number, link in enumerate(self._links):
            bands = [bands[number] for bands in self._bands]
            rows = sum(band.rows[1] - band.rows[0] for band in bands) - link.shape[2]
            whole += batch * rows * prod(link.shape[3:]) * link.step.weights
        return whole

    def plan(self, planner: Planner) -> None:
        """Plan all strips as one step."""
        links, last = self._links, self._links[-1]
        planner.group = links[0].step.group
        x = planner.layout(links[0].step.source)
        operands = [
            operands_over(planner, link.step.epilogue, link.shape) for link in links
        ]
        x = readable(planner, x, links[0].margins)
        given = [x, *(operand for own in operands for operand in own)]
        planner.group = last.step.group
        out = image(planner, last.step.epilogue.result, last.shape, "float", given)
        buffers = self._buffers(planner)
        chunks = []
        made: dict[Any, tuple[_Strip, Sequence[PlannedStep]]] = {}
        for index in range(last.shape[0]):
            for bands in self._bands:
                strip = _Strip.of(bands, index, x, out, operands)
                like = made.get(strip.kind)
                moved = None if like is None else strip.moved(*like)
                if moved is None:
                    with planner.apart() as moved:
                        self._strip(planner, strip, buffers)
                    made[strip.kind] = strip, moved
                chunks.append(moved)
        planner.group = last.step.group
        shares = self._shares(chunks, x, operands)
        sequence.add(planner, chunks, buffers[-1].address, shares)

    def _buffers(self, planner: Planner) -> list[Buffer]:
        """Return where images between lie, and at last an empty place behind them."""
        found = []
        place = 0
        for number, link in enumerate(self._links[1:], 1):
            own = (bands[number] for bands in self._bands)
            size = 4 * max(_between(planner, link, band).strides[0] for band in own)
            found.append(Buffer(Home.SCRATCH, size, place))
            place += sequence.aligned(size)
        return [*found, Buffer(Home.SCRATCH, 0, place)]

    def _strip(
        self, planner: Planner, strip: _Strip, buffers: Sequence[Buffer]
    ) -> None:
        """Plan the calls of one strip, from its part of the input to that of the result."""
        x = strip.x
        for number, (link, band) in enumerate(
            zip(self._links, strip.bands, strict=True)
        ):
            planner.group = link.step.group
            following = there = strip.out
            if number + 1 < len(self._links):
                after, read = self._links[number + 1], strip.bands[number + 1]
                following = _between(planner, after, read, buffers[number])
                there = _inside(following, read.margins)
                if any(map(any, read.margins)):
                    clear(planner, following, read.margins, [])
            operands = strip.operands[number]
            link.step.convolve(planner, x, there, operands, band.margins)
            x = following

    def _shares(
        self,
        chunks: Sequence[Sequence[PlannedStep]],
        x: Layout,
        operands: Sequence[Sequence[Layout]],
    ) -> list[Share]:
        """Return what of the step is whose."""
        found = []
        for link, own in zip(self._links, operands, strict=True):
            group = link.step.group
            calls = (call for chunk in chunks for call in chunk if call.group is group)
            made = Layout(_NOWHERE, "float", link.shape, (0,) * len(link.shape))
            work = sum(call.work for call in calls)
            found.append(Share(group, work, [x, *own], [made]))
            x = made
        return found


def _bands(links: Sequence[Link], first: int, last: int) -> list[Band]:
    """Return what each convolution makes and reads for some rows of the last result."""
    found: list[Band] = []
    for link in reversed(links):
        before, size = link.margins[0][0], link.source[2]
        stride, reach = link.step.windows.strides[0], link.step.windows.reach[0]
        padded = (first * stride, (last - 1) * stride + reach)
        start, end = padded[0] - before, padded[1] - before
        rows = (first, last)
        first, last = max(start, 0), min(end, size)
        margins = ((first - start, end - last), *link.margins[1:])
        found.append(Band(rows, padded, margins))
    return found[::-1]


def _size(link: Link, band: Band) -> int:
    """Return how many bytes of its input a convolution reads in a strip."""
    sizes = zip(link.source[3:], link.margins[1:], strict=True)
    pixels = band.height * prod(size + sum(margin) for size, margin in sizes)
    return 4 * pixels * link.source[1]


_NOWHERE = Buffer(Home.SCRATCH)
"""Memory of what is never there as a whole."""


def _between(
    planner: Planner, link: Link, band: Band, buffer: Buffer = _NOWHERE
) -> Layout:
    """Return how what a convolution reads in a strip lies in scratch, with its padding."""
    channels = link.source[1]
    sizes = zip(link.source[3:], link.margins[1:], strict=True)
    whole = [band.height, *(size + sum(margin) for size, margin in sizes)]
    strides = [planner.pitch(None, (channels,), 4)]
    for size in reversed(whole):
        strides.insert(0, strides[0] * size)
    shape = (1, channels, *whole)
    return Layout(buffer, "float", shape, (strides[0], 1, *strides[1:]))


def _inside(whole: Layout, margins: Margins) -> Layout:
    """Return an image without the padding around it."""
    shape, offset = list(whole.shape), whole.offset
    for axis, (before, after) in enumerate(margins, 2):
        shape[axis] -= before + after
        offset += before * whole.strides[axis]
    return whole.with_dims(shape, whole.strides, offset)


def _rows(whole: Layout, index: int, rows: tuple[int, int]) -> Layout:
    """Return some rows of one image of a batch."""
    first, last = rows
    shape = (1, whole.shape[1], last - first, *whole.shape[3:])
    offset = whole.offset + index * whole.strides[0] + first * whole.strides[2]
    return whole.with_dims(shape, whole.strides, offset)
