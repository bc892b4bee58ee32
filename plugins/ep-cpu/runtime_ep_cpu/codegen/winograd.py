"""Winograd's convolution as a kernel: channels last, tiles in blocks that stay in cache.

One chunk is a block of tiles by some panels of filters::

    group, block = chunk                          # blocks vary fastest
    V[place, slice, tile] = transformed inputs    # unless a step before has made them
    for panel in group:
        for place in n²:
            for piece: S[place, slices] = V[place, slices + taps] · U[panel, place, taps]
        for slice, tile in block: out = epilogue(Aᵀ S A + bias, operands…)

Slices are those of a third axis in front of the two, or one where there is none: along it
filters slide, and what their taps give is summed before it is interpolated, so that each
slice is transformed once. A *piece* is slices that follow each other and read by the same
taps: those that lie in the padding are left out. The products are those of
`microkernel.runs`. A V of the chunk's own lies in scratch and never leaves the second
cache; `winograd_transforms` makes it, and U. Results outside of the image are not
written. Every result is computed in the same order, whatever the blocks, chunks and
threads. A number that is not finite spreads over the tiles it lies in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.epilogue import PLAIN, Finisher, Operand
from runtime_ep_cpu.codegen.expression import Expression
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.memory import stored
from runtime_ep_cpu.codegen.microkernel import shapes
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.tile_assembly import UNROLL
from runtime_ep_cpu.codegen.winograd_forms import FORMS, Form, rows_of
from runtime_ep_cpu.codegen.winograd_transforms import (
    INPUT_FIELDS,
    PARAMETERS,
    block_of,
    fields,
    place_of,
    tiles_of,
)

FIELDS: Final = (
    *INPUT_FIELDS,
    "transform", "blocks", "panels", "groups", "u", "taps", "steps", "pieces",
    "piece_count", "filters", "bias", "kernels", "unlimited", "s_plane", "out",
    "out_pixel", "out_row", "out_slice", "out_image", "out_height", "out_width",
    "out_slices",
)  # fmt: skip
"""Arguments of a convolution: those of its input, of which ``v`` is null where chunks make
their own.

``transform`` is the address of the kernel `winograd_input`. ``blocks`` are the blocks of
tiles, ``panels`` the width of a group, ``groups`` their number. ``taps`` are those of a
filter along the slices, ``pieces`` points to `PIECE_FIELDS` of each. ``steps`` are those of
`microkernel.runs` from tap to tap, for a whole block and then for the last one. ``bias`` is
there for whole panels. ``kernels`` points to the addresses of the tiles of 1, 2, … rows,
``unlimited`` to limits that change no sum. ``s_plane`` is the stride of places of S. Then
come `OPERAND_FIELDS` of each operand.
"""
OPERAND_FIELDS: Final = (
    "operand", "operand_pixel", "operand_row", "operand_slice", "operand_image"
)  # fmt: skip
PIECE_FIELDS: Final = ("made", "slices", "read", "tap", "taps")
"""Of a piece: its first slice of the result and how many it has, the slice that the first
of its taps reads for the first of them, that tap, and the number of taps."""


class Blocking(NamedTuple):
    """How a convolution is divided; see the module's text.

    ``shared`` says whether V is made by a step before. Strides and ``scratch`` count
    numbers of float32.
    """

    block: int
    blocks: int
    panels: int
    groups: int
    shared: bool
    v_row: int
    v_plane: int
    s_plane: int
    scratch: int


class Slices(NamedTuple):
    """The axis along which filters slide: slices of input and result, and how many pairs
    of a result's slice and a tap are multiplied."""

    read: int
    made: int
    products: int


PLANE = Slices(1, 1, 1)
"""Of images of two axes."""


