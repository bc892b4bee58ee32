"""Matrix products over packed panels, with a fused element-wise epilogue.

``C[b] = epilogue(A[b] · B[b] + bias, operands…)`` for every batch index ``b``. A is read
in place by rows of unit stride; B lies in panels as `pack` leaves it; sizes and strides
are arguments. One chunk is some panels by one block of rows::

    batch, group, block = chunk                     # blocks of rows vary fastest
    for k0 in range(0, K, k_block):
        for panel in group:
            for tile in block:                      # tiles differ by at most one row
                C[tile, panel] (+)= A[tile, k0:] · B[panel, k0:]
                if this is the last block of K: epilogue of C[tile, panel]

Every element of C is summed in the same order, whatever the chunks and threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen.builder import Function, Module, Val
from runtime_ep_cpu.codegen.epilogue import Finisher
from runtime_ep_cpu.codegen.expression import Expression
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.memory import mask_of, read, stored
from runtime_ep_cpu.codegen.microkernel import shapes
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.tile_assembly import UNROLL
from runtime_ep_cpu.codegen.transpose import transposed

FIELDS: Final = (
    "a", "a_row", "b", "c", "c_row", "m", "n", "k", "bias", "k_block", "rows",
    "blocks", "panels", "groups", "tiles", "offsets", "out", "out_row",
)  # fmt: skip
"""Arguments of a product.

``a_row`` is in bytes, other strides in elements. ``rows`` is the height of a block,
``blocks`` their number, ``panels`` the width of a group, ``groups`` their number.
``tiles`` points to the addresses of the tiles of 1, 2, … rows. ``offsets`` points, for
each batch index, to the offsets of A, B, C, the result and each operand, in elements.
``c`` is where sums are kept; null means in scratch. Then come address and row stride of
each operand: `epilogue.OPERAND_FIELDS`.
"""

PACK_FIELDS: Final = ("b", "b_k", "b_n", "packed", "k", "n", "panels", "offsets")
"""Arguments of packing: strides of K and N, sizes, panels of one matrix, and, for each
matrix, the offsets of source and packed, in elements."""


class Blocking(NamedTuple):
    """How a product is divided; see the module's text."""

    k_block: int
    rows: int
    blocks: int
    panels: int
    groups: int


