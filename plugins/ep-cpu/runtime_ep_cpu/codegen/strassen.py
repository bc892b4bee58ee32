"""Products of large matrices by Strassen's form, as Winograd wrote it: seven for eight.

A and B are cut in quarters; the rows of A that make a *pair* are half of M apart, the
panels of B half of all panels, and K is halved. With ::

    S1 = A21 + A22   S2 = S1 - A11    S3 = A11 - A21   S4 = A12 - S2
    T1 = B12 - B11   T2 = B22 - T1    T3 = B22 - B12   T4 = T2 - B21
    P1 = A11 B11     P2 = A12 B21     P3 = S4 B22      P4 = A22 T4
    P5 = S1 T1       P6 = S2 T2       P7 = S3 T3       U  = P1 + P6

the quarters of the product are ``P1 + P2``, ``U + P5 + P3``, ``U + P7 - P4`` and
``U + P7 + P5``. A kernel of `strassen_rows` makes S for all pairs of rows. One chunk is some
pairs of panels by one block of pairs of rows::

    group, block = chunk                          # blocks of rows vary fastest
    for panels in group:                          # a pair, or the odd one that is left
        for k0 in range(0, K / 2, k_block):
            for tile in block:
                P1 … P7 (+)= products; the first tile's make T on their way
                if this is the last block of K: out = epilogue(sums of P + bias, operands…)

Rounding errors are those of the largest quarter, which is why sizes are looked at. A tile is
multiplied plainly where the rows of a pair differ so much that the smaller would lose digits
to the larger, where one of them is not finite, and where some sum is not: no number spreads
to rows but its own. Matrices B whose rows, or whose columns, differ much are no case for this
form at all: `strassen_rows.strassen_scales` weighs them. Every element is computed in the
same order, whatever the chunks and threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.epilogue import PLAIN, Finisher
from runtime_ep_cpu.codegen.expression import Expression
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.memory import stored
from runtime_ep_cpu.codegen.microkernel import shapes, tiles
from runtime_ep_cpu.codegen.strassen_rows import fields
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.tile_assembly import UNROLL

FIELDS: Final = (
    "a", "a_row", "s", "s_row", "s_plane", "apart", "b", "m", "n", "k", "bias", "zeros",
    "k_block", "blocks", "panels", "groups", "tiles", "first_tiles", "finish", "out",
    "out_row",
)  # fmt: skip
"""Arguments of a product: those of its rows, B's panels as `gemm.pack` leaves them, sizes.

``bias`` and ``zeros`` are rows of float32, of all panels and of one. ``blocks`` are those
of pairs of rows, ``panels`` pairs of panels in a group, ``groups`` their number. ``tiles``
points to the addresses of the tiles of 1, 2, … rows, ``first_tiles`` to those that make a
difference of panels; ``finish`` is the address of `strassen_finish`. Then come address
and row stride of each operand.
"""

_LONGEST = 1536
"""The longest block of half of K."""
_FEWEST = 64
"""Rows of a product, at least."""
_ROWS = (16, 64)
"""How many pairs of rows a block has at least, and at most."""
_CHUNKS = 32
"""Into how many chunks a product is divided, where blocks of rows allow it."""
_CHUNK = 4_000_000
"""Multiplications worth one claim."""


class Blocking(NamedTuple):
    """How a product is divided, as the arguments say; ``scratch`` counts numbers."""

    k_block: int
    blocks: int
    panels: int
    groups: int
    scratch: int


def has_form(n: int, k: int, width: int) -> bool:
    """Whether a matrix is large enough for products by this form to be faster.

    Below, sums cost as much as they save; ``width`` is that of a panel.
    """
    return n >= max(8 * width, 384) and k >= 256 and k % 2 == 0


def has_rows(m: int) -> bool:
    """Whether a product has rows enough."""
    return m >= _FEWEST


@lru_cache(1024)
def blocking(m: int, n: int, k: int, width: int, most: int) -> Blocking:
    """Divide a product in chunks worth claiming; a pure function of the sizes.

    ``width`` is that of a panel, ``most`` the rows of the largest tile.
    """
    half, high = k // 2, -(-m // 2)
    count = -(-half // _LONGEST)
    k_block = half if count == 1 else -(-half // (count * UNROLL)) * UNROLL
    pairs = -(-n // (2 * width))
    least, largest = _ROWS
    blocks = max(-(-high // largest), min(-(-_CHUNKS // pairs), high // least))
    rows = -(-high // blocks)
    panels = max(1, min(_CHUNK // (4 * rows * width * half), pairs // _CHUNKS))
    groups = -(-pairs // panels)
    sums = _PRODUCTS * width * (rows if k_block < half else most)
    return Blocking(k_block, blocks, panels, groups, 4 * k_block * width + sums)


def first_tiles(target: Target, vectors: int) -> list[Spec]:
    """Return the tiles of 1, 2, … rows for the first of a block, which makes T.

    Those that are smaller than the first of any block make nothing.
    """
    plain = tiles(target, vectors)
    most, least = len(plain), _ROWS[0]
    smallest = min(h // -(-h // most) for h in range(least, 2 * least))
    making = [
        Spec.of("difference_tile", rows=rows, vectors=vectors)
        for rows in range(smallest, most + 1)
    ]
    return plain[: smallest - 1] + making


_LINE: Final = 16
"""Numbers of a cache line."""
_PRODUCTS: Final = 7
_LOWER: Final = 3
"""The only product of rows which the last pair may lack."""
_ORDER: Final = (0, 1, 2, 4, 5, 3, 6)
"""Which products come one after the other: each of T is a difference of two panels, which
are B's or have been made before."""


