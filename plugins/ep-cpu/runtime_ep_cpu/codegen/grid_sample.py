"""Sampling an image, whose channels lie innermost, at points that an operand tells.

A chunk is some points of one image that lie behind each other::

    for points in chunk by lanes:                      # a point per lane
        for each axis: places and weights of its taps from the coordinate
        scratch = offset and weight of every combination of taps
        for point in points:                           # channels along the lanes
            result[point, channels] = Σ weight · X[offset, channels]

A tap beyond the image is a row of zeros instead, an edge pixel or a mirrored one. With
one tap elements are only moved, and may be of any type.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import product
from operator import add, mul, or_
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen import memory
from runtime_ep_cpu.codegen.builder import Function, Module, Val
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.memory import mask_of
from runtime_ep_cpu.codegen.rows import sweep
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath

TAPS: Final = {"nearest": 1, "linear": 2, "cubic": 4}
PADDINGS: Final = ("zeros", "border", "reflection")

FIELDS: Final = (
    "result", "x", "grid", "zeros", "channels", "block", "blocks", "lines", "line",
    "x_batch", "result_batch", "result_line", "result_point", "grid_batch", "grid_line",
)  # fmt: skip
"""Arguments: four addresses; the number of channels; points of a chunk and chunks of a
line; lines of an image and points of a line; and strides in elements of what they are
called after. Points of the grid lie behind each other. `AXIS_FIELDS` follow per axis."""

AXIS_FIELDS: Final = ("size", "stride", "low", "high", "half", "period")
"""The axis of an image that a coordinate counts along: its size and stride; and, bits of
float32, between which places pixels lie, half of what is between, and twice of it."""

_CHUNK = 64 * 1024
"""Elements read by a chunk."""
_WAYS = 4


class Points(NamedTuple):
    """What is sampled: batches, lines and their points, channels, and how many axes."""

    batch: int
    lines: int
    line: int
    channels: int
    axes: int


class Division(NamedTuple):
    """Points of a chunk, chunks of a line, and all chunks."""

    block: int
    blocks: int
    chunks: int


def spec(mode: str, padding: str, axes: int, element: str, grid: str) -> Spec:
    """Return the kernel for an image and a grid of some types."""
    return Spec.of(
        "grid_sample", mode=mode, padding=padding, axes=axes, element=element, grid=grid
    )


def divide(target: Target, mode: str, points: Points) -> Division:
    """Cut lines into chunks; a pure function of the sizes."""
    each = max(1, points.channels * TAPS[mode] ** points.axes)
    count = max(1, points.line * each // _CHUNK)
    block = -(-points.line // (count * target.lanes)) * target.lanes
    blocks = -(-points.line // block)
    return Division(block, blocks, points.batch * points.lines * blocks)


def scratch(target: Target, mode: str, axes: int) -> int:
    """Return how many bytes a thread needs."""
    return int(TAPS[mode] ** axes) * target.lanes * 8


@family("grid_sample")
def grid_sample(
    module: Module,
    target: Target,
    name: str,
    *,
    mode: str,
    padding: str,
    axes: int,
    element: str,
    grid: str,
) -> None:
    """Write sampling along so many axes, the first coordinate being the last axis's."""
    _Kernel(module, target, name, mode, padding, axes, element, grid).whole()