@lru_cache(1024)
def blocking(m: int, n: int, k: int, batch: int, width: int) -> Blocking:
    """Divide a product: blocks that stay in the second cache, chunks worth claiming.

    ``width`` is that of a panel. A pure function of the sizes.
    """
    k_blocks = 1 if k <= _LONGEST else -(-k // _USUAL)
    k_block = k if k_blocks == 1 else -(-k // (k_blocks * UNROLL)) * UNROLL
    blocks = -(-m // max(_TILE_ROWS, _BLOCK // max(k_block, 1)))
    rows = -(-m // blocks)
    blocks = -(-m // rows)
    all_panels = -(-n // width)
    work = rows * width * k
    panels = max(1, min(all_panels, _CHUNK // max(work, 1)))
    if batch * blocks == 1:
        panels = max(1, min(panels, -(-all_panels // _SHARES)))
    groups = -(-all_panels // panels)
    return Blocking(k_block, rows, blocks, panels, groups)


_LONGEST = 1024
_USUAL = 768
_BLOCK = 256 * 1024
"""Numbers of A that one block holds: 1 MiB of float32."""
_TILE_ROWS = 48
_CHUNK = 4_000_000
"""Multiplications worth one claim: some 50 microseconds."""
_SHARES = 8
"""Into how many chunks at least a product alone is divided, where it has panels."""


@family("gemm")
def gemm(
    module: Module,
    target: Target,
    name: str,
    *,
    vectors: int,
    epilogue: Expression | None = None,
    wide: tuple[bool, ...] = (),
) -> None:
    """Write a product whose panels are ``vectors`` registers wide.

    The epilogue's first operand is the product, the others follow; ``wide`` tells, for
    each of those, whether it has a value per column, or one for the whole row.
    """
    _Product(module, target, name, vectors, epilogue, wide).whole()


class _Product:
    """The state of one product being written."""

    def __init__(
        self,
        module: Module,
        target: Target,
        name: str,
        vectors: int,
        epilogue: Expression | None,
        wide: Sequence[bool],
    ) -> None:
        self.wide = wide
        self.vectors = vectors
        self.width = target.lanes * vectors
        self.most = shapes(target)[vectors]
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = Function(module, name, parameters)
        arguments, self.chunk, self.scratch = self.f.parameters
        self.arguments = arguments
        self.finisher = (
            None
            if epilogue is None
            else Finisher(self.f, target, epilogue, wide, vectors)
        )
        pointers = ("a", "b", "c", "bias", "tiles", "offsets", "out")
        self.field = {
            word: self.f.field(arguments, i, "ptr" if word in pointers else "i64")
            for i, word in enumerate(FIELDS)
        }

    def whole(self) -> None:
        """Write everything."""
        f, field = self.f, self.field
        block = self.chunk % field["blocks"]
        rest = self.chunk // field["blocks"]
        group = rest % field["groups"]
        batch = rest // field["groups"]
        offsets = field["offsets"].at(batch * (4 + len(self.wide)), "i64")
        self.shifts = [f.field(offsets, i) for i in range(4 + len(self.wide))]
        top = block * field["rows"]
        height = f.minimum(field["m"] - top, field["rows"])
        first = group * field["panels"]
        last = f.minimum(
            first + field["panels"], (field["n"] + (self.width - 1)) // self.width
        )
        a = field["a"].at(self.shifts[0], "float").at(field["a_row"] * top, "i8")
        b = field["b"].at(self.shifts[1], "float")
        self.c, self.c_row = self._sums(top, first)
        with f.loop(0, field["k"], field["k_block"], runs=True) as blocks:
            k0 = blocks.index
            depth = f.minimum(field["k"] - k0, field["k_block"])
            with f.loop(first, last) as panels:
                self._panel(a.at(k0, "float"), b, k0, depth, panels.index, top, height)
        f.ret()

    def _sums(self, top: Val, first: Val) -> tuple[Val, Val]:
        """Return where the block's sums begin, as if its first panel were panel 0."""
        f, field = self.f, self.field
        width = field["panels"] * self.width
        given = field["c"].compare("ne", 0)
        own = field["c"].at(self.shifts[2] + field["c_row"] * top, "float")
        lent = self.scratch.at(0 - first * self.width, "float")
        row = f.select(given, field["c_row"], width)
        return f.select(given, own, lent), row

    def _panel(
        self, a: Val, b: Val, k0: Val, depth: Val, panel: Val, top: Val, height: Val
    ) -> None:
        f, field, width = self.f, self.field, self.width
        column = panel * width
        here = b.at((column * field["k"]) + k0 * width, "float")
        after = here.at(field["k"] * width, "float")
        columns = f.minimum(field["n"] - column, width)
        c = self.c.at(column, "float")
        bias = field["bias"].at(column, "float")
        first = f.convert(k0.equals(0), "i64", unsigned=True)
        is_last = (k0 + depth) >= field["k"]
        count = (height + (self.most - 1)) // self.most
        least, extra = height // count, height % count
        lines = (depth // UNROLL) * 16
        with f.loop(0, count, carried=[f.value(0, "i64")], runs=True) as tiles:
            (row,) = tiles.carried
            rows = least + f.convert(tiles.index < extra, "i64", unsigned=True)
            tile = f.field(field["tiles"].at(rows - 1, "i64"), 0, "ptr")
            place = c.at(row * self.c_row, "float")
            ahead = tiles.index * lines
            f.call_pointer(
                tile,
                "void",
                a.at(row * field["a_row"], "i8"),
                field["a_row"],
                here,
                place,
                self.c_row,
                depth,
                first,
                bias,
                columns,
                f.select(ahead < field["k"] * width, after, here).at(ahead, "float"),
            )
            if self.finisher is not None:
                with f.when(is_last):
                    self._finish(place, top + row, rows, column, columns)
            tiles.next(row + rows)

    def _finish(
        self, place: Val, top: Val, rows: Val, column: Val, columns: Val
    ) -> None:
        """Apply the epilogue to a tile and write the result."""
        field, finisher = self.field, self.finisher
        if finisher is None:
            raise ValueError("there is no epilogue")
        element = stored(finisher.element)
        out = field["out"].at(self.shifts[3], element)
        into = out.at(top * field["out_row"] + column, element)
        operands = finisher.operands(
            self.arguments, len(FIELDS), self.shifts[4:], column
        )
        finisher.apply(
            (place, self.c_row), (into, field["out_row"]), operands, top, rows, columns
        )


@family("pack")
def pack(
    module: Module,
    target: Target,
    name: str,
    *,
    vectors: int,
    element: str = "float",
    turned: bool = False,
) -> None:
    """Write the packing of B ``[K, N]`` into panels ``[N / width, K, width]`` of float32.

    Columns beyond N are zeros. ``turned`` is for a matrix whose K, not N, has the unit
    stride; its squares go through registers::

        panel = chunk
        for k in range(K): packed[panel, k, :] = B[k, columns of the panel]
    """
    f = Function(module, name, [("ptr", "args"), ("i64", "chunk"), ("ptr", "scratch")])
    arguments, chunk, _ = f.parameters
    pointers = ("b", "packed", "offsets")
    field = {
        word: f.field(arguments, i, "ptr" if word in pointers else "i64")
        for i, word in enumerate(PACK_FIELDS)
    }
    lanes = target.lanes
    width = lanes * vectors
    matrix, panel = chunk // field["panels"], chunk % field["panels"]
    offsets = field["offsets"].at(matrix * 2, "i64")
    b = field["b"].at(f.field(offsets, 0), element)
    packed = field["packed"].at(f.field(offsets, 1), "float")
    column = panel * width
    b = b.at(column * field["b_n"], element)
    packed = packed.at(column * field["k"], "float")
    if turned:
        _pack_turned(f, target, field, (b, packed, column), element, vectors)
    else:
        left = field["n"] - column
        masks = [mask_of(f, target, left - lanes * v, lanes) for v in range(vectors)]
        with f.loop(0, field["k"]) as loop:
            row = b.at(loop.index * field["b_k"], element)
            into = packed.at(loop.index * width, "float")
            for v in range(vectors):
                value = read(
                    f, target, row.at(lanes * v, element), element, lanes, masks[v]
                )
                f.store(value, into.at(lanes * v, "float"))
    f.ret()


def _pack_turned(
    f: Function,
    target: Target,
    field: dict[str, Val],
    places: tuple[Val, Val, Val],
    element: str,
    vectors: int,
) -> None:
    b, packed, column = places
    lanes = target.lanes
    width = lanes * vectors
    k, n = field["k"], field["n"]
    with f.loop(0, k, lanes, runs=True) as loop:
        mask = mask_of(f, target, k - loop.index, lanes)
        depth = f.minimum(k - loop.index, lanes)
        with f.loop(0, width, lanes, runs=True) as across:
            left = n - column - across.index
            rows = []
            for lane in range(lanes):
                place = b.at(field["b_n"] * (across.index + lane) + loop.index, element)
                inside = f.splat(left > lane, lanes) & mask
                rows.append(read(f, target, place, element, lanes, inside))
            columns = transposed(f, rows)
            into = packed.at(loop.index * width + across.index, "float")
            for lane, values in enumerate(columns):
                with f.when(depth > lane):
                    f.store(values, into.at(width * lane, "float"))