_PARTS: Final = (
    ("ptr", "arguments"), ("ptr", "sums"), ("i64", "top"), ("i64", "rows"),
    ("i64", "panel"),
)  # fmt: skip
"""What makes results of some rows and one panel is given."""


@family("strassen_finish")
def strassen_finish(
    module: Module,
    target: Target,
    name: str,
    *,
    vectors: int,
    epilogue: Expression | None = None,
    wide: tuple[bool, ...] = (),
) -> None:
    """Write ``void name(arguments, sums, top, rows, panel)``: results of a panel's sums.

    Panels are ``vectors`` registers wide. The epilogue's first operand is the sum, the
    others follow; ``wide`` tells, for each of those, whether it has a value per column.
    """
    f = Function(module, name, _PARTS)
    arguments, sums, top, rows, panel = f.parameters
    field = fields(f, arguments, FIELDS)
    finish = PLAIN if epilogue is None else epilogue
    finisher = Finisher(f, target, finish, wide, vectors)
    element = stored(finisher.element)
    pitch = target.lanes * vectors
    column = panel * pitch
    columns = f.minimum(field["n"] - column, pitch)
    shifts = [f.value(0, "i64")] * len(wide)
    operands = finisher.operands(arguments, len(FIELDS), shifts, column)
    into = (field["out"].at(top * field["out_row"] + column, element), field["out_row"])
    finisher.apply((sums, f.value(pitch, "i64")), into, operands, top, rows, columns)
    f.ret()


@family("strassen")
def strassen(module: Module, target: Target, name: str, *, vectors: int) -> None:
    """Write a product whose panels are ``vectors`` registers wide."""
    _write_plainly(module, f"{name}_plainly", target.lanes * vectors)
    _Product(module, target, name, vectors).write()


class _Tile(NamedTuple):
    """Pairs of rows: the first, their number, and how many of them have a lower row."""

    top: Val
    pairs: Val
    lower: Val


class _Factors(NamedTuple):
    """What one of the seven multiplies: rows, and a panel or the difference of two."""

    rows: Val
    row_bytes: Val
    panel: Val
    less: Val | None = None
    into: Val | None = None


def _write_plainly(module: Module, name: str, pitch: int) -> None:
    """Write the function that makes results of whole products: a tile by one panel."""
    f = Function(module, name, _PARTS, internal=True, noinline=True)
    arguments, sums, top, rows, panel = f.parameters
    field = fields(f, arguments, FIELDS)
    tile = f.field(field["tiles"].at(rows - 1, "i64"), 0, "ptr")
    b = field["b"].at(panel * (field["k"] * pitch), "float")
    bias = field["bias"].at(panel * pitch, "float")
    width = f.value(pitch, "i64")
    f.call_pointer(
        tile, "void", field["a"].at(top * field["a_row"], "i8"), field["a_row"], b, sums,
        width, field["k"], f.value(1, "i64"), bias, width, b,
    )  # fmt: skip
    f.call_pointer(field["finish"], "void", arguments, sums, top, rows, panel)
    f.ret()


