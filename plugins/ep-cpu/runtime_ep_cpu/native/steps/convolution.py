"""Conv of any number of axes over images, with what follows element by element."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, interleave
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.express import FLOATS, element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import Margins, image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
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


class ConvolutionStep:
    """``epilogue(Conv(X, W) + bias)``; filters are packed when the session is made."""

    def __init__(self, group: Group, target: Target) -> None:
        self._node = node = anchor_of(group)
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        filters: Value = node.inputs[1]  # type: ignore[assignment]
        array = filters.constant()
        if array is None:
            raise ValueError("filters are constant")
        groups = node.attribute("group", 1)
        self._windows = Windows(node, array.shape[2:])
        self._channels = array.shape[1] * groups
        self._count = len(array)
        self._epilogue = epilogue_of(
            node.outputs[0], group.after, self._count, Addend(node.input(2)), 1
        )
        self._filters = Filters(filters.name, array, groups, self._epilogue, target)
        self.packed = self._filters.packed
        self.specs: Sequence[Spec] = (
            *self._filters.specs, *reading_specs(self._x, self._epilogue)
        )  # fmt: skip

    @property
    def border(self) -> tuple[Value, Margins] | None:
        """The zeros it reads around its input, where they don't depend on its size."""
        return border_of(self._x, self._windows)

    def plan(self, planner: Planner) -> None:
        """Plan the convolution for the shapes at hand."""
        x = planner.layout(self._x)
        batch, channels, *sizes = x.shape
        if channels != self._channels or len(sizes) != len(self._windows.kernel):
            raise Unplannable(f"{x.shape} does not fit the filters")
        margins = self._windows.margins(sizes)
        if margins is None:
            raise Unplannable("a padding is negative")
        counts = self._windows.counts(sizes, margins)
        shape = (batch, self._count, *counts)
        operands = operands_over(planner, self._epilogue, shape)
        x = readable(planner, x, margins)
        result = self._epilogue.result
        out = image(planner, result, shape, self._epilogue.element, [x, *operands])
        seen = seen_by(x, self._windows.strides, counts)
        live = self._windows.live(x.shape[2:], margins, self._windows.strides)
        self._filters.convolve(planner, x, seen, self._windows, out, operands, live)


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
