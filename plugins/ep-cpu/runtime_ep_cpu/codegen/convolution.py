"""Direct convolutions over images whose channels lie innermost.

``C[row, pixel, :] = epilogue(sum over runs of X[row, pixel + run, :] · W[run] + bias)``.
A *row* is a row of the result along its last axis, whatever the number of axes; its
pixels read X at one distance from each other, so that they are the rows of a matrix in
place. What a pixel reads consists of *runs* of contiguous numbers: a whole row of the
filter where its taps lie side by side, else a single tap. X has its padding around it;
runs that lie in the padding as a whole are left out, by the row's *kind*, which lists
*pieces*: runs that follow each other. One chunk is some panels of filters by one block
of rows::

    part, group, block = chunk             # part: of the channels
    for run_block in blocks of runs:
        for panel in group:
            for row in block:
                for tile of pixels in row:
                    for piece of the row's kind in run_block:
                        C[tile, panel] (+)= X[tile, piece] · W[panel, piece]
                    if this is the last run_block: epilogue of C[tile, panel]

An epilogue that keeps sums within limits is left to the last of the products. Every
element of C is summed in the same order, whatever the chunks and threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen.builder import Function, Module, Val
from runtime_ep_cpu.codegen.epilogue import Finisher
from runtime_ep_cpu.codegen.expression import Expression
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.memory import stored
from runtime_ep_cpu.codegen.microkernel import shapes
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.tile_assembly import UNROLL

FIELDS: Final = (
    "x", "x_pixel", "w", "c", "c_pixel", "bias", "rows", "columns", "k", "runs",
    "run_blocks", "steps", "shifts", "kinds", "pieces", "block", "blocks", "block_step",
    "panels", "groups", "group_step", "x_part", "w_part", "tiles", "narrow", "w_narrow",
    "narrow_width", "narrow_tiles", "limits", "offsets", "out", "out_pixel",
)  # fmt: skip
"""Arguments of a convolution.

``x_pixel`` is in bytes, other strides in elements. ``columns`` are the filters of one
part; ``k`` is the length of a run. ``steps`` are for the tiles, see `microkernel.runs`,
and ``shifts`` say for each run where X is to be, in bytes from where the window begins,
for its step to lead there. ``kinds`` has for each kind of rows and each of ``run_blocks``
the first of its ``pieces`` and their number. A chunk is a block of rows, of which there
are ``blocks``, ``block`` rows at most, by ``panels`` panels, of which there are ``groups``;
their steps say how many chunks the next of each is away. From one part of the channels to
the next, X moves by ``x_part``, the weights by ``w_part``. ``tiles`` points to the
addresses of the tiles of 1, 2, … pixels. From panel number ``narrow`` on, panels are of
``narrow_width`` columns, and theirs are ``w_narrow`` and ``narrow_tiles``: the last, where
it would be empty for a register or more. ``limits`` points to the limits of sums under way
and to those of results, see `microkernel.runs`. ``offsets`` points, for each row, to
`ROW_FIELDS` and the offset of each operand. ``c`` is where sums are kept. Then come
address and pixel stride of each operand: `epilogue.OPERAND_FIELDS`.
"""
ROW_FIELDS: Final = ("kind", "pixels", "x", "c", "out")
"""Of a row: its kind, its length, and the offsets of X, sums and result."""
PIECE_FIELDS: Final = ("run", "runs", "begins", "ends")
"""Of a piece: its first run, how many it has, and whether it is the first of its kind of
rows, with which sums begin, or the last, with which they are complete."""


class Blocking(NamedTuple):
    """How a convolution is divided; see the module's text."""

    run_block: int
    block: int
    blocks: int
    block_step: int
    panels: int
    groups: int
    group_step: int


