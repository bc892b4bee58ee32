"""The inner tile of depthwise convolutions: some pixels by some channels, in registers.

``depthwise_tile`` goes along a row of pixels, ``count`` tiles one behind the other::

    for tile in range(count):
        sums[pixels] = bias
        for r in range(kernel_rows):
            for place in what the tile's pixels see of row r:
                value = x[row r, place]                  # one vector of channels
                for pixel, tap that meet there:
                    sums[pixel] += value * w[r, tap]
        out[pixels] = sums within limits

A value is read once for all the taps it serves. Every sum is taken in the order of its
taps, so that tiles of all sizes give the same bits. How many taps a kernel's row has,
and how far they and the pixels lie apart, is part of the code.
"""

from __future__ import annotations

from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.microkernel import limited, multiply_add
from runtime_ep_cpu.codegen.target import Target

_PIXELS = {"avx512": (14, 7, 4, 2, 1)}
_FEWER = (7, 4, 2, 1)


def sizes(target: Target) -> tuple[int, ...]:
    """Return of how many pixels tiles are made, the largest first and 1 the last."""
    return _PIXELS.get(target.name, _FEWER)


MOST_TAPS = 7
"""Of a row: each is in a register beside the sums."""


def along(taps: int) -> int:
    """Return how many of a row's taps are taken together: a divisor that is not too large."""
    return max(n for n in range(1, MOST_TAPS + 1) if not taps % n)


def tiles(target: Target, taps: int, step: int, gap: int) -> list[Spec]:
    """Return the tiles for kernels whose rows have so many taps, by size."""
    return [
        Spec.of("depthwise_tile", pixels=pixels, taps=taps, step=step, gap=gap)
        for pixels in sizes(target)
    ]


@family("depthwise_tile")
def depthwise_tile(
    module: Module,
    target: Target,
    name: str,
    *,
    pixels: int,
    taps: int,
    step: int,
    gap: int,
) -> None:
    """Write a tile of so many pixels by one vector of channels.

    ``void name(x, x_pixel, steps, rows, w, bias, out, out_pixel, count, ahead, aheads,
    limits)``:
    ``x_pixel`` is how far neighbours in the input lie apart, ``steps`` say where each of
    the kernel's ``rows`` begins behind ``x``; both are in bytes. Weights lie one behind
    the other; the distance of the result's pixels is in elements. ``step`` and ``gap``
    are stride and dilation along the row. ``ahead`` says, ``aheads`` times, how many
    bytes behind a pixel lies what will be needed next: its cache lines are asked for,
    which the processor would not foresee where pixels lie far apart. ``limits`` are those
    of `microkernel.runs`.
    """
    f = Function(module, name, _PARAMETERS)
    _Tile(f, target, pixels, taps, step, gap).whole()


_PARAMETERS = (
    ("ptr", "x"),
    ("i64", "x_pixel"),
    ("ptr", "steps"),
    ("i64", "rows"),
    ("ptr", "w"),
    ("ptr", "bias"),
    ("ptr", "out"),
    ("i64", "out_pixel"),
    ("i64", "count"),
    ("ptr", "ahead"),
    ("i64", "aheads"),
    ("ptr", "limits"),
)


class _Tile:
    """The state of one tile being written."""

    def __init__(
        self, f: Function, target: Target, pixels: int, taps: int, step: int, gap: int
    ) -> None:
        self.f, self.target = f, target
        self.pixels, self.taps, self.step, self.gap = pixels, taps, step, gap
        self.type = vector("float", target.lanes)

    def whole(self) -> None:
        """Write everything."""
        f = self.f
        x, x_pixel, _, _, _, bias, out, out_pixel, count, *_, limits = f.parameters
        start = f.load(bias, self.type)
        with f.loop(0, count, carried=[x, out], runs=True) as tiles:
            here, place = tiles.carried
            self._ask(here)
            sums = self._sums(here, [start] * self.pixels)
            for value in limited(f, sums, limits):
                f.store(value, place)
                place = place.at(out_pixel, "float")
            tiles.next(here.at(x_pixel * (self.step * self.pixels), "i8"), place)
        f.ret()

    def _ask(self, x: Val) -> None:
        """Ask for what the next rows will read of the tile's places."""
        f, x_pixel = self.f, self.f.parameters[1]
        ahead, aheads = f.parameters[-3:-1]
        with f.loop(0, aheads) as rows:
            place = x.at(f.load(ahead.at(rows.index, "i64"), "i64"), "i8")
            for _ in range(self.pixels * self.step):
                f.prefetch(place)
                place = place.at(x_pixel, "i8")

    def _sums(self, x: Val, starts: list[Val]) -> list[Val]:
        """Return the sums over all rows of the kernel."""
        f, lanes = self.f, self.target.lanes
        _, _, steps, rows, w, *_ = f.parameters
        with f.loop(0, rows, carried=[*starts, w], runs=True) as loop:
            *sums, weights = loop.carried
            line = x.at(f.load(steps.at(loop.index, "i64"), "i64"), "i8")
            factors = [
                f.load(weights.at(lanes * tap, "float"), self.type)
                for tap in range(self.taps)
            ]
            following = weights.at(lanes * self.taps, "float")
            loop.next(*self._row(line, sums, factors), following)
        return loop.results[: self.pixels]

    def _row(self, line: Val, sums: list[Val], factors: list[Val]) -> list[Val]:
        """Add one row of the kernel."""
        f, x_pixel = self.f, self.f.parameters[1]
        place, last = line, 0
        for seen in sorted(
            {
                pixel * self.step + tap * self.gap
                for pixel in range(self.pixels)
                for tap in range(self.taps)
            }
        ):
            place = place.at(x_pixel * (seen - last), "i8")
            last = seen
            value = f.load(place, self.type)
            for tap, factor in enumerate(factors):
                pixel, off = divmod(seen - tap * self.gap, self.step)
                if not off and 0 <= pixel < self.pixels:
                    sums[pixel] = multiply_add(
                        f, self.target, value, factor, sums[pixel]
                    )
        return sums
