"""Pooling: what windows over an image hold, reduced to one pixel each.

::

    for pixel of the result, channels by 4 · lanes, then by lanes, then masked:
        for each tap of the window that meets the image:
            state = step(state, prologue(X[tap, channels]))
        result[pixel, channels] = epilogue(finish(state, divisor))

Every window is clipped to the image by a table per axis, see `ENTRY`; where it meets
nothing, the result is what nothing reduces to. Sums add up each line of a window by
itself, so that errors of large windows stay small. Module `pixels` has the nest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from runtime_ep_cpu.codegen import memory
from runtime_ep_cpu.codegen.builder import Module, Val, kind, vector, with_element
from runtime_ep_cpu.codegen.expression import Expression, evaluate, widened
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.pixels import AXES, Pixel, PixelKernel
from runtime_ep_cpu.codegen.reduction import Reduction
from runtime_ep_cpu.codegen.rows import State
from runtime_ep_cpu.codegen.target import Target

ENTRY: Final = ("offset", "taps", "divisor", "position")
"""What a table has for each place along its axis: the offset of the first tap that
meets the image, how many do, how many a mean divides by, and the first one's part of a
position."""

EXTRA: Final = (
    *(f"step_{axis}" for axis in range(AXES)),
    *(f"position_{axis}" for axis in range(AXES)),
    "plane",
)
"""Arguments besides those of `pixels.fields`: how far apart taps are along each axis, in
elements and in positions, and how many positions a channel has."""


@family("pool")
def pool(
    module: Module,
    target: Target,
    name: str,
    *,
    operation: str,
    prologue: Expression,
    epilogue: Expression,
) -> None:
    """Write pooling by one of `reduction.OPERATIONS` that needs no position.

    Prologue and epilogue have one operand and one result.
    """
    results = [epilogue.results[0][1]]
    kernel = PixelKernel(module, target, name, results, EXTRA)
    writer = _Reduced(kernel, prologue, operation)
    with kernel.pixels() as pixel:
        writer.begin(pixel)
        divisor = writer.divisor

        def block(index: Val, mask: Val | None, ways: int) -> None:
            for i, state in enumerate(writer.states(index, mask, ways)):
                value = writer.reduction.finish(state, divisor)
                (result,) = evaluate(epilogue, [value], kernel.math)
                kernel.write(0, pixel, index + kernel.lanes * i, result, mask)

        kernel.sweep(pixel, block)


@family("pool_positions")
def pool_positions(module: Module, target: Target, name: str, *, element: str) -> None:
    """Write pooling by the maximum with its positions, ``i64``.

    Of equal ones the first in the order of the window's taps is taken, NaN before
    everything; a window that meets nothing has the position before its channel's first.
    A channel has less than 2³¹ elements.
    """
    prologue = Expression((element,), (), ((0, element),))
    kernel = PixelKernel(module, target, name, [element, "i64"], EXTRA)
    f, lanes = kernel.f, kernel.lanes
    writer = _Largest(kernel, prologue)
    plane = kernel.field("plane")
    listed = ", ".join(f"i64 {lane}" for lane in range(lanes))
    type = vector("i64", lanes)
    beside = Val(f, type, f"<{listed}>") * f.splat(plane, lanes)
    with kernel.pixels() as pixel:
        writer.begin(pixel)

        def block(index: Val, mask: Val | None, ways: int) -> None:
            for i, (value, position) in enumerate(writer.states(index, mask, ways)):
                here = index + lanes * i
                kernel.write(0, pixel, here, value, mask)
                first = (pixel.batch * kernel.channels + here) * plane
                within = writer.whole(position)
                whole = within + (f.splat(first, lanes) + beside)
                kernel.write(1, pixel, here, whole, mask)

        kernel.sweep(pixel, block)


class _Windows:
    """Goes through the taps of a pixel's window; subclasses say what is done there."""

    by_lines = False
    """Whether a line of the window is reduced by itself."""

    def __init__(self, kernel: PixelKernel, prologue: Expression) -> None:
        self.kernel, self.f = kernel, kernel.f
        self.math, self.lanes = kernel.math, kernel.lanes
        self.type = vector(widened(prologue.results[0][1]), kernel.lanes)
        self._prologue = prologue
        (self._given,) = prologue.operands
        self._steps = [kernel.field(f"step_{axis}") for axis in range(AXES)]
        self._batch = kernel.field("x_batch")

    def zero(self) -> State:
        """Return what nothing reduces to."""
        raise NotImplementedError

    def step(self, state: State, x: Val, position: Val) -> State:
        """Take a vector in."""
        raise NotImplementedError

    def merge(self, one: State, other: State) -> State:
        """Join two states."""
        raise NotImplementedError

    def position(self, tap: Sequence[Val]) -> Val:
        """Return what `step` is told of a tap's place in the window."""
        return tap[-1]

    def begin(self, pixel: Pixel) -> None:
        """Read where the window of a pixel lies."""
        entries = [self.kernel.entry(pixel, axis, len(ENTRY)) for axis in range(AXES)]
        found = [[self.f.field(e, i) for i in range(len(ENTRY))] for e in entries]
        offset = pixel.batch * self._batch
        for entry in found:
            offset = offset + entry[0]
        self._base = self.kernel.x.at(offset, memory.stored(self._given))
        self._taps = [entry[1] for entry in found]
        self.divisor = found[0][2] * found[1][2] * found[2][2]
        self.first = found[0][3] + found[1][3] + found[2][3]

    def states(self, index: Val, mask: Val | None, ways: int) -> list[State]:
        """Return the states of so many vectors of channels at a window's end."""
        f = self.f
        width = len(self.zero())
        zeros = [value for _ in range(ways) for value in self.zero()]

        def apart(values: Sequence[Val]) -> list[State]:
            return [list(values[i * width : (i + 1) * width]) for i in range(ways)]

        with f.loop(0, self._taps[0], 1, zeros) as planes:
            plane = planes.index * self._steps[0] + index
            with f.loop(0, self._taps[1], 1, planes.carried) as lines:
                line = plane + lines.index * self._steps[1]
                start = zeros if self.by_lines else lines.carried
                with f.loop(0, self._taps[2], 1, start) as taps:
                    place = line + taps.index * self._steps[2]
                    position = self.position([planes.index, lines.index, taps.index])
                    stepped: list[Val] = []
                    for i, state in enumerate(apart(taps.carried)):
                        x = self._read(place + self.lanes * i, mask)
                        stepped += self.step(state, x, position)
                    taps.next(*stepped)
                found = apart(taps.results)
                if self.by_lines:
                    pairs = zip(apart(lines.carried), found, strict=True)
                    found = [self.merge(one, other) for one, other in pairs]
                lines.next(*(value for state in found for value in state))
            planes.next(*lines.results)
        return apart(planes.results)

    def _read(self, place: Val, mask: Val | None) -> Val:
        kernel, element = self.kernel, self._given
        where = self._base.at(place, memory.stored(element))
        x = memory.read(self.f, kernel.target, where, element, self.lanes, mask)
        return evaluate(self._prologue, [x], self.math)[0]


