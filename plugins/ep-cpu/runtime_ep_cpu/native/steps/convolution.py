"""Conv of any number of axes over images, with what follows element by element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, interleave
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.express import FLOATS, element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import Margins, image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.packing import constant_of
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.native.steps.direct import Filters
from runtime_ep_cpu.native.steps.elementwise import widening_specs
from runtime_ep_cpu.native.steps.epilogue import Addend, Epilogue, epilogue_of
from runtime_ep_cpu.native.steps.pixels import per_pixel, readable, seen_by
from runtime_ep_cpu.native.steps.windows import Windows


def is_supported(node: Node) -> bool:
    """Whether a Conv has constant filters of float32 or less, and up to three axes."""
    filters, bias = node.input(1), node.input(2)
    if any(element_of(v) not in FLOATS for v in (*node.inputs, *node.outputs) if v):
        return False
    if filters is None or not filters.is_constant or filters.const is None:
        return False
    if bias is not None and not bias.is_constant:
        return False
    return 3 <= len(filters.const.shape) <= 5 and 0 not in filters.const.shape


class SlidingStep:
    """``epilogue(Conv(X, W) + bias)`` where filters slide over the image in place.

    ``source`` is X, of so many ``channels``; there are ``count`` filters, of so many
    ``weights`` altogether.
    """

    specs: Sequence[Spec] = ()

    def __init__(self, group: Group) -> None:
        node = anchor_of(group)
        self.group = group
        self.source: Value = node.inputs[0]  # type: ignore[assignment]
        filters = constant_of(node.inputs[1])  # type: ignore[arg-type]
        self.count, channels, *kernel = filters.shape
        self.windows = Windows(node, kernel)
        self.channels = channels * node.attribute("group", 1)
        self.weights = filters.size
        self.epilogue = epilogue_of(
            node.outputs[0], group.after, self.count, Addend(node.input(2)), 1
        ).within_limits()

    @property
    def border(self) -> tuple[Value, Margins] | None:
        """The zeros it reads around its input, where they don't depend on its size."""
        return border_of(self.source, self.windows)

    def extent(self, shape: Sequence[int]) -> tuple[tuple[int, ...], Margins]:
        """Return the result's shape for an input's, and the zeros read around that."""
        batch, channels, *sizes = shape
        if channels != self.channels or len(sizes) != len(self.windows.kernel):
            raise Unplannable(f"{tuple(shape)} does not fit the filters")
        margins = self.windows.margins(sizes)
        if margins is None:
            raise Unplannable("a padding is negative")
        return (batch, self.count, *self.windows.counts(sizes, margins)), margins

    def plan(self, planner: Planner) -> None:
        """Plan the convolution for the shapes at hand."""
        x = planner.layout(self.source)
        shape, margins = self.extent(x.shape)
        operands = operands_over(planner, self.epilogue, shape)
        x = readable(planner, x, margins)
        result, element = self.epilogue.result, self.epilogue.element
        out = image(planner, result, shape, element, [x, *operands])
        self.convolve(planner, x, out, operands, margins)

    def convolve(
        self,
        planner: Planner,
        x: Layout,
        out: Layout,
        operands: Sequence[Layout],
        margins: Margins,
    ) -> None:
        """Add the convolution of an image with its padding, of which ``margins`` are."""
        raise NotImplementedError


class ConvolutionStep(SlidingStep):
    """A convolution of filters that are packed when the session is made."""

    def __init__(self, group: Group, target: Target) -> None:
        super().__init__(group)
        node = anchor_of(group)
        filters: Value = node.inputs[1]  # type: ignore[assignment]
        groups = node.attribute("group", 1)
        self._filters = Filters(filters, groups, self.epilogue, target)
        self.packed = self._filters.packed
        self.specs = (
            *self._filters.specs, *reading_specs(self.source, self.epilogue)
        )  # fmt: skip

    def convolve(
        self,
        planner: Planner,
        x: Layout,
        out: Layout,
        operands: Sequence[Layout],
        margins: Margins,
    ) -> None:
        """Add the convolution of an image with its padding, of which ``margins`` are."""
        windows = self.windows
        seen = seen_by(x, windows.strides, out.shape[2:])
        live = windows.live(x.shape[2:], margins, windows.strides)
        self._filters.convolve(planner, x, seen, windows, out, operands, live)


def filters_of(node: Node) -> np.ndarray[Any, Any]:
    """Return the constant filters of a node that convolves."""
    filters = node.inputs[1]
    array = None if filters is None else filters.constant()
    if array is None:
        raise ValueError("filters are constant")
    return array


def anchor_of(group: Group) -> Node:
    """Return the node that convolves."""
    if group.anchor is None:
        raise ValueError("a convolution has an anchor")
    return group.anchor


def reading_specs(x: Value, epilogue: Epilogue) -> tuple[Spec, ...]:
    """Return the kernels that copy an input and operands to where they are readable."""
    elements = [element_of(value) or "float" for value in (x, *epilogue.operands)]
    sizes = {4, *(SIZES[element] for element in elements)}
    copying = [spec for size in sorted(sizes) for spec in copies.specs(size)]
    channels = (x.shape or (0, 0))[1]
    if isinstance(channels, int) and 2 <= channels <= interleave.MOST:
        copying.append(interleave.spec(channels))
    return (*copying, *widening_specs(elements[0]))


def border_of(x: Value, windows: Windows) -> tuple[Value, Margins] | None:
    """Return the zeros around a value of float32 that windows read.

    Others are copied, so that their makers need leave none.
    """
    margins = windows.margins(None)
    return None if margins is None or element_of(x) != "float" else (x, margins)


def operands_over(
    planner: Planner, epilogue: Epilogue, shape: tuple[int, ...]
) -> list[Layout]:
    """Return the epilogue's operands over an image, readable pixel by pixel."""
    given = [planner.layout(value).broadcast(shape) for value in epilogue.operands]
    return [
        per_pixel(planner, operand) if wide else operand
        for operand, wide in zip(given, epilogue.wide, strict=True)
    ]
