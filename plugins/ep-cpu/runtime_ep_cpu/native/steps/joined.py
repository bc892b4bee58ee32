"""Tables put side by side."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.graph import Node

from runtime_ep_cpu.codegen import copies, elementwise
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import FLOATS, element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner

OPERATORS = ("FeatureVectorizer",)


def is_supported(node: Node) -> bool:
    """Whether tables of floats are put side by side as they are."""
    widths = node.attribute("inputdimensions")
    shapes = [value.shape if value is not None else None for value in node.inputs]
    if any(shape is None or len(shape) != 2 for shape in shapes):
        return False
    found = [shape[1] for shape in shapes if shape is not None]
    if widths is not None and list(widths) != found:
        return False
    return all(element_of(value) in (*FLOATS, "i64", "i32") for value in node.inputs)


class JoinedStep:
    """FeatureVectorizer."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a table has an anchor")
        self._node = group.anchor
        elements = {element_of(value) or "float" for value in self._node.inputs}
        self._wide = {
            element: elementwise.spec(_widening(element))
            for element in sorted(elements - {"float"})
        }
        self.specs: Sequence[Spec] = (*copies.specs(4), *self._wide.values())

    def plan(self, planner: Planner) -> None:
        """Plan a copy of each table to its columns."""
        tables = [planner.layout(v) for v in self._node.inputs if v is not None]
        rows = tables[0].shape[0]
        if any(table.shape[0] != rows for table in tables):
            raise Unplannable("the tables have different numbers of rows")
        width = sum(table.shape[1] for table in tables)
        made = planner.allocate(self._node.outputs[0], (rows, width), "float")
        first = 0
        for table in tables:
            count = table.shape[1]
            part = made.with_dims((rows, count), made.strides, made.offset + first)
            if table.element == "float":
                planner.copy(table, part)
            else:
                self._convert(planner, table, part)
            first += count

    def _convert(self, planner: Planner, table: Layout, part: Layout) -> None:
        ready = elementwise.plan(4096, table.shape, [part.strides], [table.strides])
        fields: list[Argument] = [part, table, *ready.numbers]
        planner.step(
            self._wide[table.element], fields, ready.chunks, [table], [part],
            ready.scratch, 2.0 * table.size,
        )  # fmt: skip


def _widening(element: str) -> Expression:
    steps = (Instruction("convert", (0,), (("type", "float"),)),)
    return Expression((element,), steps, ((1, "float"),))
