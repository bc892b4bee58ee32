"""The nest of kernels over the pixels of an image, whose channels lie innermost.

Pixels are those of the result, along three axes; images of fewer have axes of size 1.
A chunk is some rows of pixels by a part of the channels::

    part, block = chunk            # parts vary fastest
    for row in block:              # a batch and places along the first two axes
        for last in range(size_2):
            body(batch, places, where the pixel lies in each result)

Where a pixel reads its operand is told by tables with some numbers for every place along
each axis, so that windows are clipped, steps irregular and axes in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen import memory
from runtime_ep_cpu.codegen.builder import Function, Module, Val
from runtime_ep_cpu.codegen.rows import sweep
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath

AXES: Final = 3
WAYS: Final = 4
"""Vectors of channels that are computed together."""

_OWN = ("channels", "part", "parts", "rows", "block", "size_0", "size_1", "size_2")
_PART = 64
"""Channels of a part, at least: those of `WAYS` vectors of the widest target."""
_CHUNK = 64 * 1024
"""Elements read by a chunk: some 8 microseconds."""


def fields(results: int, extra: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the arguments of a kernel.

    Addresses of the results, of the operand and of the tables; what the kernel asks for;
    the operand's stride from batch to batch; the division; and for each result its
    strides along batches and axes. Strides are in elements.
    """
    strides = (
        f"result_{i}_{axis}"
        for i in range(results)
        for axis in ("batch", *map(str, range(AXES)))
    )
    return (
        *(f"result_{i}" for i in range(results)),
        "x", *(f"table_{axis}" for axis in range(AXES)),
        *extra, "x_batch", *_OWN, *strides,
    )  # fmt: skip


class Pixels(NamedTuple):
    """What runs a kernel: the arguments from ``channels`` on, and the chunks."""

    numbers: list[int]
    chunks: int


def most_parts(channels: int) -> int:
    """Return into how many parts channels may be divided."""
    return -(-channels // _PART)


def plan(
    batch: int,
    channels: int,
    sizes: Sequence[int],
    taps: float,
    results: Sequence[Sequence[int]],
) -> Pixels:
    """Divide so many batches and channels of a result of three axes into chunks.

    ``taps`` are the elements read for one of the result, ``results`` the strides along
    batches and axes of each. A pure function of the sizes.
    """
    rows = batch * sizes[0] * sizes[1]
    each = max(1.0, sizes[2] * channels * taps)
    parts = max(1, min(most_parts(channels), int(each / _CHUNK)))
    part = -(-channels // (parts * _PART)) * _PART
    parts = -(-channels // part)
    block = max(1, min(rows, int(_CHUNK * parts / each)))
    blocks = -(-rows // block)
    block = -(-rows // blocks)
    blocks = -(-rows // block)
    strides = [stride for result in results for stride in result]
    return Pixels(
        [channels, part, parts, rows, block, *sizes, *strides], blocks * parts
    )


class Pixel(NamedTuple):
    """A pixel of the result in a nest being written.

    ``places`` are its places along the axes, ``offsets`` where it lies in each result,
    ``start`` and ``stop`` bound the channels to go through.
    """

    batch: Val
    places: list[Val]
    offsets: list[Val]
    start: Val
    stop: Val


class PixelKernel:
    """A kernel over pixels being written."""

    def __init__(
        self,
        module: Module,
        target: Target,
        name: str,
        results: Sequence[str],
        extra: Sequence[str] = (),
    ) -> None:
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = f = Function(module, name, parameters)
        self.target, self.lanes = target, target.lanes
        self.math = VectorMath(f, target)
        self.results = list(results)
        self._arguments, self._chunk, _ = f.parameters
        self._slots = {
            word: slot for slot, word in enumerate(fields(len(results), extra))
        }
        self._written = [
            self.field(f"result_{i}", "ptr") for i in range(len(self.results))
        ]
        self.x = self.field("x", "ptr")
        self.tables = [self.field(f"table_{axis}", "ptr") for axis in range(AXES)]
        self.channels = self.field("channels")

    def field(self, word: str, type: str = "i64") -> Val:
        """Read an argument."""
        return self.f.field(self._arguments, self._slots[word], type)

    @contextmanager
    def pixels(self) -> Iterator[Pixel]:
        """Write the nest around a body, and the function's end."""
        f, field = self.f, self.field
        part, parts = field("part"), field("parts")
        start = (self._chunk % parts) * part
        stop = f.minimum(start + part, self.channels)
        sizes = [field(f"size_{axis}") for axis in range(AXES)]
        strides = [
            [field(f"result_{i}_{axis}") for axis in ("batch", 0, 1, 2)]
            for i in range(len(self.results))
        ]
        first = (self._chunk // parts) * field("block")
        last = f.minimum(first + field("block"), field("rows"))
        with f.loop(first, last, runs=True) as rows:
            one, rest = rows.index % sizes[1], rows.index // sizes[1]
            zero, batch = rest % sizes[0], rest // sizes[0]
            bases = [
                batch * steps[0] + zero * steps[1] + one * steps[2] for steps in strides
            ]
            with f.loop(0, sizes[2], runs=True) as along:
                offsets = [
                    base + along.index * steps[3]
                    for base, steps in zip(bases, strides, strict=True)
                ]
                yield Pixel(batch, [zero, one, along.index], offsets, start, stop)
        f.ret()

    def entry(self, pixel: Pixel, axis: int, count: int) -> Val:
        """Return where a table has so many numbers for a pixel's place along an axis."""
        return self.tables[axis].at(pixel.places[axis] * count, "i64")

    def sweep(self, pixel: Pixel, body: Callable[[Val, Val | None, int], None]) -> None:
        """Write a body for `WAYS` vectors of channels, for one, and for one masked."""
        f, group = self.f, self.lanes * WAYS
        many = pixel.start + ((pixel.stop - pixel.start) & -group)
        with f.loop(pixel.start, many, group) as loop:
            body(loop.index, None, WAYS)
        sweep(f, self.target, many, pixel.stop, lambda i, mask: body(i, mask, 1))

    def write(
        self, result: int, pixel: Pixel, index: Val, value: Val, mask: Val | None
    ) -> None:
        """Write a vector of a result's channels."""
        element = self.results[result]
        place = self._written[result].at(
            pixel.offsets[result] + index, memory.stored(element)
        )
        memory.write(self.f, self.target, value, place, element, mask)
