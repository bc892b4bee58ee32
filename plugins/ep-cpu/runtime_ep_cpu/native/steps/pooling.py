"""MaxPool, AveragePool and LpPool over images of up to three axes; also whole axes at once."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final, NamedTuple

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, pixels
from runtime_ep_cpu.codegen.expression import Expression, Instruction, widened
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.pixels import AXES
from runtime_ep_cpu.native.express import FLOATS, element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import bordered, image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.ops import _windows

OPERATORS: Final = ("MaxPool", "AveragePool", "LpPool")
_POSITIONS: Final = 1 << 31
"""So many elements a channel has not whose largest are looked for with positions."""


def is_supported(node: Node) -> bool:
    """Whether a pooling node is of floats with one to three axes, and its norm is one."""
    x = node.input(0)
    if x is None or x.shape is None or not 3 <= len(x.shape) <= 2 + AXES:
        return False
    if element_of(x) not in FLOATS or not node.attribute("kernel_shape"):
        return False
    return node.op_type != "LpPool" or bool(node.attribute("p", 2) >= 1)


class PoolStep:
    """What each window over an image holds, reduced; and where its largest stands."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("pooling has an anchor")
        self._node = node = group.anchor
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        self._element = element_of(self._x) or "float"
        self._results = list(node.outputs[:1])
        if any(value in group.results for value in node.outputs[1:]):
            self._results.append(node.outputs[1])
        self._spec = self._kernel()
        self.specs: Sequence[Spec] = (
            self._spec, *copies.specs(SIZES[self._element]), *copies.specs(8)
        )  # fmt: skip

    def _kernel(self) -> Spec:
        if len(self._results) > 1:
            return Spec.of("pool_positions", element=self._element)
        if self._node.op_type != "LpPool":
            operation = "max" if self._node.op_type == "MaxPool" else "mean"
            return spec(operation, self._element)
        order = float(self._node.attribute("p", 2))
        if order in (1.0, 2.0):
            return spec(f"l{order:.0f}", self._element)
        return spec("sum", self._element, order)

    def plan(self, planner: Planner) -> None:
        """Plan the windows for the shapes at hand."""
        x = planner.layout(self._x)
        batch, channels, *sizes = x.shape
        if len(self._results) > 1 and prod(sizes) >= _POSITIONS:
            raise Unplannable(
                f"a channel of shape {sizes} has more positions than native code counts"
            )
        windows = self._windows(sizes)
        counts = self._node.attribute("count_include_pad", 0)
        axes = [_along(windows, i, n, bool(counts)) for i, n in enumerate(sizes)]
        shape = (batch, channels, *windows.out)
        x = bordered(planner, x, ((0, 0),) * len(sizes))
        made = [
            image(planner, value, shape, element, [x])
            for value, element in zip(
                self._results, (self._element, "i64"), strict=False
            )
        ]
        by_column = bool(self._node.attribute("storage_order", 0))
        pool(planner, self._spec, x, made, axes, by_column)

    def _windows(self, sizes: Sequence[int]) -> _windows.Windows:
        node = self._node
        try:
            return _windows.place(
                sizes,
                node.attribute("kernel_shape"),
                strides=node.attribute("strides"),
                dilations=node.attribute("dilations"),
                pads=node.attribute("pads"),
                auto_pad=node.attribute("auto_pad", "NOTSET"),
                ceil_mode=node.attribute("ceil_mode", 0),
            )
        except ValueError as error:
            raise Unplannable(str(error)) from error


def spec(
    operation: str, given: str, order: float = 0.0, result: str | None = None
) -> Spec:
    """Return the kernel that reduces windows of some type, by default to that type.

    With an ``order``, elements are raised to it and the reduced value back again.
    """
    first = Expression((given,), (), ((0, given),))
    computed, made = widened(given), given if result is None else result
    last = Expression((computed,), (), ((0, made),))
    if order:
        first = _power(given, computed, order)
        last = _power(computed, made, 1 / order)
    return Spec.of("pool", operation=operation, prologue=first, epilogue=last)


