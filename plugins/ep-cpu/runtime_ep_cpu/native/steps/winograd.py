"""Conv of 3 by 3 filters by Winograd's forms, where that is faster than directly.

Filters of three axes, 3 by 3 along the last two, slide along the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from runtime.graph import Node, Tensor, Value

from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.microkernel import UNLIMITED, tiles
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.winograd import Blocking, Slices, blocking
from runtime_ep_cpu.codegen.winograd_forms import FILTER, FORMS, Form
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import image
from runtime_ep_cpu.native.layout import Buffer, Layout, Unplannable, of_array
from runtime_ep_cpu.native.packing import constant_of
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.convolution import (
    anchor_of,
    operands_over,
    reading_specs,
)
from runtime_ep_cpu.native.steps.epilogue import Addend, epilogue_of
from runtime_ep_cpu.native.steps.matrix import width_for
from runtime_ep_cpu.native.steps.pixels import readable
from runtime_ep_cpu.native.steps.windows import Taps, Windows

SIZES: Final = {"off": (), "f2": (2,), "auto": tuple(FORMS)}
"""Sizes of tiles that may be chosen, by what the option `winograd` says."""

_TRANSFORM = 8
"""What transforming a number costs, in multiplications."""
_STREAM = 11
"""What reading a weight costs that no cache holds, in multiplications."""
_PREFERENCE = 1.1
"""How much faster a larger tile must be, which rounds more and needs twice the memory."""
_LARGEST = {2: 24 << 20, 3: 4 << 20}
"""Bytes of a convolution's transformed filters, at most, by its axes: filters for volumes,
which have three times the numbers, lie in memory as they are, too."""
_USUAL_SIZE, _USUAL_DEPTH = 28, 8
"""What height and width, and slices, are taken for where a model leaves them open."""


def size_for(node: Node, target: Target, option: str) -> int | None:
    """Return the size of tiles with which a Conv is fastest, or ``None``: directly.

    Estimated are multiplications, the numbers that are transformed, and the weights that
    are read from memory: a larger tile multiplies less and reads more. Of ResNet-50's
    layers with a stride of 1 those of 56 and 28 pixels get tiles of 4, those of 14 pixels
    tiles of 2. Decided by the sizes the model declares, before a run.
    """
    filters = node.inputs[1]
    if filters is None or filters.const is None or not _is_fitting(node, target):
        return None
    count, channels, *kernel = filters.const.shape
    batch, height, width = _pixels(node)
    slides = _declared_slides(node)
    columns = target.lanes * width_for(target, count)
    padded = -(-count // columns) * columns
    weights = channels * padded
    read = slides.live * weights * _STREAM

    def cost(size: int) -> float:
        form = FORMS[size]
        number = batch * -(-height // size) * -(-width // size)
        numbers = slides.read * channels + slides.made * padded
        products = number * slides.products * weights
        each = products + number * numbers * _TRANSFORM + read
        return form.places * each * (_PREFERENCE if size > min(FORMS) else 1.0)

    direct = FILTER**2 * (weights * slides.products * batch * height * width + read)
    costs = {
        size: cost(size)
        for size in SIZES[option]
        if 4 * FORMS[size].places * weights * prod(kernel[:-2]) <= _LARGEST[len(kernel)]
    }
    best = min(costs, key=costs.__getitem__, default=None)
    return None if best is None or costs[best] >= direct else best


def _is_fitting(node: Node, target: Target) -> bool:
    """Whether a Conv is of a kind that forms compute."""
    filters = node.inputs[1]
    if filters is None or filters.const is None:
        return False
    _, channels, *kernel = filters.const.shape
    windows = Windows(node, kernel)
    margins = windows.margins([FILTER] * len(kernel))
    values = (node.inputs[0], filters, node.outputs[0])
    return (
        len(kernel) in (2, 3)
        and kernel[-2:] == [FILTER, FILTER]
        and channels >= target.lanes
        and node.attribute("group", 1) == 1
        and windows.strides[-2:] == (1, 1)
        and windows.dilations == (1,) * len(kernel)
        and margins is not None
        and (len(kernel) == 2 or max(margins[0]) < kernel[0])
        and all(v is not None and element_of(v) == "float" for v in values)
    )


def _pixels(node: Node) -> tuple[int, int, int]:
    """Return batch, height and width of a result, as far as the model tells."""
    shape: Sequence[Any] = node.outputs[0].shape or (None,) * 4
    batch, *_, height, width = (d if isinstance(d, int) else None for d in shape)
    return batch or 1, height or _USUAL_SIZE, width or _USUAL_SIZE


class Slides(NamedTuple):
    """How filters slide along slices: those of input and result, and `PIECE_FIELDS`."""

    read: int
    made: int
    pieces: Sequence[tuple[int, int, int, int, int]]

    @classmethod
    def of(cls, windows: Windows, depth: int) -> Slides:
        """Return how the windows of three axes slide along so many slices.

        Each reads one of them at least: their taps are not apart, and their padding is less
        than their number.
        """
        kernel, strides = windows.kernel[:1], windows.strides[:1]
        sizes = [depth, *(FILTER,) * (len(windows.kernel) - 1)]
        margins = windows.margins(sizes)
        if margins is None:
            raise Unplannable("a padding is negative")
        before, after = margins[0]
        padded = depth + before + after
        if padded < kernel[0]:
            raise Unplannable(f"{depth} slices are fewer than a window has taps")
        (live,) = Taps(kernel, (1,)).live([padded], margins[:1], strides)
        pieces: list[tuple[int, int, int, int, int]] = []
        for made, taps in enumerate(live):
            last = pieces[-1] if pieces else None
            if last and strides == (1,) and last[3:] == (taps.start, len(taps)):
                pieces[-1] = (last[0], last[1] + 1, *last[2:])
            else:
                read = made * strides[0] + taps.start - before
                pieces.append((made, 1, read, taps.start, len(taps)))
        return cls(depth, len(live), pieces)

    @property
    def products(self) -> int:
        """How many pairs of a result's slice and a tap are multiplied."""
        return sum(slices * taps for _, slices, _, _, taps in self.pieces)

    @property
    def live(self) -> int:
        """How many taps are used."""
        return len({tap + i for *_, tap, taps in self.pieces for i in range(taps)})

    @property
    def slices(self) -> Slices:
        """What blocks depend on."""
        return Slices(self.read, self.made, self.products)


