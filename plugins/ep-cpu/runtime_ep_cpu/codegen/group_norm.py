"""Statistics of groups of channels over images whose channels lie innermost.

`channel_moments` goes over rows of pixels, with vectors along channels::

    for row in block:
        for columns of channels:
            mean[row, columns] = x[0] + Σ (x - x[0]) / pixels
            squares[row, columns] = Σ (x - mean)²

`group_scales` merges the rows of one image, and then the channels of one group::

    mean = Σ mean[row, channel] · pixels[row] / all pixels
    variance = Σ (squares[row, channel] + pixels[row] · (mean[row, channel] - mean)²) / all
    factor[channel] = scale[channel] / sqrt(variance + epsilon)

Every mean is that of differences from one of its numbers, so that errors are small beside
the deviation, however large the mean is. What is summed in which order depends on shapes
alone.
"""

from __future__ import annotations

from typing import Final

from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.memory import mask_of
from runtime_ep_cpu.codegen.rows import sweep
from runtime_ep_cpu.codegen.target import Target

MOMENT_FIELDS: Final = (
    "x",
    "x_pixel",
    "offsets",
    "rows",
    "block",
    "channels",
    "moments",
)
"""Arguments of `channel_moments`: strides in elements; ``offsets`` points to the length
and the place of each row, ``moments`` to ``[rows, 2, channels]``. A chunk is ``block``
rows."""

SCALE_FIELDS: Final = (
    "moments", "offsets", "rows", "pixels", "channels", "group", "groups", "scale",
    "epsilon", "mean", "factor",
)  # fmt: skip
"""Arguments of `group_scales`: ``rows`` and ``pixels`` are those of one image, ``group``
the number of channels in each of ``groups``; ``mean`` and ``factor`` point to
``[images, channels]``. A chunk is one group of one image."""

_WAYS = 4
"""Vectors of channels that go down together."""


@family("channel_moments")
def channel_moments(module: Module, target: Target, name: str) -> None:
    """Write the kernel that finds each row's mean and sum of squares; see above."""
    parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
    f = Function(module, name, parameters)
    arguments, chunk, _ = f.parameters
    field = _fields(f, arguments, MOMENT_FIELDS)
    lanes, channels = target.lanes, field["channels"]
    top = chunk * field["block"]
    bottom = f.minimum(top + field["block"], field["rows"])
    many = channels & -(lanes * _WAYS)
    with f.loop(top, bottom, runs=True) as rows:
        entry = field["offsets"].at(rows.index * 2, "i64")
        pixels, offset = f.field(entry, 0), f.field(entry, 1)
        x = field["x"].at(offset, "float")
        made = field["moments"].at(rows.index * channels * 2, "float")
        row = _Pixels(f, target, x, field["x_pixel"], pixels)

        def write(index: Val, mask: Val | None, ways: int) -> None:
            means, squares = row.moments(index, mask, ways)
            for i, (mean, square) in enumerate(zip(means, squares, strict=True)):
                place = made.at(index + lanes * i, "float")
                _store(f, mean, place, mask)
                _store(f, square, place.at(channels, "float"), mask)

        with f.loop(0, many, lanes * _WAYS) as loop:
            write(loop.index, None, _WAYS)
        sweep(f, target, many, channels, lambda index, mask: write(index, mask, 1))
    f.ret()


class _Pixels:
    """One row of pixels being read."""

    def __init__(
        self, f: Function, target: Target, x: Val, pitch: Val, pixels: Val
    ) -> None:
        self.f, self.lanes = f, target.lanes
        self.type = vector("float", target.lanes)
        self.x, self.pitch, self.pixels = x, pitch, pixels

    def moments(
        self, index: Val, mask: Val | None, ways: int
    ) -> tuple[list[Val], list[Val]]:
        """Return mean and sum of squares of some vectors of channels."""
        f = self.f
        zeros = [f.value(0.0, self.type)] * ways
        first = self._read(f.value(0, "i64"), index, mask, ways)
        with f.loop(0, self.pixels, carried=zeros, runs=True) as loop:
            values = self._read(loop.index, index, mask, ways)
            triples = zip(loop.carried, values, first, strict=True)
            loop.next(*(total + (x - base) for total, x, base in triples))
        count = f.splat(f.convert(self.pixels, "float"), self.lanes)
        pairs = zip(first, loop.results, strict=True)
        means = [base + total / count for base, total in pairs]
        with f.loop(0, self.pixels, carried=zeros, runs=True) as loop:
            values = self._read(loop.index, index, mask, ways)
            apart = [x - mean for x, mean in zip(values, means, strict=True)]
            pairs = zip(apart, loop.carried, strict=True)
            loop.next(*(d * d + total for d, total in pairs))
        return means, loop.results

    def _read(self, pixel: Val, index: Val, mask: Val | None, ways: int) -> list[Val]:
        place = self.x.at(pixel * self.pitch + index, "float")
        return [
            _load(self.f, place.at(self.lanes * i, "float"), self.type, mask)
            for i in range(ways)
        ]


@family("group_scales")
def group_scales(module: Module, target: Target, name: str) -> None:
    """Write the kernel that finds mean and factor of each channel; see above."""
    parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
    _Scales(Function(module, name, parameters), target).whole()


