"""Gather: rows, or elements, chosen by indices that are checked."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.graph import Value

from runtime_ep_cpu.codegen import lookup
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.view import axis_of


class GatherStep:
    """Gather along any axis; an index out of range sends the run to NumPy's kernel."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a look-up has an anchor")
        self._node = group.anchor
        self._data: Value = self._node.inputs[0]  # type: ignore[assignment]
        self._indices: Value = self._node.inputs[1]  # type: ignore[assignment]
        self._result = self._node.outputs[0]
        self._element = element_of(self._result) or "float"
        self._index = element_of(self._indices) or "i64"
        self.specs: Sequence[Spec] = lookup.specs(SIZES[self._element], self._index)

    def plan(self, planner: Planner) -> None:
        """Plan the look-up of every index."""
        data, indices = planner.layout(self._data), planner.layout(self._indices)
        axis = axis_of(self._node.attribute("axis", 0), len(data.shape))
        shape = (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])
        made = planner.allocate(self._result, shape, self._element)
        places = lookup.gather(
            data.shape,
            data.strides,
            indices.shape,
            indices.strides,
            axis,
            made.strides,
        )
        try:
            found = lookup.plan(SIZES[self._element], places, self._index)
        except ValueError as error:
            raise Unplannable(str(error)) from error
        failed = planner.failed()
        arguments: list[Argument] = [made, data, indices, failed, *found.numbers]
        planner.step(
            found.spec,
            arguments,
            found.chunks,
            [data, indices],
            [made],
            work=2.0 * made.size,
        )
