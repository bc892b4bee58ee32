"""Depthwise convolutions over images whose channels lie innermost.

``C[row, pixel, c] = epilogue(sum over taps of X[row, pixel + tap, c] · W[tap, c] + bias[c])``.
A *row* is a row of the result along its last axis, a *panel* as many channels as a
register holds; where they don't divide evenly, the last panel begins earlier and takes
some of the one before once more. One chunk is a block of rows by some panels::

    group, block = chunk                                 # blocks vary fastest
    for row in block:
        for panel in group:
            for each size of tiles in row: C[tiles, panel] = X[tiles, panel] * W[panel]
            epilogue of C[row, panel]

Every element is summed in the same order, whatever the chunks and threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen.builder import Function, Module, Val
from runtime_ep_cpu.codegen.epilogue import Finisher
from runtime_ep_cpu.codegen.expression import Expression
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.memory import stored
from runtime_ep_cpu.codegen.target import Target

FIELDS: Final = (
    "x", "x_pixel", "x_step", "steps", "kernel_rows", "w", "taps", "bias", "channels", "rows",
    "block", "blocks", "panels", "groups", "tiles", "offsets", "out", "out_pixel",
    "ahead", "aheads", "limits",
)  # fmt: skip
"""Arguments of a depthwise convolution.

``x_pixel`` is how far neighbours in the input lie apart, ``x_step`` how far the windows
of neighbours in the result; ``steps`` points to where each of the kernel's rows begins
in a window. All three are in bytes. ``taps`` are those of the
whole kernel; the weights of a panel lie behind each other, tap by tap. A chunk is
``block`` rows, of which there are ``blocks``, by ``panels`` panels, of which there are
``groups``. ``tiles`` points to `TILE_FIELDS` of the tiles that rows are made of,
``offsets``, for each row, to `ROW_FIELDS` and the offset of each operand. Strides and
offsets are in elements. ``ahead`` points to ``aheads`` distances in bytes, and ``limits``
to those of results, see `depthwise_tile`. Then come address and pixel stride of each operand:
`epilogue.OPERAND_FIELDS`.
"""
TILE_FIELDS: Final = ("address", "pixels", "count")
"""So many tiles beside each other."""
ROW_FIELDS: Final = ("pixels", "first_tiles", "last_tiles", "x", "out")
"""Of a row: its length, which tiles it consists of, and where it begins."""


class Blocking(NamedTuple):
    """How a convolution is divided; see the module's text."""

    block: int
    blocks: int
    panels: int
    groups: int


def blocking(rows: int, pixels: int, panels: int, taps: int, width: int) -> Blocking:
    """Divide a convolution into chunks worth claiming. A pure function of the sizes.

    Panels are kept together as far as possible where rows are many, rows where they
    are few, as what is read stays in the cache then. Few chunks are a power of two,
    which threads share evenly.
    """
    whole = rows * pixels * taps * width * panels
    count = max(1, min(_FEW, whole // _LEAST), whole // _MOST)
    if count < _MANY:
        count = 1 << (count - 1).bit_length()
    if rows * pixels <= _SMALL and count <= panels:
        each = -(-panels // count)
        return Blocking(rows, 1, each, -(-panels // each))
    block = -(-rows // min(count, rows))
    return Blocking(block, -(-rows // block), panels, 1)


_LEAST = 60_000
"""Multiplications worth one claim: a microsecond."""
_MOST = 2_000_000
"""Multiplications of one chunk."""
_SMALL = 512
"""Pixels of an image that stays in the first cache for one panel of channels."""
_FEW = 8
_MANY = 16


@family("depthwise")
def depthwise(
    module: Module,
    target: Target,
    name: str,
    *,
    epilogue: Expression | None = None,
    wide: tuple[bool, ...] = (),
) -> None:
    """Write a depthwise convolution, which calls tiles; see the module's text.

    The epilogue's first operand is the sum, the others follow; ``wide`` tells, for each
    of those, whether it has a value per channel, or one for all.
    """
    _Depthwise(module, target, name, epilogue, wide).whole()


class _Depthwise:
    """The state of one convolution being written."""

    def __init__(
        self,
        module: Module,
        target: Target,
        name: str,
        epilogue: Expression | None,
        wide: Sequence[bool],
    ) -> None:
        self.lanes = target.lanes
        self.slots = len(ROW_FIELDS) + len(wide)
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = f = Function(module, name, parameters)
        self.arguments, self.chunk, self.scratch = f.parameters
        self.finisher = (
            None if epilogue is None else Finisher(f, target, epilogue, wide, 1)
        )
        pointers = (
            "x", "steps", "w", "bias", "tiles", "offsets", "out", "ahead", "limits"
        )  # fmt: skip
        self.field = {
            word: f.field(self.arguments, i, "ptr" if word in pointers else "i64")
            for i, word in enumerate(FIELDS)
        }

    def whole(self) -> None:
        """Write everything."""
        f, field = self.f, self.field
        block = self.chunk % field["blocks"]
        group = self.chunk // field["blocks"]
        top = block * field["block"]
        bottom = f.minimum(top + field["block"], field["rows"])
        first = group * field["panels"]
        count = (field["channels"] + (self.lanes - 1)) // self.lanes
        last = f.minimum(first + field["panels"], count)
        with f.loop(top, bottom, runs=True) as rows:
            offsets = field["offsets"].at(rows.index * self.slots, "i64")
            row = [f.field(offsets, i) for i in range(self.slots)]
            with f.loop(first, last, runs=True) as panels:
                self._panel(row, panels.index)
        f.ret()

    def _panel(self, row: Sequence[Val], panel: Val) -> None:
        """Write what is done for one row and one panel of channels."""
        f, field, lanes = self.f, self.field, self.lanes
        pixels, first, last, x, out = row[: len(ROW_FIELDS)]
        column = f.minimum(panel * lanes, field["channels"] - lanes)
        x_place = field["x"].at(x + column, "float")
        w = field["w"].at(panel * field["taps"] * lanes, "float")
        bias = field["bias"].at(column, "float")
        place, pitch = self.scratch, f.value(lanes, "i64")
        if self.finisher is None:
            place, pitch = field["out"].at(out + column, "float"), field["out_pixel"]
        with f.loop(first, last, carried=[x_place, place], runs=True) as tiles:
            here, there = tiles.carried
            entry = field["tiles"].at(tiles.index * len(TILE_FIELDS), "i64")
            tile = f.field(entry, 0, "ptr")
            size, count = f.field(entry, 1), f.field(entry, 2)
            f.call_pointer(
                tile, "void", here, field["x_pixel"], field["steps"],
                field["kernel_rows"], w, bias, there, pitch, count,
                field["ahead"], field["aheads"], field["limits"],
            )  # fmt: skip
            done = size * count
            tiles.next(
                here.at(done * field["x_step"], "i8"), there.at(done * pitch, "float")
            )
        if self.finisher is not None:
            element = stored(self.finisher.element)
            operands = self.finisher.operands(
                self.arguments, len(FIELDS), row[len(ROW_FIELDS) :], column
            )
            into = field["out"].at(out + column, element)
            self.finisher.apply(
                (place, pitch),
                (into, field["out_pixel"]),
                operands,
                f.value(0, "i64"),
                pixels,
                f.value(lanes, "i64"),
            )
