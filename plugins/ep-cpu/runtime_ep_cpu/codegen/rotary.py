"""Rotary positions: turns pairs of each head's elements by their position's angle.

::

    batch, rows = chunk
    for row in rows:
        position = positions[batch, row], or row where there are none
        c, s = cos[position], sin[position]
        for head:
            a, b = the pairs of x[batch, head, row, :turned]
            y's pairs = c · a - s · b, s · a + c · b
            y[batch, head, row, turned:] = x[batch, head, row, turned:]

A pair is a neighbour each where *interleaved*, else an element of each half. x and y may
be the same memory with the same strides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen.builder import Function, Module, Val
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.memory import mask_of, read, write
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath

FIELDS: Final = (
    "x", "x_batch", "x_head", "x_row", "y", "y_batch", "y_head", "y_row",
    "cos", "cos_batch", "cos_row", "sin", "sin_batch", "sin_row",
    "positions", "positions_batch", "positions_row", "limit", "failed",
    "heads", "rows", "width", "turned", "block_rows", "blocks",
)  # fmt: skip
"""Arguments; strides are in elements, and elements of a head, of a row of angles and of
neither but positions lie side by side.

``positions`` points to i64, or is null: a row's angles are then those of its own index.
A position outside 0 … ``limit`` - 1 sets the word at ``failed`` to 1, and its row is not
written. ``turned`` elements of ``width`` are turned; it is even. ``block_rows`` and
``blocks`` are from `blocking`.
"""

_POINTERS: Final = ("x", "y", "cos", "sin", "positions", "failed")
_ELEMENTS = 16384
"""Elements of a chunk, about."""


class Blocking(NamedTuple):
    """How the work is divided: rows of a chunk, chunks of a batch index, chunks."""

    rows: int
    blocks: int
    chunks: int


def blocking(batch: int, heads: int, rows: int, width: int) -> Blocking:
    """Divide the rows; a pure function of the sizes."""
    block = min(rows, max(1, _ELEMENTS // (heads * width)))
    blocks = -(-rows // block)
    return Blocking(block, blocks, batch * blocks)


@family("rotary")
def rotary(
    module: Module,
    target: Target,
    name: str,
    *,
    element: str = "float",
    angles: str | None = None,
    interleaved: bool = False,
) -> None:
    """Write the turning of x to y of one element type, by ``angles`` of another."""
    _Rotary(module, target, name, element, angles or element, interleaved).whole()


class _Rotary:
    """A kernel being written."""

    def __init__(
        self,
        module: Module,
        target: Target,
        name: str,
        element: str,
        angles: str,
        interleaved: bool,
    ) -> None:
        self.target = target
        self.lanes = target.lanes
        self.element = element
        self.angles = angles
        self.interleaved = interleaved
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        f = self.f = Function(module, name, parameters)
        arguments, self.chunk, _ = f.parameters
        self.field = {
            word: f.field(arguments, i, "ptr" if word in _POINTERS else "i64")
            for i, word in enumerate(FIELDS)
        }
        self.math = VectorMath(f, target)

    def whole(self) -> None:
        """Write everything."""
        f, field = self.f, self.field
        block, batch = self.chunk % field["blocks"], self.chunk // field["blocks"]
        first = block * field["block_rows"]
        last = f.minimum(first + field["block_rows"], field["rows"])
        self.half = f.emit(f"lshr i64 {field['turned'].name}, 1", "i64")
        with f.loop(first, last, runs=True) as rows:
            position = self._position(batch, rows.index)
            inside = position.compare("ult", field["limit"])
            inside = inside | field["positions"].equals(0)
            with f.when(~inside):
                f.store(f.value(1, "i64"), field["failed"])
            with f.when(inside):
                self._row(batch, rows.index, position)
        f.ret()

    def _position(self, batch: Val, row: Val) -> Val:
        f, field = self.f, self.field

        def found() -> list[Val]:
            index = batch * field["positions_batch"] + row * field["positions_row"]
            return [f.field(field["positions"].at(index, "i64"), 0)]

        return f.choose(field["positions"].differs(0), found, lambda: [row])[0]

    def _row(self, batch: Val, row: Val, position: Val) -> None:
        f, field = self.f, self.field
        cos, sin = (
            field[word].at(
                batch * field[f"{word}_batch"] + position * field[f"{word}_row"],
                self.angles,
            )
            for word in ("cos", "sin")
        )
        x, y = (
            field[word].at(
                batch * field[f"{word}_batch"] + row * field[f"{word}_row"],
                self.element,
            )
            for word in ("x", "y")
        )
        with f.loop(0, field["heads"], runs=True) as heads:
            source = x.at(heads.index * field["x_head"], self.element)
            into = y.at(heads.index * field["y_head"], self.element)
            self._along(
                f.value(0, "i64"),
                self.half,
                lambda i, left: self._turn(source, into, (cos, sin), i, left),
            )
            self._along(
                field["turned"],
                field["width"],
                lambda i, left: self._copy(source, into, i, left),
            )

    def _along(
        self, start: Val, stop: Val, body: Callable[[Val, Val | None], None]
    ) -> None:
        """Write a body for whole vectors, and for what is left with its number."""
        f = self.f
        whole = start + ((stop - start) & -self.lanes)
        with f.loop(start, whole, self.lanes) as loop:
            body(loop.index, None)
        with f.when(whole < stop):
            body(whole, stop - whole)

    def _mask(self, left: Val | None) -> Val | None:
        return None if left is None else mask_of(self.f, self.target, left, self.lanes)

    def _copy(self, source: Val, into: Val, index: Val, left: Val | None) -> None:
        mask = self._mask(left)
        x = self._read(source.at(index, self.element), mask)
        self._write(x, into.at(index, self.element), mask)

    def _read(self, place: Val, mask: Val | None) -> Val:
        return read(self.f, self.target, place, self.element, self.lanes, mask)

    def _write(self, value: Val, place: Val, mask: Val | None) -> None:
        write(self.f, self.target, value, place, self.element, mask)

    def _turn(
        self,
        source: Val,
        into: Val,
        tables: tuple[Val, Val],
        index: Val,
        left: Val | None,
    ) -> None:
        """Turn a vector of pairs."""
        f, lanes = self.f, self.lanes
        mask = self._mask(left)
        c, s = (
            read(f, self.target, table.at(index, self.angles), self.angles, lanes, mask)
            for table in tables
        )
        steps, distance = index, self.half
        masks = [mask, mask]
        if self.interleaved:
            steps, distance = index * 2, f.value(lanes, "i64")
            if left is not None:
                masks = [self._mask(left * 2 - lanes * i) for i in (0, 1)]
        places = [base.at(steps, self.element) for base in (source, into)]
        a, b = (
            self._read(place, only)
            for place, only in zip(
                (places[0], places[0].at(distance, self.element)), masks, strict=True
            )
        )
        if self.interleaved:
            a, b = (f.shuffle(a, b, range(odd, 2 * lanes, 2)) for odd in (0, 1))
        a, b = self.math.fma(c, a, -(s * b)), self.math.fma(s, a, c * b)
        if self.interleaved:
            order = [lane // 2 + lane % 2 * lanes for lane in range(2 * lanes)]
            a, b = (f.shuffle(a, b, order[i : i + lanes]) for i in (0, lanes))
        self._write(a, places[1], masks[0])
        self._write(b, places[1].at(distance, self.element), masks[1])