def _power(given: str, made: str, exponent: float) -> Expression:
    number = (("type", "float"), ("value", exponent))
    steps = (
        Instruction("absolute", (0,)),
        Instruction("constant", (), number),
        Instruction("pow", (1, 2)),
    )
    return Expression((given,), steps, ((3, made),))


class Axis(NamedTuple):
    """Windows along an axis: the first tap of each that meets the image, how many do, and
    how many a mean divides by; and how far taps are apart."""

    first: Sequence[int]
    taps: Sequence[int]
    divisors: Sequence[int]
    gap: int = 1


def _along(windows: _windows.Windows, axis: int, size: int, padding: bool) -> Axis:
    """Return the windows along an axis of some size; with ``padding``, that counts."""
    begin, end = windows.begin[axis], windows.end[axis]
    gap, kernel = windows.dilations[axis], windows.kernel[axis]
    starts = np.arange(windows.out[axis]) * windows.strides[axis] - begin

    def met(low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        first = np.maximum(-((starts - low) // gap), 0)
        last = np.minimum(-((starts - high) // gap), kernel)
        return first, np.maximum(last - first, 0)

    first, taps = met(0, size)
    counted = met(-begin, size + end)[1] if padding else taps
    places = np.where(taps > 0, starts + first * gap, 0)
    divisors = np.maximum(counted, 1)
    return Axis(places.tolist(), taps.tolist(), divisors.tolist(), gap)


def whole(size: int, pieces: int = 1) -> Axis:
    """Return all of an axis as a window, or as so many that lie beside each other."""
    each = -(-size // pieces)
    first = list(range(0, size, each))
    taps = [min(each, size - start) for start in first]
    return Axis(first, taps, taps)


def single(size: int) -> Axis:
    """Return an axis of which each element is a window of its own."""
    return Axis(range(size), [1] * size, [1] * size)


def pool(
    planner: Planner,
    kernel: Spec,
    x: Layout,
    made: Sequence[Layout],
    axes: Sequence[Axis],
    by_column: bool = False,
) -> None:
    """Plan a kernel over windows of an image; ``made`` are its results.

    ``by_column`` counts positions with the first axis fastest.
    """
    rank = len(axes)
    sizes = x.shape[2:]
    weights = [
        prod(sizes[:axis] if by_column else sizes[axis + 1 :]) for axis in range(rank)
    ]
    tables, steps, moves = [], [], []
    every = list(zip(axes, x.strides[2:], weights, strict=True))
    for place in _PLACES[rank]:
        axis, step, weight = (_ONE, 0, 0) if place is None else every[place]
        tables.append(planner.table(_entries(axis, step, weight)))
        steps.append(axis.gap * step)
        moves.append(axis.gap * weight)
    taps = prod(max(axis.taps, default=0) for axis in axes)
    counts = [len(axis.first) for axis in axes]
    planned = pixels.plan(
        x.shape[0],
        x.shape[1],
        on_three_axes(counts, 1),
        taps,
        [result_strides(layout) for layout in made],
    )
    planner.step(
        kernel,
        [
            *made, x, *tables, *steps, *moves, prod(sizes), x.strides[0],
            *planned.numbers,
        ],
        planned.chunks,
        [x],
        made,
        work=2.0 * made[0].size * taps,
    )  # fmt: skip


def _entries(axis: Axis, step: int, weight: int) -> list[int]:
    """Return the numbers of `codegen.pooling.ENTRY` for each window along an axis."""
    rows = zip(axis.first, axis.taps, axis.divisors, strict=True)
    return [
        number
        for first, taps, divisor in rows
        for number in (first * step, taps, divisor, first * weight)
    ]


_PLACES: Final = {1: (None, 0, None), 2: (None, 0, 1), 3: (0, 1, 2)}
"""Which axis of an image each of a kernel's axes is, by the image's number of axes."""
_ONE: Final = Axis([0], [1], [1])


def on_three_axes(values: Sequence[int], filler: int) -> list[int]:
    """Return the values of an image's axes for those that kernels have."""
    places = _PLACES[len(values)]
    return [filler if place is None else values[place] for place in places]


def result_strides(layout: Layout) -> list[int]:
    """Return the strides along batches and a kernel's axes."""
    return [layout.strides[0], *on_three_axes(layout.strides[2:], 0)]
