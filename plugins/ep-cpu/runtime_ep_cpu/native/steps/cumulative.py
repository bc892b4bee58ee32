"""CumSum and CumProd along a known axis; Trilu by a known diagonal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, cumulative
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.view import axis_of

OPERATORS: Final = {"CumSum": "add", "CumProd": "mul"}

_ELEMENTS: Final = ("float", "half", "bfloat", "double", "i32", "i64")


def is_supported(node: Node) -> bool:
    """Whether elements are numbers that can be added up."""
    return element_of(node.input(0)) in _ELEMENTS


def has_matrices(node: Node) -> bool:
    """Whether there are matrices whose triangles may be kept."""
    x = node.input(0)
    return x is not None and x.shape is not None and len(x.shape) >= 2


class CumulativeStep:
    """Running sums or products."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("running sums have an anchor")
        self._node = node = group.anchor
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        self._element = element_of(self._x) or "float"
        self._reverse = bool(node.attribute("reverse", 0))
        self._choice = cumulative.specs(
            self._element,
            OPERATORS[node.op_type],
            bool(node.attribute("exclusive", 0)),
        )
        self.specs: Sequence[Spec] = self._choice

    def plan(self, planner: Planner) -> None:
        """Plan the lines for the shapes at hand."""
        x = planner.layout(self._x)
        numbers = planner.numbers(self._node.input(1)) or []
        if len(numbers) != 1 or not x.shape:
            raise Unplannable(f"{numbers} is no axis of {x.shape}")
        axis = axis_of(numbers[0], len(x.shape))
        made = planner.allocate(self._node.outputs[0], x.shape, self._element)
        length = x.shape[axis]
        lines = [
            layout.at(axis, length - 1 if self._reverse else 0) for layout in (made, x)
        ]
        steps = [layout.strides[axis] for layout in (made, x)]
        if self._reverse:
            steps = [-step for step in steps]
        to, given = lines
        try:
            found = cumulative.plan(to.shape, length, to.strides, given.strides)
        except ValueError as error:
            raise Unplannable(str(error)) from error
        planner.step(
            self._choice[found.choice],
            [to, given, length, *steps, *found.numbers],
            found.chunks,
            [x],
            [made],
            found.scratch,
            4.0 * made.size,
        )


class TriangleStep:
    """Matrices of which a triangle is kept, the rest being zero."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a triangle has an anchor")
        self._node = node = group.anchor
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        self._element = element_of(self._x) or "float"
        size = SIZES[self._element]
        self._spec = cumulative.triangle_spec(size, bool(node.attribute("upper", 1)))
        self.specs: Sequence[Spec] = (self._spec, *copies.specs(size))

    def plan(self, planner: Planner) -> None:
        """Plan the matrices for the shapes at hand."""
        numbers = planner.numbers(self._node.input(1))
        if numbers is not None and len(numbers) != 1:
            raise Unplannable("a diagonal is one number")
        diagonal = numbers[0] if numbers else 0
        x = self._by_rows(planner, planner.layout(self._x))
        made = planner.allocate(self._node.outputs[0], x.shape, self._element)
        rows, columns = x.shape[-2:]
        diagonal = max(-rows - 1, min(diagonal, columns + 1))
        try:
            nest, chunks = cumulative.triangle_plan(x.shape, made.strides, x.strides)
        except ValueError as error:
            raise Unplannable(str(error)) from error
        arguments: list[Argument] = [made, x, diagonal, *nest]
        planner.step(self._spec, arguments, chunks, [x], [made], work=float(made.size))

    def _by_rows(self, planner: Planner, x: Layout) -> Layout:
        return x if x.strides[-1] == 1 else planner.contiguous(x)