class _Scales:
    """The kernel of one group of one image being written."""

    def __init__(self, f: Function, target: Target) -> None:
        self.f, self.target, self.lanes = f, target, target.lanes
        self.type = vector("float", target.lanes)
        arguments, self.chunk, self.scratch = f.parameters
        self.field = _fields(f, arguments, SCALE_FIELDS)

    def whole(self) -> None:
        """Write everything."""
        f, field = self.f, self.field
        image, number = self.chunk // field["groups"], self.chunk % field["groups"]
        channel = number * field["group"]
        row = image * field["rows"]
        self.offsets = field["offsets"].at(row * 2, "i64")
        start = row * field["channels"] * 2 + channel
        self.moments = field["moments"].at(start, "float")
        self.pixels = f.convert(field["pixels"], "float")
        mean, variance = self._merged()
        inverse = 1.0 / f.intrinsic("llvm.sqrt", variance + self._epsilon())
        self._write(image * field["channels"] + channel, channel, mean, inverse)
        f.ret()

    def _epsilon(self) -> Val:
        return self.f.bitcast(self.f.convert(self.field["epsilon"], "i32"), "float")

    def _merged(self) -> tuple[Val, Val]:
        """Return mean and variance of the group, scalars."""
        f, field, lanes = self.f, self.field, self.lanes
        base = f.load(self.moments, "float")
        zero = f.value(0.0, self.type)
        with f.loop(0, field["group"], lanes, [zero], runs=True) as loop:
            mask = self._mask(loop.index)
            mean, squares = self._channels(loop.index, mask)
            _store(f, mean, self.scratch.at(loop.index, "float"), mask)
            kept = self.scratch.at(field["group"] + loop.index, "float")
            _store(f, squares, kept, mask)
            apart = f.select(mask, mean - f.splat(base, lanes), zero)
            loop.next(loop.carried[0] + apart)
        count = f.convert(field["group"], "float")
        mean = base + f.reduce("fadd", loop.results[0]) / count
        with f.loop(0, field["group"], lanes, [zero], runs=True) as loop:
            mask = self._mask(loop.index)
            here = self.scratch.at(loop.index, "float")
            kept = here.at(field["group"], "float")
            squares = f.load_masked(kept, self.type, mask)
            apart = f.load_masked(here, self.type, mask) - f.splat(mean, lanes)
            whole = squares + f.splat(self.pixels, lanes) * (apart * apart)
            loop.next(loop.carried[0] + f.select(mask, whole, zero))
        return mean, f.reduce("fadd", loop.results[0]) / (count * self.pixels)

    def _channels(self, index: Val, mask: Val) -> tuple[Val, Val]:
        """Return mean and sum of squares of a vector of channels, over all rows."""
        f, lanes = self.f, self.lanes
        zero = f.value(0.0, self.type)
        base = self._moment(f.value(0, "i64"), 0, index, mask)
        with f.loop(0, self.field["rows"], 1, [zero], runs=True) as loop:
            apart = self._moment(loop.index, 0, index, mask) - base
            loop.next(loop.carried[0] + apart * self._count(loop.index))
        mean = base + loop.results[0] / f.splat(self.pixels, lanes)
        with f.loop(0, self.field["rows"], 1, [zero], runs=True) as loop:
            apart = self._moment(loop.index, 0, index, mask) - mean
            squares = self._moment(loop.index, 1, index, mask)
            more = apart * apart * self._count(loop.index) + squares
            loop.next(loop.carried[0] + more)
        return mean, loop.results[0]

    def _moment(self, row: Val, which: int, index: Val, mask: Val) -> Val:
        place = self.moments.at((row * 2 + which) * self.field["channels"], "float")
        return self.f.load_masked(place.at(index, "float"), self.type, mask)

    def _count(self, row: Val) -> Val:
        """Return how many pixels a row has, as a vector."""
        count = self.f.field(self.offsets.at(row * 2, "i64"), 0)
        return self.f.splat(self.f.convert(count, "float"), self.lanes)

    def _write(self, place: Val, channel: Val, mean: Val, inverse: Val) -> None:
        f, field, lanes = self.f, self.field, self.lanes
        with f.loop(0, field["group"], lanes, runs=True) as loop:
            mask = self._mask(loop.index)
            scales = field["scale"].at(channel + loop.index, "float")
            factor = f.load_masked(scales, self.type, mask) * f.splat(inverse, lanes)
            here = place + loop.index
            _store(f, f.splat(mean, lanes), field["mean"].at(here, "float"), mask)
            _store(f, factor, field["factor"].at(here, "float"), mask)

    def _mask(self, index: Val) -> Val:
        left = self.field["group"] - index
        return mask_of(self.f, self.target, left, self.lanes)


def _fields(f: Function, arguments: Val, names: tuple[str, ...]) -> dict[str, Val]:
    pointers = ("x", "offsets", "moments", "scale", "mean", "factor")
    return {
        word: f.field(arguments, i, "ptr" if word in pointers else "i64")
        for i, word in enumerate(names)
    }


def _load(f: Function, place: Val, type: str, mask: Val | None) -> Val:
    return f.load(place, type) if mask is None else f.load_masked(place, type, mask)


def _store(f: Function, value: Val, place: Val, mask: Val | None) -> None:
    if mask is None:
        f.store(value, place)
    else:
        f.store_masked(value, place, mask)
