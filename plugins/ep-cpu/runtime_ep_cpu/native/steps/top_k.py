"""TopK along any axis, for a number that is known when a plan is made."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, top_k
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.view import axis_of

_CHUNK = 16 * 1024
"""Elements of a chunk, or one row."""


def is_supported(node: Node) -> bool:
    """Whether elements have keys of 32 bits."""
    return element_of(node.input(0)) in top_k.ELEMENTS


class TopKStep:
    """The best elements of each row, and their places."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("TopK has an anchor")
        self._node = node = group.anchor
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        self._element = element_of(self._x) or "float"
        largest = bool(node.attribute("largest", 1))
        self._spec = top_k.spec(
            self._element, largest, bool(node.attribute("sorted", 1))
        )
        self.specs: Sequence[Spec] = (
            self._spec, *copies.specs(SIZES[self._element]), *copies.specs(8)
        )  # fmt: skip

    def plan(self, planner: Planner) -> None:
        """Plan the rows for the shapes at hand."""
        node = self._node
        x = planner.layout(self._x)
        axis = axis_of(node.attribute("axis", -1), len(x.shape))
        k = node.attribute("k") if node.version < 10 else self._number(planner)
        length = x.shape[axis]
        if not 1 <= k <= length or length >= 1 << 32:
            raise Unplannable(f"{k} of {length} elements")
        last = [i for i in range(len(x.shape)) if i != axis] + [axis]
        x = planner.contiguous(x.transposed(last))
        shape = (*x.shape[:-1], k)
        back = [last.index(i) for i in range(len(last))]
        moves = back != list(range(len(back)))
        made = [
            planner.allocate(None if moves else value, shape, element)
            for value, element in zip(
                node.outputs, (self._element, "i64"), strict=False
            )
        ]
        if len(made) == 1:
            made.append(planner.allocate(None, shape, "i64"))
        self._add(planner, x, made, k)
        if moves:
            for value, layout in zip(node.outputs, made, strict=False):
                planner.give(value, layout.transposed(back))

    def _number(self, planner: Planner) -> int:
        numbers = planner.numbers(self._node.input(1)) or []
        if len(numbers) != 1:
            raise Unplannable("k is one number")
        return int(numbers[0])

    def _add(self, planner: Planner, x: Layout, made: list[Layout], k: int) -> None:
        length = x.shape[-1]
        rows = x.size // length
        block = max(1, min(rows, _CHUNK // length))
        room = top_k.room(length, k)
        arguments: list[Argument] = [*made, x, rows, block, length, k, room]
        planner.step(
            self._spec,
            arguments,
            -(-rows // block),
            [x],
            made,
            top_k.scratch(planner.target, room),
            4.0 * x.size,
        )