def blocking(
    form: Form,
    tiles: int,
    channels: int,
    filters: int,
    width: int,
    slices: Slices = PLANE,
) -> Blocking:
    """Divide a convolution: blocks that stay in the second cache, chunks worth claiming.

    ``width`` is that of a panel. A pure function of the sizes. Strides keep places and
    tiles from competing for the same lines of a cache.
    """
    row = -(-channels // _LINE) * _LINE + _LINE
    fit = _BLOCK // (form.places * (slices.read * row + slices.made * width))
    shared = fit < min(tiles, -(-_TILES // slices.made))
    blocks = _rounded(-(-tiles // (max(1, _SHARED // slices.made) if shared else fit)))
    block = -(-tiles // blocks)
    blocks = -(-tiles // block)
    all_panels = -(-filters // width)
    work = form.places * tiles * slices.products * channels * all_panels * width
    most = all_panels if shared else max(1, filters // _GROUP)
    groups = max(1, min(-(-work // (_CHUNK * blocks)), most, all_panels))
    panels = -(-all_panels // groups)
    groups = -(-all_panels // panels)
    v_plane = slices.read * block * row + _LINE
    s_plane = slices.made * block * width + _LINE
    scratch = form.places * s_plane + form.size**2 * width
    if not shared:
        scratch += form.places * v_plane
    return Blocking(
        block, blocks, panels, groups, shared, row, v_plane, s_plane, scratch
    )


def _rounded(count: int) -> int:
    """Return a number of blocks that a few threads share evenly."""
    step = 2 if count <= 2 else 4
    return 1 if count == 1 else -(-count // step) * step


_LINE = 16
"""Numbers of a cache line."""
_BLOCK = 192 * 1024
"""Numbers of V and S of a block: 768 KiB of float32."""
_TILES = 12
"""Tiles of a block for which weights are read, at least."""
_SHARED = 28
"""Tiles of a block whose V is too large to stay in the second cache."""
_GROUP = 64
"""Filters of a group, at least, where every group makes its V anew."""
_CHUNK = 8_000_000
"""Multiplications worth one claim: some 80 microseconds."""


@family("winograd")
def winograd(
    module: Module,
    target: Target,
    name: str,
    *,
    size: int,
    vectors: int,
    epilogue: Expression | None = None,
    wide: tuple[bool, ...] = (),
) -> None:
    """Write a convolution in tiles of ``size`` whose panels are ``vectors`` wide.

    The epilogue's first operand is the convolution with its bias, the others follow;
    ``wide`` tells, for each of those, whether it has a value per filter.
    """
    finish = PLAIN if epilogue is None else epilogue
    _Convolution(module, target, name, FORMS[size], vectors, finish, wide).whole()


class _Convolution:
    """The state of one convolution being written."""

    def __init__(
        self,
        module: Module,
        target: Target,
        name: str,
        form: Form,
        vectors: int,
        epilogue: Expression,
        wide: Sequence[bool],
    ) -> None:
        self.target = target
        self.form = form
        self.epilogue = epilogue
        self.wide = wide
        self.width = target.lanes * vectors
        self.most = shapes(target, runs=True)[vectors]
        self.f = Function(module, name, PARAMETERS)
        self.arguments, self.chunk, self.scratch = self.f.parameters
        self.finisher = Finisher(self.f, target, epilogue, wide, vectors)
        self.field = fields(self.f, self.arguments, FIELDS)

    def whole(self) -> None:
        """Write everything."""
        f, field, form = self.f, self.field, self.form
        block, group = self.chunk % field["blocks"], self.chunk // field["blocks"]
        first, count = tiles_of(f, field, block)

        def own() -> list[Val]:
            slices = field["slices"]
            start = first * slices
            with f.loop(start, start + count * slices, runs=True) as loop:
                f.call_pointer(
                    field["transform"], "void", self.arguments, loop.index, self.scratch
                )
            after = self.scratch.at(field["v_plane"] * form.places, "float")
            return [self.scratch, after]

        def given() -> list[Val]:
            return [block_of(field, form, block), self.scratch]

        v, sums = f.choose(field["v"].compare("eq", 0), own, given)
        results = sums.at(field["s_plane"] * form.places, "float")
        start = group * field["panels"]
        panels = (field["filters"] + (self.width - 1)) // self.width
        stop = f.minimum(start + field["panels"], panels)
        with f.loop(start, stop, runs=True) as loop:
            self._multiply(v, sums, loop.index, count)
            column = loop.index * self.width
            with (
                f.loop(0, field["out_slices"], runs=True) as slices,
                f.loop(0, count, runs=True) as tiles,
            ):
                row = slices.index * count + tiles.index
                self._interpolate(sums.at(row * self.width, "float"), results, column)
                self._finish(results, first + tiles.index, slices.index, column)
        f.ret()

    def _multiply(self, v: Val, sums: Val, panel: Val, count: Val) -> None:
        """Write the products of all places for one panel."""
        f, field, form = self.f, self.field, self.form
        each = field["taps"] * field["channels"] * self.width
        u = field["u"].at(panel * (each * form.places), "float")
        rest = field["steps"].at(field["taps"], "i64")
        steps = f.select(count.equals(field["block"]), field["steps"], rest)
        with (
            f.loop(0, form.places, runs=True) as places,
            f.loop(0, field["piece_count"], runs=True) as pieces,
        ):
            a = v.at(places.index * field["v_plane"], "float")
            b = u.at(places.index * each, "float")
            c = sums.at(places.index * field["s_plane"], "float")
            piece = field["pieces"].at(pieces.index * len(PIECE_FIELDS), "i64")
            self._piece(piece, a, b, c, count, steps, b.at(each, "float"))

    def _piece(
        self, piece: Val, a: Val, b: Val, c: Val, count: Val, steps: Val, after: Val
    ) -> None:
        """Write the product of one place for one piece; ``after`` is the next place's U."""
        f, field = self.f, self.field
        made, slices, read, tap, taps = (
            f.field(piece, i) for i in range(len(PIECE_FIELDS))
        )
        depth = field["channels"]
        a = a.at(read * count * field["v_row"], "float")
        b = b.at(tap * depth * self.width, "float")
        c = c.at(made * count * self.width, "float")
        row_bytes = field["v_row"] * 4
        rows = slices * count
        parts = (rows + (self.most - 1)) // self.most
        least, extra = rows // parts, rows % parts
        lines = (depth // UNROLL) * taps * _LINE
        width, first = f.value(self.width, "i64"), f.value(1, "i64")
        with f.loop(0, parts, carried=[f.value(0, "i64")], runs=True) as loop:
            (row,) = loop.carried
            some = least + f.convert(loop.index < extra, "i64", unsigned=True)
            kernel = f.field(field["kernels"].at(some - 1, "i64"), 0, "ptr")
            f.call_pointer(
                kernel, "void", a.at(row * row_bytes, "i8"), row_bytes, b,
                c.at(row * self.width, "float"), width, depth, first, field["zeros"],
                width, after.at(loop.index * lines, "float"), steps, taps,
                field["unlimited"],
            )  # fmt: skip
            loop.next(row + some)

    def _interpolate(self, sums: Val, results: Val, column: Val) -> None:
        """Write Aᵀ S A + bias of one tile for one panel, ``[m, m, width]``.

        Sums are read again for even and odd results, and so is the bias, so that few
        values wait in registers.
        """
        f, form, target = self.f, self.form, self.target
        type = vector("float", target.lanes)
        plane = self.field["s_plane"]
        with f.loop(0, self.width, target.lanes, runs=True) as loop:
            bias = self.field["bias"].at(column + loop.index, "float")
            source = sums.at(loop.index, "float")
            into = results.at(loop.index, "float")

            def down(group: Sequence[int], k: int, source: Val) -> list[Val]:
                def loaded(i: int) -> Val:
                    place = source.at(plane * (i * form.span + k), "float")
                    return f.load(place, type)

                return form.output_places(f, target, loaded, group)

            for group in form.output_groups:
                rows = rows_of(f, target, len(group), partial(down, group), source)
                addend = f.load(bias, type)
                for across in form.output_groups:
                    for y, row in zip(group, rows, strict=True):
                        values = form.output_places(f, target, row, across)
                        for x, value in zip(across, values, strict=True):
                            place = (y * form.size + x) * self.width
                            f.store(value + addend, into.at(place, "float"))

    def _finish(self, results: Val, tile: Val, plane: Val, column: Val) -> None:
        """Apply the epilogue to one tile and write what of it lies in the image."""
        f, field, form = self.f, self.field, self.form
        image, row, across = place_of(field, tile)
        y, x = row * form.size, across * form.size
        high = f.minimum(field["out_height"] - y, form.size)
        broad = f.minimum(field["out_width"] - x, form.size)
        columns = f.minimum(field["filters"] - column, self.width)
        width, none = f.value(self.width, "i64"), f.value(0, "i64")
        element = stored(self.finisher.element)
        with f.loop(0, high, runs=True) as lines:
            at = (x, y + lines.index, plane, image)
            sums = results.at(lines.index * (form.size * self.width), "float")
            out = self._pixel(field["out"], FIELDS.index("out_pixel"), at, element)
            into = (out.at(column, element), field["out_pixel"])
            operands = self._operands(at, column)
            self.finisher.apply((sums, width), into, operands, none, broad, columns)

    def _operands(self, at: Sequence[Val], column: Val) -> list[Operand]:
        """Return where the operands' values for a row of pixels begin."""
        f = self.f
        found = []
        for index, is_wide in enumerate(self.wide):
            slot = len(FIELDS) + len(OPERAND_FIELDS) * index
            element = self.epilogue.operands[index + 1]
            base = f.field(self.arguments, slot, "ptr")
            pointer = self._pixel(base, slot + 1, at, stored(element))
            if is_wide:
                pointer = pointer.at(column, stored(element))
            found.append(Operand(pointer, f.field(self.arguments, slot + 1), element))
        return found

    def _pixel(self, base: Val, slot: int, at: Sequence[Val], element: str) -> Val:
        """Return the address of a pixel; ``at`` is its column, row, slice and image.

        Their strides are arguments, from a slot on.
        """
        strides = (self.f.field(self.arguments, slot + i) for i in range(len(at)))
        for stride, index in zip(strides, at, strict=True):
            base = base.at(stride * index, element)
        return base
