"""Kernels that make what Winograd's products multiply: filters U and inputs V.

Filters are transformed once, in double precision::

    panel = chunk
    for tap, channel:
        U[panel, :, tap, channel, :] = G W[filters of the panel, channel, tap] Gᵀ

where taps are those of a third axis, along which filters slide. Inputs are transformed
tile by tile and slice by slice of that axis, a register of channels at a time::

    tile, slice = chunk
    for channels:
        V[block of the tile, :, slice, tile, channels] = Bᵀ X[slice, pixels, channels] B

Pixels outside of the image are zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.winograd_forms import FILTER, FORMS, Form, rows_of

FILTER_FIELDS: Final = (
    "w", "w_filter", "w_channel", "u", "filters", "channels", "taps", "width"
)  # fmt: skip
"""Arguments of transforming filters ``[filters, channels, taps, 3, 3]``, of which the last
three dims are contiguous; other strides are in elements. ``width`` is that of a panel, a
multiple of a register's."""

INPUT_FIELDS: Final = (
    "x", "x_pixel", "x_row", "x_slice", "x_image", "height", "width", "top", "left",
    "zeros", "tile_rows", "tile_columns", "tiles", "slices", "channels", "block", "v",
    "v_row", "v_plane",
)  # fmt: skip
"""Arguments of transforming inputs.

Strides are in elements, that of channels is 1. ``top`` and ``left`` are the padding before
the image; ``zeros`` are as many as there are channels, or columns of a panel.
``tile_rows`` and ``tile_columns`` are the tiles of a slice, ``tiles`` those of all images,
``block`` those of a block; each has as many ``slices`` as an image. V is ``[blocks, places,
slices, tiles of the block, channels]``; ``v_row`` is the stride of tiles, ``v_plane`` that
of places. There are at least as many channels as a register holds numbers.
"""

PARAMETERS: Final = (("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch"))

_POINTERS = frozenset((
    "x", "zeros", "v", "u", "w", "transform", "bias", "kernels", "out", "pieces", "steps",
    "unlimited",
))  # fmt: skip


def fields(f: Function, arguments: Val, names: Sequence[str]) -> dict[str, Val]:
    """Read arguments by name."""
    return {
        word: f.field(arguments, i, "ptr" if word in _POINTERS else "i64")
        for i, word in enumerate(names)
    }


@family("winograd_filters")
def winograd_filters(module: Module, target: Target, name: str, *, size: int) -> None:
    """Write the transform of filters, into ``[panels, places, taps, channels, width]``.

    Filters beyond the last are zeros.
    """
    form, lanes = FORMS[size], target.lanes
    f = Function(module, name, PARAMETERS)
    arguments, panel, _ = f.parameters
    field = fields(f, arguments, FILTER_FIELDS)
    channels, taps, width = field["channels"], field["taps"], field["width"]
    each = channels * taps * width
    u = field["u"].at(panel * (each * form.places), "float")
    rows = [form.filter_row(place) for place in range(form.span)]
    wide = vector("double", lanes)
    given = f.allocate("double", FILTER**2 * lanes)
    halfway = f.allocate("double", form.span * FILTER * lanes)

    def some(base: Val, first: Val, apart: int) -> list[Val]:
        places = (base.at((first + i * apart) * lanes, "double") for i in range(FILTER))
        return [f.load(place, wide) for place in places]

    with f.loop(0, width, lanes, runs=True) as across:
        first = panel * width + across.index
        numbers = [
            f.minimum(first + lane, field["filters"] - 1) for lane in range(lanes)
        ]
        lines = [field["w"].at(n * field["w_filter"], "float") for n in numbers]
        inside = f.tail(field["filters"] - first, lanes)
        with (
            f.loop(0, taps, runs=True) as slides,
            f.loop(0, channels, runs=True) as loop,
        ):
            step = loop.index * field["w_channel"] + slides.index * FILTER**2
            with f.loop(0, FILTER**2, runs=True) as each_tap:
                places = [line.at(step + each_tap.index, "float") for line in lines]
                value = f.convert(_gathered(f, places, inside), "double")
                f.store(value, given.at(each_tap.index * lanes, "double"))
            with f.loop(0, FILTER, runs=True) as columns:
                values = some(given, columns.index, FILTER)
                for i, row in enumerate(rows):
                    place = halfway.at((columns.index + i * FILTER) * lanes, "double")
                    f.store(_combined(row, values), place)
            row_of_u = slides.index * channels + loop.index
            into = u.at(row_of_u * width + across.index, "float")
            with f.loop(0, form.span, runs=True) as down:
                values = some(halfway, down.index * FILTER, 1)
                for k, row in enumerate(rows):
                    place = into.at(each * (down.index * form.span + k), "float")
                    f.store(f.convert(_combined(row, values), "float"), place)
    f.ret()