class _Kernel:
    """The kernel being written."""

    def __init__(
        self,
        module: Module,
        target: Target,
        name: str,
        mode: str,
        padding: str,
        axes: int,
        element: str,
        grid: str,
    ) -> None:
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = f = Function(module, name, parameters)
        self.target, self.lanes = target, target.lanes
        self.math = VectorMath(f, target)
        self.mode, self.padding, self.axes = mode, padding, axes
        self.element, self.grid = element, grid
        self.arguments, self.chunk, self.scratch = f.parameters
        pointers = FIELDS[:4]
        self.field = {
            word: f.field(self.arguments, i, "ptr" if word in pointers else "i64")
            for i, word in enumerate(FIELDS)
        }
        self.taps = [_Axis(self, axis) for axis in range(axes)]
        self.count = TAPS[mode] ** axes

    def whole(self) -> None:
        """Write everything."""
        f, field = self.f, self.field
        row, number = self.chunk // field["blocks"], self.chunk % field["blocks"]
        batch, line = row // field["lines"], row % field["lines"]
        first = number * field["block"]
        last = f.minimum(first + field["block"], field["line"])
        self.x = field["x"].at(batch * field["x_batch"], memory.stored(self.element))
        made = batch * field["result_batch"] + line * field["result_line"]
        read = batch * field["grid_batch"] + line * field["grid_line"]
        grid = field["grid"].at(read, memory.stored(self.grid))
        result = field["result"].at(made, memory.stored(self.element))
        with f.loop(first, last, self.lanes, runs=True) as loop:
            left = f.minimum(last - loop.index, self.lanes)
            self._keep(grid, loop.index, left)
            with f.loop(0, left, runs=True) as points:
                place = (loop.index + points.index) * field["result_point"]
                to = result.at(place, memory.stored(self.element))
                self._point(points.index, to)
        f.ret()

    def _keep(self, grid: Val, first: Val, count: Val) -> None:
        """Write offset and weight of every combination of taps of some points."""
        f, lanes = self.f, self.lanes
        coordinates = self._coordinates(grid, first, count)
        every = [
            axis.taps(where)
            for axis, where in zip(self.taps, reversed(coordinates), strict=True)
        ]
        for number, combination in enumerate(product(*every)):
            offset = reduce(add, (tap.offset for tap in combination))
            if self.padding == "zeros":
                beyond = reduce(or_, (tap.offset for tap in combination))
                offset = f.select(beyond < 0, f.value(-1, offset.type), offset)
            f.store(offset, self.scratch.at(number * lanes, "i32"))
            weights = [tap.weight for tap in combination if tap.weight is not None]
            if weights:
                place = self.scratch.at((self.count + number) * lanes, "float")
                f.store(reduce(mul, weights), place)

    def _coordinates(self, grid: Val, first: Val, count: Val) -> list[Val]:
        """Return the coordinates of some points, a vector each, as they lie in the grid."""
        f, lanes = self.f, self.lanes
        start = grid.at(first * self.axes, memory.stored(self.grid))
        whole = count * self.axes
        parts = []
        for part in range(self.axes):
            mask = mask_of(f, self.target, whole - part * lanes, lanes)
            place = start.at(part * lanes, memory.stored(self.grid))
            parts.append(memory.read(f, self.target, place, self.grid, lanes, mask))
        return [self._picked(parts, axis) for axis in range(self.axes)]

    def _picked(self, parts: Sequence[Val], axis: int) -> Val:
        """Return every so manieth element, of vectors that lie behind each other."""
        f, lanes = self.f, self.lanes
        found = parts[0]
        if len(parts) == 1:
            return found
        places = [lane * self.axes + axis for lane in range(lanes)]
        lanes_of = [p if p < 2 * lanes else 0 for p in places]
        found = f.shuffle(parts[0], parts[1], lanes_of)
        for number, part in enumerate(parts[2:], 2):
            own = [
                lanes + p - number * lanes if p // lanes == number else lane
                for lane, p in enumerate(places)
            ]
            found = f.shuffle(found, part, own)
        return found

    def _point(self, lane: Val, to: Val) -> None:
        """Write the channels of a point."""
        f, field, lanes = self.f, self.field, self.lanes
        held = memory.stored(self.element)
        places, factors = [], []
        for number in range(self.count):
            kept = self.scratch.at(lane + number * lanes, "i32")
            offset = f.convert(f.load(kept, "i32"), "i64")
            place = self.x.at(offset, held)
            if self.padding == "zeros":
                place = f.select(offset < 0, field["zeros"], place)
            places.append(place)
            if self.count > 1:
                kept = self.scratch.at(lane + (self.count + number) * lanes, "float")
                factors.append(f.splat(f.load(kept, "float"), lanes))

        def block(index: Val, mask: Val | None, ways: int) -> None:
            for i in range(ways):
                here = index + lanes * i
                total: Val | None = None
                for number, place in enumerate(places):
                    value = memory.read(
                        f, self.target, place.at(here, held), self.element, lanes, mask
                    )
                    if factors and total is None:
                        total = value * factors[number]
                    elif factors and total is not None:
                        total = self.math.fma(value, factors[number], total)
                    else:
                        total = value
                if total is not None:
                    there = to.at(here, held)
                    memory.write(f, self.target, total, there, self.element, mask)

        ways = _WAYS if self.count <= 8 else 1
        many = field["channels"] & -(lanes * ways)
        with f.loop(0, many, lanes * ways) as loop:
            block(loop.index, None, ways)
        sweep(f, self.target, many, field["channels"], lambda i, m: block(i, m, 1))


