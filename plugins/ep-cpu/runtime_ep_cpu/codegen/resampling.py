"""Resampling: pixels of an image chosen, or weighted sums of some of them.

::

    for pixel of the result, channels by 4 · lanes, then by lanes, then masked:
        result[pixel, channels] = sum over taps of weight(taps) · X[taps, channels]

Each axis has as many taps for every place, told by a table: their offsets and, where
there is more than one, their weights (`entry`). A pixel's weights are the products of
those of its axes. Where an image becomes smaller and is filtered, places see many pixels,
some more than others: then each axis is gone along by itself (`resample_along`). Module
`pixels` has the nest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import product
from operator import add, mul
from typing import Final

from runtime_ep_cpu.codegen import memory
from runtime_ep_cpu.codegen.builder import Module, Val, vector
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.pixels import Pixel, PixelKernel
from runtime_ep_cpu.codegen.target import Target


def entry(taps: int) -> int:
    """Return how many numbers a table has for a place: offsets and float32 weights."""
    return taps if taps == 1 else 2 * taps


@family("resample")
def resample(
    module: Module, target: Target, name: str, *, element: str, taps: tuple[int, ...]
) -> None:
    """Write resampling with so many taps along each of three axes.

    With one tap along all of them, elements are only moved, and may be of any type.
    """
    kernel = PixelKernel(module, target, name, [element])
    f, lanes = kernel.f, kernel.lanes
    batch = kernel.field("x_batch")
    held = memory.stored(element)
    with kernel.pixels() as pixel:
        offsets, weights = _combined(kernel, pixel, taps)
        first = pixel.batch * batch
        places = [kernel.x.at(first + offset, held) for offset in offsets]
        factors = [f.splat(weight, lanes) for weight in weights]

        def block(index: Val, mask: Val | None, ways: int) -> None:
            for i in range(ways):
                here = index + lanes * i
                values = [
                    memory.read(f, target, place.at(here, held), element, lanes, mask)
                    for place in places
                ]
                kernel.write(0, pixel, here, _sum(kernel, values, factors), mask)

        kernel.sweep(pixel, block)


ALONG: Final = ("width", "step")
"""Arguments of `resample_along` besides those of `pixels.fields`: how many numbers a place
has in the table of the second axis, and how far its pixels are apart, in elements."""


@family("resample_along")
def resample_along(
    module: Module, target: Target, name: str, *, element: str, result: str
) -> None:
    """Write weighted sums along the second axis of three.

    Its table has the offset of a place's first pixel, the number of its pixels, and as
    many weights; those of the others have an offset each.
    """
    kernel = PixelKernel(module, target, name, [result], ALONG)
    f, lanes = kernel.f, kernel.lanes
    batch, width, step = (kernel.field(word) for word in ("x_batch", *ALONG))
    held = memory.stored(element)
    zero = f.value(0.0, vector("float", lanes))
    with kernel.pixels() as pixel:
        place = kernel.tables[1].at(pixel.places[1] * width, "i64")
        offset, count = f.field(place, 0), f.field(place, 1)
        for axis in (0, 2):
            offset = offset + f.field(kernel.entry(pixel, axis, 1), 0)
        first = kernel.x.at(pixel.batch * batch + offset, held)

        def block(index: Val, mask: Val | None, ways: int) -> None:
            with f.loop(0, count, carried=[zero] * ways, runs=True) as taps:
                weight = f.field(place.at(taps.index, "i64"), 2, "float")
                factor = f.splat(weight, lanes)
                here = first.at(taps.index * step + index, held)
                totals = []
                for i, total in enumerate(taps.carried):
                    there = here.at(lanes * i, held)
                    value = memory.read(f, target, there, element, lanes, mask)
                    totals.append(kernel.math.fma(value, factor, total))
                taps.next(*totals)
            for i, total in enumerate(taps.results):
                kernel.write(0, pixel, index + lanes * i, total, mask)

        kernel.sweep(pixel, block)


def _combined(
    kernel: PixelKernel, pixel: Pixel, taps: Sequence[int]
) -> tuple[list[Val], list[Val]]:
    """Return the offset and the weight of every tap of a pixel; one tap has no weight."""
    offsets: list[list[Val]] = []
    weights: list[list[Val]] = []
    for axis, count in enumerate(taps):
        place = kernel.entry(pixel, axis, entry(count))
        offsets.append([kernel.f.field(place, i) for i in range(count)])
        if count > 1:
            slots = range(count, 2 * count)
            weights.append([kernel.f.field(place, i, "float") for i in slots])
    sums = [reduce(add, combination) for combination in product(*offsets)]
    if not weights:
        return sums, []
    return sums, [reduce(mul, combination) for combination in product(*weights)]


def _sum(kernel: PixelKernel, values: Sequence[Val], factors: Sequence[Val]) -> Val:
    if not factors:
        return values[0]
    total = values[0] * factors[0]
    for value, factor in zip(values[1:], factors[1:], strict=True):
        total = kernel.math.fma(value, factor, total)
    return total