def _gathered(f: Function, places: Sequence[Val], mask: Val) -> Val:
    """Return numbers that lie apart, zeros where a mask is not set."""
    type = vector("float", len(places))
    zeros = found = f.value(0.0, type)
    for lane, place in enumerate(places):
        one = f.load(place, "float")
        found = f.emit(f"insertelement {found!r}, {one!r}, i64 {lane}", type)
    return f.select(mask, found, zeros)


def _combined(factors: Sequence[float], values: Sequence[Val]) -> Val:
    """Return the sum of products with constants, of which one is not zero."""
    pairs = zip(factors, values, strict=True)
    first, *others = (value * factor for factor, value in pairs if factor)
    for term in others:
        first = first + term
    return first


@family("winograd_input")
def winograd_input(module: Module, target: Target, name: str, *, size: int) -> None:
    """Write the transform of inputs, one slice of a tile a chunk.

    Where ``v`` is null the tile's block is written to scratch. So it is a step of its
    own, or the convolution's kernel calls it.
    """
    form, lanes = FORMS[size], target.lanes
    f = Function(module, name, PARAMETERS)
    arguments, chunk, scratch = f.parameters
    field = fields(f, arguments, INPUT_FIELDS)
    tile, plane = chunk // field["slices"], chunk % field["slices"]
    pixels = f.allocate("ptr", form.places)
    _find(f, form, field, tile, plane, pixels)
    number = tile // field["block"]
    _, count = tiles_of(f, field, number)
    given = block_of(field, form, number)
    block = f.select(field["v"].compare("eq", 0), scratch, given)
    row = plane * count + tile % field["block"]
    v = block.at(row * field["v_row"], "float")
    with f.loop(0, field["channels"], lanes, runs=True) as loop:
        # The last register overlaps the one before, and writes the same again.
        channel = f.minimum(loop.index, field["channels"] - lanes)
        place = v.at(channel, "float")
        _transform(f, target, form, pixels, channel, place, field["v_plane"])
    f.ret()


def block_of(field: dict[str, Val], form: Form, block: Val) -> Val:
    """Return where a block of V begins."""
    return field["v"].at(block * (field["v_plane"] * form.places), "float")


def tiles_of(f: Function, field: dict[str, Val], block: Val) -> tuple[Val, Val]:
    """Return the first tile of a block, and how many it has."""
    first = block * field["block"]
    return first, f.minimum(field["tiles"] - first, field["block"])


def place_of(field: dict[str, Val], tile: Val) -> tuple[Val, Val, Val]:
    """Return a tile's image, and its row and column among the tiles of it."""
    line = tile // field["tile_columns"]
    return (
        line // field["tile_rows"],
        line % field["tile_rows"],
        tile % field["tile_columns"],
    )


def _find(
    f: Function, form: Form, field: dict[str, Val], tile: Val, plane: Val, pixels: Val
) -> None:
    """Write the addresses of a tile's pixels, of zeros where the slice has none."""
    image, row, column = place_of(field, tile)
    top = row * form.size - field["top"]
    left = column * form.size - field["left"]
    slice_of_x = image * field["x_image"] + plane * field["x_slice"]
    base = field["x"].at(slice_of_x, "float")
    for i in range(form.span):
        y = top + i
        line = base.at(y * field["x_row"], "float")
        inside = y.compare("ult", field["height"])
        for k in range(form.span):
            x = left + k
            pixel = line.at(x * field["x_pixel"], "float")
            seen = inside & x.compare("ult", field["width"])
            found = f.select(seen, pixel, field["zeros"])
            f.store(found, pixels.at(i * form.span + k, "ptr"), 8)


def _transform(
    f: Function,
    target: Target,
    form: Form,
    pixels: Val,
    channel: Val,
    into: Val,
    plane: Val,
) -> None:
    """Write Bᵀ d B for a register of channels.

    Inputs are read again for each group of places, and column by column when these are
    needed, so that few values wait in registers.
    """
    type = vector("float", target.lanes)

    def column(group: Sequence[int], k: int, channel: Val) -> list[Val]:
        def loaded(i: int) -> Val:
            pixel = f.load(pixels.at(i * form.span + k, "ptr"), "ptr", 8)
            return f.load(pixel.at(channel, "float"), type)

        return form.input_places(f, target, loaded, group)

    for group in form.input_groups:
        rows = rows_of(f, target, len(group), partial(column, group), channel)
        for across in form.input_groups:
            for i, row in zip(group, rows, strict=True):
                values = form.input_places(f, target, row, across)
                for k, value in zip(across, values, strict=True):
                    f.store(value, into.at(plane * (i * form.span + k), "float"))