class _Tap(NamedTuple):
    """Where the taps of some points lie, -1 beyond the image, and their weights."""

    offset: Val
    weight: Val | None


class _Axis:
    """One axis of the image: from coordinates to taps."""

    def __init__(self, kernel: _Kernel, axis: int) -> None:
        self.kernel, self.f, self.math = kernel, kernel.f, kernel.math
        f, lanes = kernel.f, kernel.lanes
        start = len(FIELDS) + len(AXIS_FIELDS) * axis
        words = [f.field(kernel.arguments, start + i) for i in range(len(AXIS_FIELDS))]
        self.size, self.stride = (
            f.splat(f.convert(w, "i32"), lanes) for w in words[:2]
        )
        self.low, self.high, self.half, self.period = (
            f.splat(f.bitcast(f.convert(w, "i32"), "float"), lanes) for w in words[2:]
        )

    def taps(self, where: Val) -> list[_Tap]:
        """Return the taps of points, the nearest to the axis's beginning first."""
        f, mode = self.f, self.kernel.mode
        where = self._place(where)
        base = self.math.floor(where)
        part = where - base
        first = f.convert(base, "i32")
        if mode == "nearest":
            return [self._tap(first, None)]
        if mode == "linear":
            weights, start = [f.value(1.0, part.type) - part, part], 0
        else:
            weights, start = _cubic(part), -1
        return [self._tap(first + (start + i), w) for i, w in enumerate(weights)]

    def _place(self, where: Val) -> Val:
        """Return places in pixels, those far away nearer, but not within the image."""
        f, math = self.f, self.math
        unordered = where.compare("uno", where)
        where = self.low + (where + 1.0) * self.half
        if self.kernel.mode == "nearest":
            where = math.rint(where)
        if self.kernel.padding == "reflection":
            return self._mirrored(where)
        size = f.convert(self.size, "float")
        where = f.select(unordered, -(size + 8.0), where)
        return self._between(where, f.value(-4.0, where.type), size + 4.0)

    def _between(self, x: Val, least: Val, most: Val) -> Val:
        x = self.f.select(x > least, x, least)
        return self.f.select(x < most, x, most)

    def _mirrored(self, where: Val) -> Val:
        """Mirror places at both borders until they lie between them.

        What is no number, or infinite, is at the lower one.
        """
        f, math = self.f, self.math
        far = math.abs(where - self.low)
        turns = math.floor(far / self.period)
        rest = math.fma(-turns, self.period, far)
        rest = f.select(rest < 0.0, rest + self.period, rest)
        rest = f.select(rest >= self.period, rest - self.period, rest)
        span = self.high - self.low
        back = f.select(rest > span, self.period - rest, rest)
        outside = (where < self.low) | (where > self.high)
        found = f.select(outside, self.low + back, where)
        return self._between(found, self.low, self.high)

    def _tap(self, index: Val, weight: Val | None) -> _Tap:
        f, padding = self.f, self.kernel.padding
        zero, last = f.value(0, index.type), self.size - 1
        if padding == "zeros":
            inside = index.compare("ult", self.size)
            beyond = f.value(-1, index.type)
            return _Tap(f.select(inside, index * self.stride, beyond), weight)
        if padding == "reflection":
            mirrored = self._mirrored(f.convert(index, "float"))
            index = f.convert(self.math.trunc(mirrored), "i32")
        index = f.select(index > 0, index, zero)
        index = f.select(index < last, index, last)
        return _Tap(index * self.stride, weight)


_A: Final = -0.75


def _cubic(part: Val) -> list[Val]:
    """Return the four weights of Keys' kernel for places between two pixels."""

    def near(x: Val) -> Val:
        return (x * (_A + 2) - (_A + 3)) * x * x + 1.0

    def far(x: Val) -> Val:
        return ((x * _A - 5 * _A) * x + 8 * _A) * x - 4 * _A

    other = 1.0 - part
    return [far(part + 1.0), near(part), near(other), far(other + 1.0)]
