"""Loop nests over strided operands: how they are collapsed, divided and written.

Every kernel that goes over rows of strided memory has the same nest. A `Space` is a
shape made as flat as possible, with strides per operand; a `Division` cuts it into
chunks, each some whole rows or one block of columns of one row. `rows` writes::

    for segment of rows that lie behind each other along the last outer axis:
        for row in segment: body(offsets of the operands, first and last column)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen.builder import Function, Val

OUTER: Final = 5
"""Outer axes of a nest, besides the inner one."""

NEST_FIELDS: Final = (
    *(f"size_{axis}" for axis in range(OUTER)),
    "inner", "rows", "block", "blocks", "rows_per_chunk",
)  # fmt: skip
"""Arguments of a nest, followed by those of each operand."""

STRIDE_FIELDS: Final = (*(f"stride_{axis}" for axis in range(OUTER)), "stride_inner")
"""Arguments of an operand: strides in elements."""

Strides = Sequence[int]


class Space(NamedTuple):
    """An iteration space: outer sizes, inner size, and per operand as many strides."""

    sizes: tuple[int, ...]
    inner: int
    strides: tuple[tuple[int, ...], ...]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return math.prod(self.sizes)


class Division(NamedTuple):
    """How a space is cut: columns per block, blocks per row, rows per chunk, chunks."""

    block: int
    blocks: int
    rows: int
    chunks: int


def merged(
    shape: Sequence[int], strides: Sequence[Strides]
) -> tuple[list[int], list[list[int]]]:
    """Return sizes and strides per operand without axes of one element, and with those
    axes made one that every operand goes through in one stride."""
    axes = _merged_axes(shape, strides)
    if not axes:
        return [], [[] for _ in strides]
    sizes, *steps = map(list, zip(*axes, strict=True))
    return sizes, steps


def _merged_axes(
    shape: Sequence[int], strides: Sequence[Strides]
) -> list[tuple[int, ...]]:
    """Return for each axis that remains its size and every operand's stride."""
    axes: list[tuple[int, ...]] = []
    last: tuple[int, ...] = ()
    for axis in zip(shape, *strides, strict=False):
        size = axis[0]
        if size == 1:
            continue
        if last and last[1:] == tuple([stride * size for stride in axis[1:]]):
            last = axes[-1] = (last[0] * size, *axis[1:])
            continue
        last = axis
        axes.append(last)
    return axes


def collapse(
    shape: Sequence[int], strides: Sequence[Strides], keep_inner: bool = False
) -> Space:
    """Return the flattest space in which every operand has constant strides.

    ``keep_inner`` leaves the last axis what it is, for kernels whose rows have a
    meaning. Raises ``ValueError`` where more than `OUTER` outer axes remain.
    """
    if keep_inner:
        axes = _merged_axes(shape[:-1], strides)
        inner = (shape[-1], *(stride[len(shape) - 1] for stride in strides))
    else:
        axes = _merged_axes(shape, strides)
        inner = axes.pop() if axes else (1,) + (0,) * len(strides)
    spare = OUTER - len(axes)
    if spare < 0:
        raise ValueError(
            f"a shape {list(shape)} with strides {[list(s) for s in strides]} needs "
            f"{len(axes)} outer axes; kernels have {OUTER}: copy an operand first"
        )
    filler = _FILLERS.get((spare, len(inner)))
    if filler is None:
        one = (1,) + (0,) * (len(inner) - 1)
        filler = _FILLERS[spare, len(inner)] = [one] * spare
    sizes, *steps = zip(*filler, *axes, inner, strict=True)
    return Space(sizes[:-1], inner[0], tuple(steps))


_FILLERS: dict[tuple[int, int], list[tuple[int, ...]]] = {}


_FEW = 16
"""Chunks below which there are too few for threads to share them evenly as they come."""


def divide(rows: int, inner: int, elements: int, unit: int = 64) -> Division:
    """Cut rows into chunks of about so many elements.

    Long rows are cut into blocks of columns, multiples of ``unit`` (0 forbids it); short
    ones are taken together. Where chunks were few they are about half as long, and a power
    of two, which threads share evenly. Depends on sizes only.
    """
    if not rows or not inner:
        return Division(max(inner, 1), 1, 1, 0)
    if inner >= 2 * elements and unit:
        count = -(-inner // elements)
        block = -(-inner // (count * unit)) * unit
        blocks = -(-inner // block)
        return Division(block, blocks, 1, rows * blocks)
    count = max(1, (rows * inner + elements // 2) // elements)
    if count < _FEW:
        halves = max(1, (2 * rows * inner + elements // 2) // elements)
        count = min(_FEW, 1 << (halves - 1).bit_length())
    each = -(-rows // min(count, rows))
    return Division(inner, 1, each, -(-rows // each))


def numbers(space: Space, division: Division) -> list[int]:
    """Return the values of `NEST_FIELDS` and of each operand's `STRIDE_FIELDS`."""
    values = [*space.sizes, space.inner, space.rows, *division[:3]]
    for strides in space.strides:
        values += strides
    return values


def fields(operands: Sequence[str]) -> tuple[str, ...]:
    """Return the names of what `numbers` returns."""
    own = (f"{name}_{field}" for name in operands for field in STRIDE_FIELDS)
    return (*NEST_FIELDS, *own)


class Row(NamedTuple):
    """A row in a nest being written.

    ``offsets`` say where the row begins in each operand, in elements, ``strides`` how
    far its elements are apart; ``start`` and ``stop`` bound the columns to go through,
    which are the block number ``block`` of the row. ``steps`` say how far the next row
    is, in most places.
    """

    offsets: list[Val]
    strides: list[Val]
    start: Val
    stop: Val
    block: Val
    steps: list[Val]


@contextmanager
def rows(
    f: Function, arguments: Val, chunk: Val, first: int, operands: int
) -> Iterator[Row]:
    """Write the nest around a body; the fields begin at slot ``first``."""

    def field(name: str) -> Val:
        return f.field(arguments, first + NEST_FIELDS.index(name))

    strides = first + len(NEST_FIELDS)
    width = len(STRIDE_FIELDS)
    blocks, block, each = field("blocks"), field("block"), field("rows_per_chunk")
    begin = (chunk // blocks) * each
    end = f.minimum(begin + each, field("rows"))
    number = chunk % blocks
    start = number * block
    stop = f.minimum(start + block, field("inner"))
    last = f.field(arguments, first + OUTER - 1)
    inner = [f.field(arguments, strides + width * o + OUTER) for o in range(operands)]
    with f.loop(begin // last, (end + last - 1) // last, runs=True) as segments:
        places = _places(f, arguments, first, segments.index)
        steps, bases = [], []
        for o in range(operands):
            slot = strides + width * o
            base = places[0] * f.field(arguments, slot)
            for axis in range(1, OUTER - 1):
                base = base + places[axis] * f.field(arguments, slot + axis)
            bases.append(base)
            steps.append(f.field(arguments, slot + OUTER - 1))
        zero = segments.index * last
        here = f.maximum(begin, zero) - zero
        there = f.minimum(end - zero, last)
        with f.loop(here, there, runs=True) as inside:
            offsets = [
                base + inside.index * step
                for base, step in zip(bases, steps, strict=True)
            ]
            yield Row(offsets, inner, start, stop, number, steps)


def _places(f: Function, arguments: Val, first: int, segment: Val) -> list[Val]:
    """Return a segment's index along each outer axis but the last."""
    places = []
    rest = segment
    for axis in reversed(range(1, OUTER - 1)):
        size = f.field(arguments, first + axis)
        places.append(rest % size)
        rest = rest // size
    return [rest, *reversed(places)]
