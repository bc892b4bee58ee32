"""ConvTranspose as direct convolutions, one for each phase of the result.

With a stride ``s``, results ``s`` apart read the same taps: along each axis there are as
many phases as the stride says, each a convolution of stride 1 by its share of the taps,
whose results lie ``s`` apart. Where filters are shorter than strides, some phases have no
tap: those results are the bias.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, product
from math import gcd
from typing import Any, NamedTuple

import numpy as np
from runtime.graph import Node, Tensor, Value

from runtime_ep_cpu.codegen import copies
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import Margins, image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable, of_array
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.native.steps import convolution
from runtime_ep_cpu.native.steps.convolution import (
    anchor_of,
    operands_over,
    reading_specs,
)
from runtime_ep_cpu.native.steps.direct import Filters
from runtime_ep_cpu.native.steps.epilogue import Addend, epilogue_of
from runtime_ep_cpu.native.steps.pixels import readable
from runtime_ep_cpu.native.steps.windows import Taps
from runtime_ep_cpu.ops.conv import over_output

_ANY_SIZE = 64
"""Of an image whose size does not matter."""


def is_supported(node: Node) -> bool:
    """Whether filters are constant."""
    if not convolution.is_supported(node):
        return False
    filters = node.inputs[1]
    if filters is None or filters.const is None:
        return False
    return filters.const.shape[0] % int(node.attribute("group", 1)) == 0


def is_whole(node: Node) -> bool:
    """Whether every phase of the result has a tap, so that more may be computed there."""
    filters = node.inputs[1]
    if filters is None or filters.const is None:
        return False
    axes = _axes(node, filters.const.shape[2:])
    return all(len(axis.phases) == axis.stride for axis in axes)


class _Axis(NamedTuple):
    """A kernel's size, stride and dilation along one axis."""

    kernel: int
    stride: int
    dilation: int

    def taps(self, phase: int) -> list[int]:
        """Return the taps of a phase, in the order of the places they read."""
        found = [
            k for k in range(self.kernel) if k * self.dilation % self.stride == phase
        ]
        return found[::-1]

    @property
    def phases(self) -> list[int]:
        """Those that have taps."""
        return [phase for phase in range(self.stride) if self.taps(phase)]

    def back(self, phase: int, tap: int) -> int:
        """Return how far a tap reads before the place a result belongs to."""
        return (tap * self.dilation - phase) // self.stride

    @property
    def gap(self) -> int:
        """How far the places apart are that a phase's taps read."""
        return self.dilation // gcd(self.stride, self.dilation)

    def span(self, phase: int, pad: int, size: int) -> _Span:
        """Return where a phase's results lie in a result of some size."""
        first = -(-(pad - phase) // self.stride)
        last = (pad + size - 1 - phase) // self.stride
        taps = self.taps(phase)
        reach = (
            [self.back(phase, tap) for tap in (taps[0], taps[-1])] if taps else [0, 0]
        )
        return _Span(
            first * self.stride + phase - pad,
            last - first + 1,
            first - reach[0],
            last - reach[1],
        )


class _Span(NamedTuple):
    """A phase along an axis: its first result, how many they are, and the first and
    last place of the input that they read, which may lie outside."""

    start: int
    number: int
    first: int
    last: int


def _axes(node: Node, kernel: Sequence[int]) -> list[_Axis]:
    ones = (1,) * len(kernel)
    strides = node.attribute("strides") or ones
    dilations = node.attribute("dilations") or ones
    return [_Axis(*axis) for axis in zip(kernel, strides, dilations, strict=True)]


class TransposedStep:
    """``epilogue(ConvTranspose(X, W) + bias)``."""

    def __init__(self, group: Group, target: Target) -> None:
        self._node = node = anchor_of(group)
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        filters: Value = node.inputs[1]  # type: ignore[assignment]
        array = filters.constant()
        if array is None:
            raise ValueError("filters are constant")
        self._channels, each, *kernel = array.shape
        groups = node.attribute("group", 1)
        self._count = each * groups
        self._axes = _axes(node, kernel)
        self._epilogue = epilogue_of(
            node.outputs[0], group.after, self._count, Addend(node.input(2)), 1
        ).within_limits()
        turned = _forward(array, groups)
        self._filters = {
            phases: Filters(
                Value(
                    f"{filters.name}_{'_'.join(map(str, phases))}",
                    None,
                    Tensor.of(self._share(turned, phases)),
                ),
                groups,
                self._epilogue,
                target,
            )
            for phases in product(*(axis.phases for axis in self._axes))
        }
        every = product(*(range(axis.stride) for axis in self._axes))
        self._bare = [phases for phases in every if phases not in self._filters]
        size = SIZES[self._epilogue.element]
        self.packed = [f.packed for f in self._filters.values()]
        self.specs: Sequence[Spec] = (
            *chain.from_iterable(f.specs for f in self._filters.values()),
            *reading_specs(self._x, self._epilogue),
            *(copies.specs(size) if self._bare else ()),
        )

    def _share(
        self, array: np.ndarray[Any, Any], phases: Sequence[int]
    ) -> np.ndarray[Any, Any]:
        """Return the part of the filters that makes some phases."""
        for number, (axis, phase) in enumerate(zip(self._axes, phases, strict=True), 2):
            array = np.take(array, axis.taps(phase), number)
        return array

    def _placed(self, sizes: Sequence[int]) -> tuple[Sequence[int], tuple[int, ...]]:
        """Return the padding before each axis, and the result's sizes.

        Raises ``ValueError`` for attributes that are wrong.
        """
        node = self._node
        windows, out = over_output(
            tuple(sizes),
            tuple(axis.kernel for axis in self._axes),
            node.attribute("strides"),
            node.attribute("dilations"),
            node.attribute("pads"),
            node.attribute("auto_pad", "NOTSET"),
            node.attribute("output_shape"),
            node.attribute("output_padding"),
        )
        return windows.begin, out

    def _margins(self, sizes: Sequence[int]) -> Margins:
        pads, out = self._placed(sizes)
        found = []
        for axis, pad, size, given in zip(self._axes, pads, out, sizes, strict=True):
            spans = [axis.span(phase, pad, size) for phase in axis.phases]
            spans = [span for span in spans if span.number > 0]
            before = max((-span.first for span in spans), default=0)
            after = max((span.last - given + 1 for span in spans), default=0)
            found.append((max(0, before), max(0, after)))
        return tuple(found)

    @property
    def border(self) -> tuple[Value, Margins] | None:
        """The zeros it reads around its input, where they don't depend on its size."""
        sized = self._node.attribute("output_shape") is not None
        same = self._node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        if sized or same or element_of(self._x) != "float":
            return None
        try:
            return self._x, self._margins((_ANY_SIZE,) * len(self._axes))
        except ValueError:
            return None

    def plan(self, planner: Planner) -> None:
        """Plan a convolution for each phase."""
        x = planner.layout(self._x)
        batch, channels, *sizes = x.shape
        if channels != self._channels or len(sizes) != len(self._axes):
            raise Unplannable(f"{x.shape} does not fit the filters")
        try:
            pads, out = self._placed(sizes)
        except ValueError as error:
            raise Unplannable(str(error)) from error
        if min(out) < 1:
            raise Unplannable(f"the result has the sizes {out}")
        margins = self._margins(sizes)
        shape = (batch, self._count, *out)
        operands = operands_over(planner, self._epilogue, shape)
        x = readable(planner, x, margins)
        result = self._epilogue.result
        whole = image(planner, result, shape, self._epilogue.element, [x, *operands])
        for _, spans in self._phases(self._bare, pads, out):
            self._fill(planner, self._every(whole, spans))
        for phases, spans in self._phases(self._filters, pads, out):
            starts = [
                span.first + before
                for span, (before, _) in zip(spans, margins, strict=True)
            ]
            counts = [span.number for span in spans]
            lead = sum(s * i for s, i in zip(x.strides[2:], starts, strict=True))
            seen = x.with_dims(
                (batch, *counts), (x.strides[0], *x.strides[2:]), x.offset + lead
            )
            kernel = [
                len(axis.taps(phase))
                for axis, phase in zip(self._axes, phases, strict=True)
            ]
            taps = Taps(kernel, [axis.gap for axis in self._axes])
            made, *given = (self._every(v, spans) for v in (whole, *operands))
            base = x.with_dims(x.shape, x.strides, x.offset + lead)
            self._filters[phases].convolve(planner, base, seen, taps, made, given)

    def _fill(self, planner: Planner, made: Layout) -> None:
        """Write the bias, or zeros, where no tap reaches."""
        bias = self._node.input(2)
        if bias is not None:
            row = planner.layout(bias).reshaped((self._count, *(1,) * len(self._axes)))
        else:
            row = of_array(np.zeros(1, f"i{SIZES[made.element]}"))
            row = row._replace(element=made.element)
        if row is None:
            raise Unplannable(f"a bias is not one number for each of {self._count}")
        planner.copy(row.broadcast(made.shape), made)

    def _phases(
        self,
        wanted: Iterable[tuple[int, ...]],
        pads: Sequence[int],
        out: Sequence[int],
    ) -> Iterator[tuple[tuple[int, ...], list[_Span]]]:
        """Go through those of some phases that have a result."""
        for phases in wanted:
            axes = zip(self._axes, phases, pads, out, strict=True)
            spans = [axis.span(phase, pad, size) for axis, phase, pad, size in axes]
            if all(span.number > 0 for span in spans):
                yield phases, spans

    def _every(self, layout: Layout, spans: Sequence[_Span]) -> Layout:
        """Return those of an image's pixels that belong to a phase."""
        own = layout.strides[2:]
        pairs = zip(own, self._axes, strict=True)
        strides = (*layout.strides[:2], *(s * axis.stride for s, axis in pairs))
        lead = sum(s * span.start for s, span in zip(own, spans, strict=True))
        shape = (*layout.shape[:2], *(span.number for span in spans))
        return layout.with_dims(shape, strides, layout.offset + lead)


def _forward(array: np.ndarray[Any, Any], groups: int) -> np.ndarray[Any, Any]:
    """Return ``[channels, filters of a group, …]`` as ``[filters, channels of a group, …]``."""
    channels, each, *kernel = array.shape
    parts = array.reshape(groups, channels // groups, each, *kernel)
    turned = np.moveaxis(parts, 2, 1)
    return turned.reshape(groups * each, channels // groups, *kernel)