NO_SLIDES = Slides(1, 1, [(0, 1, 0, 0, 1)])
"""Those of images of two axes."""


def _declared_slides(node: Node) -> Slides:
    """Return how the filters of a node slide, as far as the model tells."""
    kernel = constant_of(node.inputs[1]).shape[2:]  # type: ignore[arg-type]
    if len(kernel) == 2:
        return NO_SLIDES
    x: Value = node.inputs[0]  # type: ignore[assignment]
    depth = x.shape[2] if x.shape else None
    windows = Windows(node, kernel)
    known = depth if isinstance(depth, int) else max(_USUAL_DEPTH, *kernel)
    return Slides.of(windows, known)


@dataclass(frozen=True, slots=True)
class TransformRequest:
    """Constant filters that are to be transformed, see `packing.Packing`."""

    value: Value
    size: int
    width: int

    @property
    def const(self) -> Tensor:
        """What is transformed."""
        return constant_of(self.value)

    @property
    def specs(self) -> Sequence[Spec]:
        """The kernels that transform it."""
        return (Spec.of("winograd_filters", size=self.size),)

    @property
    def key(self) -> tuple[Any, ...]:
        """What two requests for the same panels have in common."""
        return (id(self.const), self.width, "winograd", self.size)

    @property
    def _panels(self) -> int:
        return -(-self.const.shape[0] // self.width)

    @property
    def numbers(self) -> int:
        """How many numbers of float32 its panels have."""
        _, *depth, _, _ = self.const.shape
        return self._panels * FORMS[self.size].places * prod(depth) * self.width

    def plan(self, planner: Planner, source: Layout, buffer: Buffer) -> Layout:
        """Add the transform into a buffer to a plan; return where the panels will lie."""
        filters, channels, *kernel = self.const.shape
        made = Layout(buffer, "float", (self.numbers,), (1,))
        step, each = source.strides[:2]
        fields: list[Argument] = [
            source, step, each, made, filters, channels, prod(kernel[:-2]), self.width
        ]  # fmt: skip
        (spec,) = self.specs
        planner.step(
            spec, fields, self._panels, [source], [made], work=float(self.numbers)
        )
        return made

    @property
    def is_lossless(self) -> bool:
        """Whether the panels give the filters back: they are rounded."""
        return False

    def restored(self, panels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Raise ``ValueError``."""
        raise ValueError(f"{self.value!r} is rounded where it is transformed")


class WinogradStep:
    """``epilogue(Conv(X, W) + bias)`` in tiles of some size."""

    def __init__(self, group: Group, target: Target, size: int) -> None:
        node = anchor_of(group)
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        filters: Value = node.inputs[1]  # type: ignore[assignment]
        self._count, self._channels, *kernel = constant_of(filters).shape
        self._windows = Windows(node, kernel)
        self._form = FORMS[size]
        vectors = width_for(target, self._count)
        self._width = target.lanes * vectors
        self._epilogue = epilogue_of(
            node.outputs[0], group.after, self._count, Addend(node.input(2)), 1
        )
        self._spec = Spec.of(
            "winograd",
            size=size,
            vectors=vectors,
            epilogue=self._epilogue.expression,
            wide=self._epilogue.wide,
        )
        self._transform = Spec.of("winograd_input", size=size)
        self._tiles = tiles(target, vectors, runs=True)
        self._unlimited = of_array(np.array(UNLIMITED, np.float32))
        self.packed = TransformRequest(filters, size, self._width)
        self.specs: Sequence[Spec] = (
            self._spec, self._transform, *self._tiles, *self.packed.specs,
            *reading_specs(self._x, self._epilogue),
        )  # fmt: skip

    def plan(self, planner: Planner) -> None:
        """Plan the convolution for the shapes at hand."""
        x = planner.layout(self._x)
        kernel = self._windows.kernel
        if len(x.shape) != len(kernel) + 2 or x.shape[1] != self._channels:
            raise Unplannable(f"{x.shape} does not fit the filters")
        batch, _, *sizes = x.shape
        margins = self._windows.margins(sizes)
        if margins is None:
            raise Unplannable("a padding is negative")
        shape = (batch, self._count, *self._windows.counts(sizes, margins))
        operands = operands_over(planner, self._epilogue, shape)
        x = readable(planner, x, ((0, 0),) * len(kernel))
        result = self._epilogue.result
        out = image(planner, result, shape, self._epilogue.element, [x, *operands])
        slides = NO_SLIDES if len(kernel) == 2 else Slides.of(self._windows, sizes[0])
        padding = margins[-2][0], margins[-1][0]
        self._convolve(planner, x, padding, slides, out, operands)

    def _convolve(
        self,
        planner: Planner,
        x: Layout,
        padding: tuple[int, int],
        slides: Slides,
        out: Layout,
        operands: Sequence[Layout],
    ) -> None:
        form, width = self._form, self._width
        batch, *_, high, broad = out.shape
        lines, columns = -(-high // form.size), -(-broad // form.size)
        count = batch * lines * columns
        cut = blocking(form, count, self._channels, self._count, width, slides.slices)
        panels = planner.panels(self.packed)
        if panels is None:
            raise Unplannable("filters are not packed")
        zeros = planner.bias(None, max(self._channels, width))
        v = _shared(planner, form, cut)
        arguments: list[Argument] = [
            x, *_strides(x), *x.shape[-2:], *padding, zeros, lines, columns, count,
            slides.read, self._channels, cut.block, v, cut.v_row, cut.v_plane,
        ]  # fmt: skip
        if v is not None:
            chunks = count * slides.read
            work = 2.0 * form.places * chunks * self._channels
            planner.step(self._transform, arguments, chunks, [x], [v], work=work)
        bias = planner.bias(self._epilogue.bias, -(-self._count // width) * width)
        arguments += [
            planner.library.address(self._transform), cut.blocks, cut.panels, cut.groups,
            panels, *self._taps(planner, cut, count, slides), self._count, bias,
            planner.tile_table(self._tiles), self._unlimited, cut.s_plane,
            out, *_strides(out), high, broad, slides.made,
        ]  # fmt: skip
        for operand in operands:
            arguments += [operand, *_strides(operand)]
        planner.step(
            self._spec,
            arguments,
            cut.blocks * cut.groups,
            [x if v is None else v, panels, *operands],
            [out],
            4 * cut.scratch,
            float(count) * form.places * slides.products * self._channels * self._count,
        )

    def _taps(
        self, planner: Planner, cut: Blocking, count: int, slides: Slides
    ) -> list[Argument]:
        """Return the number of taps along the slices, their steps, and the pieces."""
        taps = prod(self._windows.kernel[:-2])
        last = count - (cut.blocks - 1) * cut.block
        steps = [
            4 * (tiles * cut.v_row - self._channels) if tap else 0
            for tiles in (cut.block, last)
            for tap in range(taps)
        ]
        pieces = [number for piece in slides.pieces for number in piece]
        return [taps, planner.table(steps), planner.table(pieces), len(slides.pieces)]


def _shared(planner: Planner, form: Form, cut: Blocking) -> Layout | None:
    """Return room for transformed inputs where all chunks share them."""
    if not cut.shared:
        return None
    return planner.allocate(None, (cut.blocks * form.places * cut.v_plane,), "float")


def _strides(layout: Layout) -> tuple[int, int, int, int]:
    """Return how far pixels, rows, slices and images are apart."""
    images, _, *slices, rows, pixels = layout.strides
    return pixels, rows, sum(slices), images
