"""Planes of a few channels become pixels: what each pixel holds lies side by side.

::

    for row, columns by lanes:
        read a register of each plane
        to[row, columns, :] = as many registers, their lanes in the order of pixels

A few channels are too short for the squares by which `copies` transposes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen import nest
from runtime_ep_cpu.codegen.builder import Function, Module, Val
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.memory import mask_of, read, write
from runtime_ep_cpu.codegen.target import Target

FIELDS: Final = ("to", "from", "plane", *nest.fields(("to", "from")))
"""Arguments: addresses, the stride from plane to plane in elements, and the nest, whose
inner axis are the pixels of a row."""

MOST: Final = 15
"""Channels for which kernels are written."""
_CHUNK: Final = 16 * 1024
"""Elements of a chunk."""


class Interleaving(NamedTuple):
    """What runs a kernel: its arguments but the addresses, and its chunks."""

    numbers: list[int]
    chunks: int


def spec(channels: int) -> Spec:
    """Return the kernel for so many channels, 2 to `MOST`."""
    return Spec.of("interleave", channels=channels)


def plan(
    channels: int,
    sizes: Sequence[int],
    to: Sequence[int],
    source: Sequence[int],
    plane: int,
) -> Interleaving:
    """Lay out pixels of some sizes, with strides in elements; the last axis is a row.

    The source's pixels lie side by side, the destination's ``channels`` apart. Raises
    ``ValueError`` for too many axes.
    """
    space = nest.collapse(sizes, (to, source), keep_inner=True)
    division = nest.divide(space.rows, space.inner, _CHUNK // channels)
    return Interleaving([plane, *nest.numbers(space, division)], division.chunks)


@family("interleave")
def interleave(module: Module, target: Target, name: str, *, channels: int) -> None:
    """Write the kernel for float32 of so many channels; see the module's text."""
    f = Function(module, name, [("ptr", "args"), ("i64", "chunk"), ("ptr", "scratch")])
    arguments, chunk, _ = f.parameters
    to, source = (f.field(arguments, i, "ptr") for i in range(2))
    plane = f.field(arguments, 2)
    with nest.rows(f, arguments, chunk, 3, 2) as row:
        lanes = target.lanes
        into = to.at(row.offsets[0], "float")
        planes = [
            source.at(row.offsets[1] + plane * channel, "float")
            for channel in range(channels)
        ]
        with f.loop(row.start, row.stop, lanes) as loop:
            left = row.stop - loop.index
            mask = mask_of(f, target, left, lanes)
            values = [
                read(f, target, p.at(loop.index, "float"), "float", lanes, mask)
                for p in planes
            ]
            place = into.at(loop.index * channels, "float")
            for number in range(channels):
                count = f.maximum(left * channels - lanes * number, 0)
                write(
                    f,
                    target,
                    _pixels(f, values, number, lanes),
                    place.at(lanes * number, "float"),
                    "float",
                    mask_of(f, target, count, lanes),
                )
    f.ret()


def _pixels(f: Function, planes: Sequence[Val], number: int, lanes: int) -> Val:
    """Return one register of interleaved pixels, gathered from plane after plane."""
    places = [divmod(lanes * number + lane, len(planes)) for lane in range(lanes)]
    found = planes[0]
    order = [pixel if channel == 0 else 0 for pixel, channel in places]
    for plane in range(1, len(planes)):
        lanes_of = [
            lanes + pixel if channel == plane else order[lane]
            for lane, (pixel, channel) in enumerate(places)
        ]
        found = f.shuffle(found, planes[plane], lanes_of)
        order = list(range(lanes))
    return found
