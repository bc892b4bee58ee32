"""Which pixels the bins of a region see along an axis: tables written before it is reduced.

A table has `HEAD` words and two more per entry for each bin. Of points between pixels
entries are offsets, in elements, and weights in float64; of whole pixels there are only
how many a bin has and the offset of the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from runtime_ep_cpu.codegen.builder import Function, Module, Val
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath

HEAD: Final = 2
"""Words of a bin's table before its entries: how many there are, and one more."""

EMPTY: Final = 1
FAILED: Final = 2
"""What a function of an axis returns where bins have no points, or coordinates are not
finite; else 0."""

_MOST_POINTS: Final = 2.0**20
"""Points of a bin along an axis, at most."""


class _Axis:
    """A function that writes the table of an axis, and says whether it could.

    It returns 0; `EMPTY` where a bin has no points; or `FAILED`.
    """

    def __init__(
        self, module: Module, name: str, coordinate: str, more: Sequence[str]
    ) -> None:
        words = ("size", "stride", "bins", "capacity", *more)
        listed = [(coordinate, "start"), (coordinate, "end")]
        listed += [("i64", word) for word in words]
        listed.append(("ptr", "table"))
        self.name = name
        self.f = Function(module, name, listed, "i64", internal=True)
        self.start, self.end, *numbers, self.table = self.f.parameters
        self.number = dict(zip(words, numbers, strict=True))

    def entries(self, bin: Val) -> Val:
        """Return where a bin's table begins."""
        width = self.number["capacity"] * 2 + HEAD
        return self.table.at(bin * width, "i64")

    def clear(self) -> None:
        """Let no bin see a pixel."""
        f = self.f
        with f.loop(0, self.number["bins"]) as loop:
            f.store(f.value(0, "i64"), self.entries(loop.index))

    def fail_unless(self, fine: Val, status: int) -> None:
        """Return a status where something does not hold, with empty tables."""
        f = self.f
        yes, no = f.fresh("fine"), f.fresh("wrong")
        f.branch(fine, yes, no)
        f.label(no)
        self.clear()
        f.ret(f.value(status, "i64"))
        f.label(yes)


class Points(_Axis):
    """Points between pixels: each sees two, which the bins of a mean count once."""

    def __init__(self, module: Module, name: str, mode: str, half: bool) -> None:
        super().__init__(module, name, "double", ("ratio",))
        f = self.f
        self.merges = mode == "avg"
        extent = self.end - self.start
        self.fail_unless(f.intrinsic("llvm.fabs", extent) < math.inf, FAILED)
        if not half:
            extent = f.select(extent > 1.0, extent, f.value(1.0, "double"))
        step = extent / f.convert(self.number["bins"], "double")
        needed = _rounded_up(f, step)
        ratio = self.number["ratio"]
        given = f.convert(ratio, "double")
        points = f.select(ratio > 0, given, needed)
        self.fail_unless(points <= _MOST_POINTS, FAILED)
        count = f.convert(points, "i64")
        self.fail_unless(count > 0, EMPTY)
        with f.loop(0, self.number["bins"], runs=True) as bins:
            table = self.entries(bins.index)
            f.store(f.value(0, "i64"), table)
            number = f.convert(bins.index, "double")
            zero = f.value(False, "i1")
            with f.loop(0, count, carried=[zero], runs=True) as loop:
                within = (f.convert(loop.index, "double") + 0.5) / points
                where = self.start + (number + within) * step
                loop.next(loop.carried[0] | self._point(table, where, points))
            if not self.merges:
                with f.when(loop.results[0]):
                    nothing = f.value(0.0, "double")
                    self._see(table, f.value(0, "i64"), nothing)
        f.ret(f.value(0, "i64"))

    def _point(self, table: Val, where: Val, points: Val) -> Val:
        """Add the pixels a point sees; return whether it is outside of the image."""
        f, size = self.f, self.number["size"]
        length = f.convert(size, "double")
        inside = (where >= -1.0) & (where <= length)
        with f.when(inside):
            last = length - 1.0
            near = f.select(where > 0.0, where, f.value(0.0, "double"))
            near = f.select(near < last, near, last)
            low = f.convert(near, "i64")
            part = near - f.convert(low, "double")
            high = f.minimum(low + 1, size - 1)
            weights = [1.0 - part, part]
            if self.merges:
                weights = [weight / points for weight in weights]
            for index, weight in zip((low, high), weights, strict=True):
                self._see(table, index * self.number["stride"], weight)
        return ~inside

    def _see(self, table: Val, offset: Val, weight: Val) -> None:
        """Add a pixel; one of the last two is not added but weighs more."""
        f = self.f
        count = f.load(table, "i64")
        place = count
        if self.merges:
            for back in (2, 1):
                earlier = f.maximum(count - back, 0)
                kept = f.load(table.at(earlier * 2 + HEAD, "i64"), "i64")
                same = (count >= back) & kept.equals(offset)
                place = f.select(same, count - back, place)
        entry = table.at(place * 2 + HEAD, "i64")
        f.store(offset, entry)
        beside = entry.at(1, "i64")
        if self.merges:
            have = f.load(beside, "double")
            old = place < count
            weight = f.select(old, have, f.value(0.0, "double")) + weight
        f.store(weight, beside, 8)
        f.store(f.maximum(count, place + 1), table)


class Cells(_Axis):
    """Whole pixels of bins that may overlap, clipped to the image."""

    def __init__(self, module: Module, name: str, target: Target) -> None:
        super().__init__(module, name, "float", ())
        f = self.f
        self.math = VectorMath(f, target, 0)
        sizes = [f.intrinsic("llvm.fabs", x) for x in (self.start, self.end)]
        self.fail_unless((sizes[0] < 2.0**31) & (sizes[1] < 2.0**31), FAILED)
        first, last = self._rounded(self.start), self._rounded(self.end)
        extent = f.maximum(last - first + 1, 1)
        bins = self.number["bins"]
        step = f.convert(extent, "float") / f.convert(bins, "float")
        with f.loop(0, bins, runs=True) as loop:
            here = self.math.floor(f.convert(loop.index, "float") * step)
            there = self.math.ceil(f.convert(loop.index + 1, "float") * step)
            begin, end = (
                self._clipped(f.convert(x, "i64") + first) for x in (here, there)
            )
            table = self.entries(loop.index)
            f.store(f.maximum(end - begin, 0), table)
            f.store(begin * self.number["stride"], table.at(1, "i64"))
        f.ret(f.value(0, "i64"))

    def _rounded(self, number: Val) -> Val:
        """Return the nearest integer, halves away from zero."""
        f = self.f
        size = self.math.floor(f.intrinsic("llvm.fabs", number) + 0.5)
        return f.convert(self.math.copysign(size, number), "i64")

    def _clipped(self, place: Val) -> Val:
        return self.f.minimum(self.f.maximum(place, 0), self.number["size"])


def _rounded_up(f: Function, number: Val) -> Val:
    """Return the integer at or above a float64, if it is at most `_MOST_POINTS` large."""
    known = f.intrinsic("llvm.fabs", number) <= _MOST_POINTS
    whole = f.convert(f.select(known, number, f.value(0.0, "double")), "i64")
    near = f.convert(whole, "double")
    near = f.select(near < number, near + 1.0, near)
    far = f.select(number < 0.0, f.value(-_MOST_POINTS, "double"), number)
    return f.select(known, near, far)