def blocking(
    rows: int, pixels: int, columns: int, runs: int, k: int, width: int
) -> Blocking:
    """Divide a convolution: chunks worth claiming, weights that stay in the second cache.

    Where the image is larger than the filters, chunks that follow each other are of the
    same rows, which a thread has in its cache; else they are of the same filters.
    ``width`` is that of a panel. A pure function of the sizes.
    """
    all_panels = -(-columns // width)
    panel = runs * k * width
    run_block = runs if panel <= _PANEL else max(1, _PANEL // (k * width))
    whole = rows * pixels * panel * all_panels
    chunk = min(_CHUNK, max(_SMALLEST, whole // _SHARES))
    least = min(rows, -(-_PIXELS // pixels))
    block = max(least, min(rows, chunk // max(1, pixels * panel)))
    blocks = halved(-(-rows // block), rows)
    block = -(-rows // blocks)
    work = block * pixels * panel
    panels = max(1, min(all_panels, chunk // max(work, 1)))
    groups = -(-all_panels // panels)
    by_rows = rows * pixels > runs * k
    steps = (groups, 1) if by_rows else (1, blocks)
    return Blocking(run_block, block, blocks, steps[0], panels, groups, steps[1])


def halved(count: int, most: int) -> int:
    """Return a number of blocks that two threads share evenly, where they are few."""
    return min(count + count % 2, most) if 1 < count < _MANY else count


_MANY = 16
_PANEL = 128 * 1024
"""Numbers of a panel's weights that are gone through at a time: 512 KiB of float32."""
_PIXELS = 48
"""For how many pixels at least weights are read, where there are as many."""
_CHUNK = 4_000_000
"""Multiplications worth one claim: some 50 microseconds."""
_SHARES = 16
"""Into how many chunks at least a convolution is divided, where they are not too small."""
_SMALLEST = 100_000
"""Multiplications below which a claim costs more than it may save."""


@family("convolution")
def convolution(
    module: Module,
    target: Target,
    name: str,
    *,
    vectors: int,
    epilogue: Expression | None = None,
    wide: tuple[bool, ...] = (),
) -> None:
    """Write a convolution whose panels of filters are ``vectors`` registers wide.

    The epilogue's first operand is the sum, the others follow; ``wide`` tells, for each
    of those, whether it has a value per filter, or one for all.
    """
    _Convolution(module, target, name, vectors, epilogue, wide).whole()


class _Panel(NamedTuple):
    """A panel of filters: its first column, its weights and tiles, how wide it is."""

    column: Val
    weights: Val
    width: Val
    tiles: Val


class _Convolution:
    """The state of one convolution being written."""

    def __init__(
        self,
        module: Module,
        target: Target,
        name: str,
        vectors: int,
        epilogue: Expression | None,
        wide: Sequence[bool],
    ) -> None:
        self.width = target.lanes * vectors
        self.most = shapes(target, runs=True)[vectors]
        self.operands = len(wide)
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = Function(module, name, parameters)
        self.arguments, self.chunk, _ = self.f.parameters
        self.finisher = (
            None
            if epilogue is None
            else Finisher(self.f, target, epilogue, wide, vectors)
        )
        pointers = (
            "x", "w", "c", "bias", "steps", "shifts", "kinds", "pieces", "tiles",
            "w_narrow", "narrow_tiles", "limits", "offsets", "out",
        )  # fmt: skip
        self.field = {
            word: self.f.field(self.arguments, i, "ptr" if word in pointers else "i64")
            for i, word in enumerate(FIELDS)
        }

    def whole(self) -> None:
        """Write everything."""
        f, field = self.f, self.field
        block = self.chunk // field["block_step"] % field["blocks"]
        group = self.chunk // field["group_step"] % field["groups"]
        part = self.chunk // (field["blocks"] * field["groups"])
        top = block * field["rows"] // field["blocks"]
        bottom = (block + 1) * field["rows"] // field["blocks"]
        first = group * field["panels"]
        count = (field["columns"] + (self.width - 1)) // self.width
        last = f.minimum(first + field["panels"], count)
        x = field["x"].at(part * field["x_part"], "float")
        w = field["w"].at(part * field["w_part"], "float")
        shift = part * field["columns"]
        with (
            f.loop(0, field["run_blocks"], runs=True) as blocks,
            f.loop(first, last, runs=True) as panels,
        ):
            panel = self._panel(w, panels.index)
            with f.loop(top, bottom, runs=True) as rows:
                self._row(x, panel, blocks.index, rows.index, shift)
        f.ret()

    def _panel(self, w: Val, index: Val) -> _Panel:
        """Return where a panel's weights lie, and what multiplies by them."""
        f, field = self.f, self.field
        column = index * self.width
        usual = w.at(column * field["runs"] * field["k"], "float")
        narrow = index >= field["narrow"]
        width = f.value(self.width, "i64")
        return _Panel(
            column,
            f.select(narrow, field["w_narrow"], usual),
            f.select(narrow, field["narrow_width"], width),
            f.select(narrow, field["narrow_tiles"], field["tiles"]),
        )

    def _row(self, x: Val, panel: _Panel, block: Val, row: Val, shift: Val) -> None:
        f, field, column = self.f, self.field, panel.column
        slots = len(ROW_FIELDS) + self.operands
        offsets = field["offsets"].at(row * slots, "i64")
        kind, length, *shifts = [f.field(offsets, i) for i in range(slots)]
        pieces = field["kinds"].at((kind * field["run_blocks"] + block) * 2, "i64")
        x = x.at(shifts[0], "float")
        c = field["c"].at(shifts[1] + shift + column, "float")
        ahead = self._ahead(panel, row)
        columns = f.minimum(field["columns"] - column, self.width)
        is_last = (block + 1).equals(field["run_blocks"])
        count = (length + (self.most - 1)) // self.most
        least, extra = length // count, length % count
        with f.loop(0, count, carried=[f.value(0, "i64")], runs=True) as tiles:
            (pixel,) = tiles.carried
            pixels = least + f.convert(tiles.index < extra, "i64", unsigned=True)
            place = c.at(pixel * field["c_pixel"], "float")
            here = x.at(pixel * field["x_pixel"], "i8")
            where = (shift + column, columns)
            self._tile(pieces, here, panel, place, pixels, where, ahead)
            if self.finisher is not None:
                with f.when(is_last):
                    self._finish(place, shifts, pixel, pixels, shift + column, columns)
            tiles.next(pixel + pixels)

    def _ahead(self, panel: _Panel, row: Val) -> Val:
        """Return what of the next panel a row shall fetch: each row another part."""
        f, field = self.f, self.field
        whole = field["runs"] * field["k"] * panel.width
        after = panel.weights.at(whole, "float")
        lines = field["runs"] * (field["k"] // UNROLL) * 16
        most = whole - lines
        return after.at(f.minimum(row % field["block"] * lines, most), "float")

    def _tile(
        self,
        pieces: Val,
        x: Val,
        panel: _Panel,
        place: Val,
        pixels: Val,
        where: tuple[Val, Val],
        ahead: Val,
    ) -> None:
        """Add the pieces of one tile to its sums; ``where`` is its column, and how many."""
        f, field = self.f, self.field
        tile = f.field(panel.tiles.at(pixels - 1, "i64"), 0, "ptr")
        column, columns = where
        first, count = (f.field(pieces, i) for i in range(2))
        pieces = field["pieces"].at(first * len(PIECE_FIELDS), "i64")
        with f.loop(0, count) as loop:
            piece = pieces.at(loop.index * len(PIECE_FIELDS), "i64")
            run, runs, begins, ends = (
                f.field(piece, i) for i in range(len(PIECE_FIELDS))
            )
            here = x.at(f.field(field["shifts"].at(run, "i64"), 0), "i8")
            f.call_pointer(
                tile, "void", here, field["x_pixel"],
                panel.weights.at(run * field["k"] * panel.width, "float"),
                place, field["c_pixel"], field["k"], begins,
                field["bias"].at(column, "float"), columns, ahead,
                field["steps"].at(run, "i64"), runs,
                field["limits"].at(ends * 2, "float"),
            )  # fmt: skip

    def _finish(
        self,
        place: Val,
        shifts: Sequence[Val],
        pixel: Val,
        pixels: Val,
        column: Val,
        columns: Val,
    ) -> None:
        """Apply the epilogue to a tile and write the result."""
        field, finisher = self.field, self.finisher
        if finisher is None:
            raise ValueError("there is no epilogue")
        element = stored(finisher.element)
        out = field["out"].at(shifts[2], element)
        into = out.at(pixel * field["out_pixel"] + column, element)
        slot = len(FIELDS)
        operands = finisher.operands(self.arguments, slot, shifts[3:], column)
        finisher.apply(
            (place, field["c_pixel"]),
            (into, field["out_pixel"]),
            operands,
            pixel,
            pixels,
            columns,
        )