class _Reduced(_Windows):
    """Reduces a window."""

    def __init__(
        self, kernel: PixelKernel, prologue: Expression, operation: str
    ) -> None:
        super().__init__(kernel, prologue)
        self.reduction = Reduction(self, operation, False)
        self.by_lines = operation not in ("max", "min")

    def zero(self) -> State:
        """Return what nothing reduces to."""
        return self.reduction.zero()

    def step(self, state: State, x: Val, position: Val) -> State:
        """Take a vector in."""
        return self.reduction.step(state, x, position)

    def merge(self, one: State, other: State) -> State:
        """Join two states."""
        return self.reduction.merge(one, other)


class _Largest(_Windows):
    """Finds a window's largest element and its position.

    On the way that is an integer as wide as an element, so that one mask chooses both: how
    far it is from the position of the window's first tap, or -1.
    """

    def __init__(self, kernel: PixelKernel, prologue: Expression) -> None:
        super().__init__(kernel, prologue)
        self._moves = [kernel.field(f"position_{axis}") for axis in range(AXES)]
        self._integer = f"i{kind(self.type).bits}"

    def zero(self) -> State:
        """Return what nothing reduces to."""
        positions = with_element(self.type, self._integer)
        return [self.f.value(-math.inf, self.type), self.f.value(-1, positions)]

    def position(self, tap: Sequence[Val]) -> Val:
        """Return how far a tap is from the first, in every lane."""
        found = self.f.value(0, "i64")
        for index, move in zip(tap, self._moves, strict=True):
            found = found + index * move
        return self.f.splat(self.f.convert(found, self._integer), self.lanes)

    def step(self, state: State, x: Val, position: Val) -> State:
        """Take a vector in: what is larger, NaN, or the first."""
        best, where = state
        better = (x > best) | (where < 0)
        better = better | (x.differs(x) & best.equals(best))
        return [
            self.f.select(better, x, best),
            self.f.select(better, position, where),
        ]

    def whole(self, position: Val) -> Val:
        """Return a position in its channel, -1 of none."""
        f = self.f
        far = f.convert(position, "i64")
        first = f.splat(self.first, self.lanes)
        return f.select(far < 0, far, far + first)
