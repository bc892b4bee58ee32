"""Regions of an image, whose channels lie innermost, reduced to a few pixels each.

A chunk is one region, and its first work is a table for each axis::

    for bin along the axis: which pixels it sees, and with which weights    # in scratch
    for row of bins, column of bins:
        result[region, row, column, channels] = reduce over the pixels both see

`roi_align` takes weighted means, or extremes, of points between pixels; `roi_pool` the
largest of whole pixels. Coordinates are float64 in the one, float32 in the other, as in
the NumPy kernels. A region that is not finite, or of no image, sets the word at
``failed``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from runtime_ep_cpu.codegen import memory
from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.roi_tables import FAILED, HEAD, Cells, Points
from runtime_ep_cpu.codegen.rows import sweep
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath

_SHARED: Final = (
    "result", "x", "regions", "images", "failed", "channels", "batch", "x_batch",
    "result_region", "capacity", "scale",
)  # fmt: skip
_AXIS: Final = ("size", "stride", "bins", "result_stride")
FIELDS: Final = (*_SHARED, *(f"{word}_{a}" for a in (0, 1) for word in _AXIS), "ratio")
"""Arguments: five addresses, ``images`` of the images' numbers; sizes, and strides in
elements; how many entries a bin's table may have; bits of the factor of coordinates,
float64 or float32; for rows and columns their number of pixels and their stride, the
number of bins and theirs; how many points a bin has along an axis, or 0."""

_WAYS: Final = 4


def capacity(size: int, ratio: int) -> int:
    """Return how many pixels, counted as often as points see them, a bin may see.

    Points are at least half a pixel apart where a bin has as many as it needs.
    """
    return 2 * (ratio if ratio > 0 else 2 * size + 6) + 2


def scratch(bins: Sequence[int], entries: int) -> int:
    """Return how many bytes a thread needs."""
    return 8 * sum(bins) * (HEAD + 2 * entries)


def align_spec(mode: str, half: bool, element: str, regions: str, index: str) -> Spec:
    """Return the kernel of RoiAlign; ``half`` shifts coordinates by half a pixel."""
    return Spec.of(
        "roi_align", mode=mode, half=half, element=element, regions=regions, index=index
    )


def pool_spec(element: str) -> Spec:
    """Return the kernel of MaxRoiPool."""
    return Spec.of("roi_pool", element=element)


@family("roi_align")
def roi_align(
    module: Module,
    target: Target,
    name: str,
    *,
    mode: str,
    half: bool,
    element: str,
    regions: str,
    index: str,
) -> None:
    """Write the mean (``avg``) or the largest (``max``) of points in each bin."""
    axis = Points(module, f"{name}_axis", mode, half)
    kernel = _Kernel(module, target, name, element)
    f, field = kernel.f, kernel.field
    image = f.convert(f.load(field["images"].at(kernel.chunk, index), index), "i64")
    place = field["regions"].at(kernel.chunk * 4, memory.stored(regions))
    read = [
        memory.read_one(f, target, place.at(i, memory.stored(regions)), regions)
        for i in range(4)
    ]
    scale = f.bitcast(field["scale"], "double")
    shift = 0.5 if half else 0.0
    corners = [f.convert(word, "double") * scale - shift for word in read]
    found = [
        f.call(
            axis.name, "i64", corners[1 - a], corners[3 - a], *kernel.axis_fields(a),
            field["ratio"], kernel.tables[a],
        )
        for a in (0, 1)
    ]  # fmt: skip
    empty = (found[0] | found[1]).differs(0)
    wrong = (found[0] | found[1]) >= FAILED
    least = f.value(0.0, "float")
    if mode == "max":
        least = f.select(empty, least, f.value(-math.inf, "float"))
    kernel.whole(image, wrong, least, mode == "max")


@family("roi_pool")
def roi_pool(module: Module, target: Target, name: str, *, element: str) -> None:
    """Write the largest pixel of each bin; of one that is empty, 0."""
    axis = Cells(module, f"{name}_axis", target)
    kernel = _Kernel(module, target, name, element)
    f, field = kernel.f, kernel.field
    stored = memory.stored(element)
    place = field["regions"].at(kernel.chunk * 5, stored)
    number, *read = (
        memory.read_one(f, target, place.at(i, stored), element) for i in range(5)
    )
    scale = f.bitcast(f.convert(field["scale"], "i32"), "float")
    corners = [word * scale for word in read]
    known = (number >= 0.0) & (number < 2.0**31)
    image = f.convert(f.select(known, number, f.value(-1.0, "float")), "i64")
    found = [
        f.call(
            axis.name, "i64", corners[1 - a], corners[3 - a], *kernel.axis_fields(a),
            kernel.tables[a],
        )
        for a in (0, 1)
    ]  # fmt: skip
    wrong = (found[0] | found[1]) >= FAILED
    kernel.whole(image, wrong, f.value(-math.inf, "float"), True, whole_pixels=True)


class _Kernel:
    """The kernel of one region being written."""

    def __init__(self, module: Module, target: Target, name: str, element: str) -> None:
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = f = Function(module, name, parameters)
        self.target, self.lanes, self.element = target, target.lanes, element
        self.math = VectorMath(f, target)
        arguments, self.chunk, scratch = f.parameters
        pointers = FIELDS[:5]
        self.field = {
            word: f.field(arguments, i, "ptr" if word in pointers else "i64")
            for i, word in enumerate(FIELDS)
        }
        self.width = self.field["capacity"] * 2 + HEAD
        self.tables = [scratch, scratch.at(self.field["bins_0"] * self.width, "i64")]

    def axis_fields(self, axis: int) -> list[Val]:
        """Return the numbers every function of an axis is given."""
        words = (f"size_{axis}", f"stride_{axis}", f"bins_{axis}", "capacity")
        return [self.field[word] for word in words]

    def whole(
        self,
        image: Val,
        wrong: Val,
        least: Val,
        extreme: bool,
        whole_pixels: bool = False,
    ) -> None:
        """Write what follows the tables: every bin, or that the region is wrong."""
        f, field = self.f, self.field
        known = image.compare("ult", field["batch"])
        with f.when(wrong | ~known):
            f.store(f.value(1, "i64"), field["failed"])
        held = memory.stored(self.element)
        image = f.select(known, image, f.value(0, "i64"))
        self.image = field["x"].at(image * field["x_batch"], held)
        made = field["result"].at(self.chunk * field["result_region"], held)
        with f.loop(0, field["bins_0"], runs=True) as rows:
            line = made.at(rows.index * field["result_stride_0"], held)
            down = self.tables[0].at(rows.index * self.width, "i64")
            with f.loop(0, field["bins_1"], runs=True) as columns:
                to = line.at(columns.index * field["result_stride_1"], held)
                across = self.tables[1].at(columns.index * self.width, "i64")
                self._bin([down, across], to, least, extreme, whole_pixels)
        f.ret()

    def _bin(
        self, tables: list[Val], to: Val, least: Val, extreme: bool, pixels: bool
    ) -> None:
        f, channels = self.f, self.field["channels"]
        counts = [f.load(table, "i64") for table in tables]
        empty = (counts[0] * counts[1]).equals(0)
        start = f.select(empty, f.value(0.0, "float"), least) if pixels else least
        held = memory.stored(self.element)
        many = channels & -(self.lanes * _WAYS)

        def block(index: Val, mask: Val | None, ways: int) -> None:
            totals = [f.splat(start, self.lanes)] * ways
            with f.loop(0, counts[0], carried=totals) as rows:
                row, down = self._entry(tables[0], rows.index, 0, pixels)
                nothing = [f.value(0.0, vector("float", self.lanes))] * ways
                inner = rows.carried if extreme else nothing
                with f.loop(0, counts[1], carried=inner) as columns:
                    column, across = self._entry(tables[1], columns.index, 1, pixels)
                    weight = down * across if extreme else across
                    place = self.image.at(row + column + index, held)
                    values = self._read(place, mask, ways)
                    columns.next(
                        *self._step(columns.carried, values, weight, extreme, pixels)
                    )
                found = columns.results
                if not extreme:
                    factor = self._factor(down)
                    found = [
                        self.math.fma(inside, factor, total)
                        for inside, total in zip(found, rows.carried, strict=True)
                    ]
                rows.next(*found)
            for i, total in enumerate(rows.results):
                there = to.at(index + self.lanes * i, held)
                memory.write(f, self.target, total, there, self.element, mask)

        with f.loop(0, many, self.lanes * _WAYS) as loop:
            block(loop.index, None, _WAYS)
        sweep(f, self.target, many, channels, lambda i, mask: block(i, mask, 1))

    def _entry(
        self, table: Val, index: Val, axis: int, pixels: bool
    ) -> tuple[Val, Val]:
        """Return offset and weight of the pixels of a bin along an axis."""
        f = self.f
        if pixels:
            first = f.load(table.at(1, "i64"), "i64")
            return first + index * self.field[f"stride_{axis}"], f.value(1.0, "double")
        entry = table.at(index * 2 + HEAD, "i64")
        return f.load(entry, "i64"), f.load(entry.at(1, "i64"), "double")

    def _read(self, place: Val, mask: Val | None, ways: int) -> list[Val]:
        held = memory.stored(self.element)
        return [
            memory.read(
                self.f, self.target, place.at(self.lanes * i, held), self.element,
                self.lanes, mask,
            )
            for i in range(ways)
        ]  # fmt: skip

    def _factor(self, weight: Val) -> Val:
        return self.f.splat(self.f.convert(weight, "float"), self.lanes)

    def _step(
        self,
        totals: Sequence[Val],
        values: Sequence[Val],
        weight: Val,
        extreme: bool,
        pixels: bool,
    ) -> list[Val]:
        """Take the pixels of one place in."""
        pairs = zip(values, totals, strict=True)
        if pixels:
            return [self.math.maximum(total, value) for value, total in pairs]
        factor = self._factor(weight)
        if extreme:
            return [self.math.maximum(total, value * factor) for value, total in pairs]
        return [self.math.fma(value, factor, total) for value, total in pairs]