class _Product:
    """The kernel being written."""

    def __init__(self, module: Module, target: Target, name: str, vectors: int) -> None:
        self.name = name
        self.lanes = target.lanes
        self.vectors = vectors
        self.width = target.lanes * vectors
        self.most = shapes(target)[vectors]
        self.type = vector("float", target.lanes)
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        f = self.f = Function(module, name, parameters)
        self.arguments, self.chunk, self.scratch = f.parameters
        self.field = fields(f, self.arguments, FIELDS)
        self.high = (self.field["m"] + 1) // 2
        self.half = self.field["k"] // 2
        self.whole = self.field["k"] * self.width
        self.panels = (self.field["n"] + (self.width - 1)) // self.width

    def write(self) -> None:
        """Write everything."""
        f, field = self.f, self.field
        block, group = self.chunk % field["blocks"], self.chunk // field["blocks"]
        least, extra = self.high // field["blocks"], self.high % field["blocks"]
        self.top = block * least + f.minimum(block, extra)
        self.height = least + f.convert(block < extra, "i64", unsigned=True)
        each = field["k_block"] * self.width
        self.differences = [self.scratch.at(each * i, "float") for i in range(4)]
        self.products = self.scratch.at(each * 4, "float")
        several = field["panels"]
        pairs = self.panels // 2
        some = self._apart(self.top, self.height) < self.height
        last = f.minimum((group + 1) * several, (self.panels + 1) // 2)
        with f.loop(group * several, last, runs=True) as loop:
            pair = loop.index

            paired = pair < pairs

            def both() -> list[Val]:
                self._pair(pair, pair + pairs)
                return []

            def plainly() -> list[Val]:
                with self._tiles() as (tile, _):
                    self._plainly(tile, f.select(paired, pair, self.panels - 1))
                    with f.when(paired):
                        self._plainly(tile, pair + pairs)
                return []

            f.choose(paired & some, both, plainly)
        f.ret()

    @contextmanager
    def _tiles(self) -> Iterator[tuple[_Tile, Val]]:
        """Loop over the tiles of the block, which differ by at most one pair of rows."""
        f = self.f
        count = (self.height + (self.most - 1)) // self.most
        least, extra = self.height // count, self.height % count
        with f.loop(0, count, carried=[self.top], runs=True) as loop:
            (top,) = loop.carried
            pairs = least + f.convert(loop.index < extra, "i64", unsigned=True)
            lower = f.minimum(self.field["m"] - (top + self.high), pairs)
            yield _Tile(top, pairs, lower), loop.index
            loop.next(top + pairs)

    def _pair(self, left: Val, right: Val) -> None:
        """Write the products of a pair of panels, block of K by block of K."""
        f, field = self.f, self.field
        with f.loop(0, self.half, field["k_block"], runs=True) as loop:
            k0 = loop.index
            depth = f.minimum(self.half - k0, field["k_block"])
            is_last = (k0 + depth) >= self.half
            with self._tiles() as (tile, number):
                near = self._apart(tile.top, tile.pairs).equals(0)
                with f.when(near | number.equals(0)):
                    self._multiply(tile, number, (left, right), k0, depth)
                with f.when(is_last):
                    self._end(tile, near, left, right)

    def _apart(self, top: Val, pairs: Val) -> Val:
        """Return how many of some pairs of rows are too far apart."""
        f = self.f
        apart = self.field["apart"].at(top, "i64")
        with f.loop(0, pairs, carried=[f.value(0, "i64")], runs=True) as loop:
            loop.next(loop.carried[0] + f.load(apart.at(loop.index, "i64"), "i64"))
        return loop.results[0]

    def _places(self, tile: _Tile) -> list[Val]:
        """Return where the seven products of a tile lie: side by side.

        Tiles follow each other where there are several blocks of K.
        """
        several = self.field["k_block"] < self.half
        before = self.f.select(several, tile.top - self.top, self.f.value(0, "i64"))
        first = self.products.at(before * (_PRODUCTS * self.width), "float")
        each = tile.pairs * self.width
        return [first.at(each * i, "float") for i in range(_PRODUCTS)]

    def _factors(self, tile: _Tile, panels: Sequence[Val], k0: Val) -> list[_Factors]:
        field = self.field
        own, lent = field["a_row"], field["s_row"] * 4
        a11 = field["a"].at(tile.top * own, "i8").at(k0, "float")
        a12 = a11.at(self.half, "float")
        a22 = a12.at(self.high * own, "i8")
        sums = field["s"].at(tile.top * field["s_row"] + k0, "float")
        s1, s2, s3, s4 = (sums.at(field["s_plane"] * i, "float") for i in range(4))
        start, below = k0 * self.width, self.half * self.width
        b11, b12 = (panel.at(start, "float") for panel in panels)
        b21, b22 = b11.at(below, "float"), b12.at(below, "float")
        t1, t2, t3, t4 = self.differences
        return [
            _Factors(a11, own, b11),
            _Factors(a12, own, b21),
            _Factors(s4, lent, b22),
            _Factors(a22, own, t2, b21, t4),
            _Factors(s1, lent, b12, b11, t1),
            _Factors(s2, lent, b22, t1, t2),
            _Factors(s3, lent, b22, b12, t3),
        ]

    def _multiply(
        self, tile: _Tile, number: Val, pair: Sequence[Val], k0: Val, depth: Val
    ) -> None:
        """Write the seven products of a tile for a block of K.

        Meanwhile the following panels are asked for: the left by the first four.
        """
        f, field = self.f, self.field
        panels = [field["b"].at(panel * self.whole, "float") for panel in pair]
        factors = self._factors(tile, panels, k0)
        places = self._places(tile)
        lines = (depth // UNROLL) * _LINE
        first = f.convert(k0.equals(0), "i64", unsigned=True)
        before = self.top // self.most
        for turn, index in enumerate(_ORDER):
            side, of_side = divmod(turn, 4)
            share = (before + number) * (4 - side) + of_side
            ahead = self._ahead(panels[side], share * lines)
            pairs = tile.lower if index == _LOWER else tile.pairs
            given = (places[index], depth, first, field["zeros"], ahead)
            self._product(factors[index], number, pairs, given)

    def _ahead(self, panel: Val, number: Val) -> Val:
        """Return the place behind a panel from a number on; no farther than the next."""
        here = self.f.select(
            number < self.whole, number + self.whole, self.f.value(0, "i64")
        )
        return panel.at(here, "float")

    def _product(
        self, factors: _Factors, number: Val, pairs: Val, given: tuple[Val, ...]
    ) -> None:
        """Write one of the seven; a block's first tile makes the difference."""
        less, into = factors.less, factors.into
        if less is None or into is None:
            self._call("tiles", factors, pairs, given)
            return

        def making() -> list[Val]:
            self._call("first_tiles", factors, pairs, given, (less, into))
            return []

        def made() -> list[Val]:
            self._call("tiles", factors._replace(panel=into), pairs, given)
            return []

        self.f.choose(number.equals(0), making, made)

    def _call(
        self,
        table: str,
        factors: _Factors,
        rows: Val,
        given: tuple[Val, ...],
        more: tuple[Val, ...] = (),
    ) -> None:
        f = self.f
        into, depth, first, bias, ahead = given
        tile = f.field(self.field[table].at(rows - 1, "i64"), 0, "ptr")
        width = f.value(self.width, "i64")
        f.call_pointer(
            tile, "void", factors.rows, factors.row_bytes, factors.panel, into, width,
            depth, first, bias, width, ahead, *more,
        )  # fmt: skip

    def _end(self, tile: _Tile, near: Val, left: Val, right: Val) -> None:
        """Write the results of a tile: from its products, or plainly."""
        f = self.f
        (good,) = f.choose(
            near,
            lambda: [self._combine(tile, left, right)],
            lambda: [f.value(False, "i1")],
        )

        def finished() -> list[Val]:
            one, two, three, four, *_ = self._places(tile)
            below = tile.top + self.high
            self._finish(one, tile.top, tile.pairs, left)
            self._finish(two, tile.top, tile.pairs, right)
            self._finish(three, below, tile.lower, left)
            self._finish(four, below, tile.lower, right)
            return []

        def plainly() -> list[Val]:
            for panel in (left, right):
                self._plainly(tile, panel)
            return []

        f.choose(good, finished, plainly)

    def _plainly(self, tile: _Tile, panel: Val) -> None:
        """Write the results of a tile for one panel by whole products."""
        place = self._places(tile)[0]
        below = tile.top + self.high
        for top, rows in ((tile.top, tile.pairs), (below, tile.lower)):
            given = (self.arguments, place, top, rows, panel)
            self.f.call(f"{self.name}_plainly", "void", *given)

    def _finish(self, sums: Val, top: Val, rows: Val, panel: Val) -> None:
        given = (self.arguments, sums, top, rows, panel)
        self.f.call_pointer(self.field["finish"], "void", *given)

    def _combine(self, tile: _Tile, left: Val, right: Val) -> Val:
        """Write the quarters where the first products are; return if all are finite."""
        f, lanes = self.f, self.lanes
        places = self._places(tile)
        zero = f.value(0.0, self.type)
        bias = self.field["bias"]
        with f.when(tile.lower < tile.pairs):  # a row that is not there is finite
            row = places[_LOWER].at(tile.lower * self.width, "float")
            for v in range(self.vectors):
                f.store(zero, row.at(lanes * v, "float"))
        with f.loop(0, self.width, lanes, carried=[zero], runs=True) as across:
            b, d = (
                f.load(bias.at(panel * self.width + across.index, "float"), self.type)
                for panel in (left, right)
            )
            with f.loop(0, tile.pairs, carried=across.carried, runs=True) as loop:
                at = loop.index * self.width + across.index
                here = [place.at(at, "float") for place in places]
                p1, p2, p3, p4, p5, p6, p7 = (f.load(p, self.type) for p in here)
                u = p1 + p6
                lower = u + p7
                sums = (p1 + p2, u + p5 + p3, lower - p4, lower + p5)
                spoilt = loop.carried[0]
                for value, into, row in zip(sums, here, (b, d, b, d), strict=False):
                    f.store(value + row, into)
                    spoilt += value * 0.0
                loop.next(spoilt)
            across.next(*loop.results)
        return f.reduce("fadd", across.results[0]).equals(0.0)
