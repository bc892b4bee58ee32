"""Look-ups by element or by tuple, and scatters: indices that say where, and are checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, lookup, scatter
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.view import axis_of

OPERATORS: Final = (
    "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND",
)  # fmt: skip

_BY_TUPLE: Final = ("GatherND", "ScatterND")
_LONGEST: Final = 6
"""Indices in a tuple, at most."""


def is_supported(node: Node) -> bool:
    """Whether indices are integers, tuples of known length, and a reduction is native."""
    indices = node.input(1)
    if element_of(indices) not in ("i32", "i64"):
        return False
    if node.op_type in _BY_TUPLE and not 1 <= _depth(node) <= _LONGEST:
        return False
    operation = node.attribute("reduction", "none")
    combines = operation in scatter.OPERATIONS
    return operation == "none" or (
        combines and element_of(node.input(0)) in scatter.ELEMENTS
    )


def _depth(node: Node) -> int:
    """Return how many indices a tuple has; 0 where that is not known."""
    if node.op_type not in _BY_TUPLE:
        return 1
    indices = node.inputs[1]
    shape = () if indices is None else indices.shape
    return shape[-1] if shape and isinstance(shape[-1], int) else 0


class IndexedStep:
    """One of `OPERATORS`; an index out of range sends the run to NumPy's kernel."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a look-up has an anchor")
        self._node = node = group.anchor
        self._data: Value = node.inputs[0]  # type: ignore[assignment]
        self._indices: Value = node.inputs[1]  # type: ignore[assignment]
        self._result = node.outputs[0]
        self._element = element_of(self._result) or "float"
        self._index = element_of(self._indices) or "i64"
        self._operation = node.attribute("reduction", "none")
        size, depth = SIZES[self._element], _depth(node)
        if node.op_type.startswith("Gather"):
            self.specs: Sequence[Spec] = lookup.specs(size, self._index, depth)
        else:
            self.specs = (*self._scattering(size, depth), *copies.specs(size))

    def _scattering(self, size: int, depth: int) -> tuple[Spec, ...]:
        if self._operation == "none":
            return lookup.specs(size, self._index, depth, "scatter")
        return scatter.specs(self._element, self._index, depth, self._operation)

    def plan(self, planner: Planner) -> None:
        """Plan the look-up of every index."""
        data, indices = planner.layout(self._data), planner.layout(self._indices)
        try:
            if self._node.op_type.startswith("Gather"):
                self._gather(planner, data, indices)
            else:
                self._scatter(planner, data, indices)
        except ValueError as error:
            raise Unplannable(str(error)) from error

    def _gather(self, planner: Planner, data: Layout, indices: Layout) -> None:
        shape = indices.shape
        if self._node.op_type == "GatherND":
            batch = self._node.attribute("batch_dims", 0)
            shape = (*shape[:-1], *data.shape[batch + shape[-1] :])
        made = planner.allocate(self._result, shape, self._element)
        places = self._places(data, indices, made)
        found = lookup.plan(SIZES[self._element], places, self._index)
        self._add(planner, found, made, data, indices, [data, indices])

    def _scatter(self, planner: Planner, data: Layout, indices: Layout) -> None:
        updates = planner.layout(self._node.inputs[2])  # type: ignore[arg-type]
        if self._node.op_type == "ScatterND":
            wanted = (*indices.shape[:-1], *data.shape[indices.shape[-1] :])
        else:
            wanted = indices.shape
        if updates.shape != wanted:
            raise Unplannable(f"updates of {updates.shape} do not fit {wanted}")
        made = planner.allocate(self._result, data.shape, self._element)
        planner.copy(data, made, [indices, updates])
        places = lookup.scatter(self._places(made, indices, updates))
        if self._operation == "none":
            size = SIZES[self._element]
            found = lookup.plan(size, places, self._index, "scatter")
        else:
            found = scatter.plan(self._element, places, self._index, self._operation)
        self._add(planner, found, made, updates, indices, [made, updates, indices])

    def _add(
        self,
        planner: Planner,
        found: lookup.Lookup,
        made: Layout,
        source: Layout,
        indices: Layout,
        reads: Sequence[Layout],
    ) -> None:
        failed = planner.failed()
        arguments: list[Argument] = [made, source, indices, failed, *found.numbers]
        rows = made.size if source.size > made.size else source.size
        work = 16.0 * max(rows, indices.size)
        planner.step(found.spec, arguments, found.chunks, reads, [made], work=work)

    def _places(self, data: Layout, indices: Layout, to: Layout) -> lookup.Places:
        """Describe the look-up of data into ``to``, or the scatter that undoes it."""
        node = self._node
        given = (data.shape, data.strides, indices.shape, indices.strides)
        if node.op_type in _BY_TUPLE:
            batch = node.attribute("batch_dims", 0)
            self._check_tuples(data, indices, batch)
            return lookup.gather_nd(*given, batch, to.strides)
        axis = axis_of(node.attribute("axis", 0), len(data.shape))
        self._check_elements(data, indices, axis)
        return lookup.gather_elements(*given, axis, to.strides)

    def _check_tuples(self, data: Layout, indices: Layout, batch: int) -> None:
        depth = _depth(self._node)
        fits = (
            0 <= batch < min(len(data.shape), len(indices.shape))
            and data.shape[:batch] == indices.shape[:batch]
            and indices.shape[-1] == depth <= len(data.shape) - batch
        )
        if not fits:
            raise Unplannable(f"tuples of {indices.shape} do not fit {data.shape}")

    def _check_elements(self, data: Layout, indices: Layout, axis: int) -> None:
        fits = len(indices.shape) == len(data.shape) and all(
            i == axis or size <= data.shape[i] for i, size in enumerate(indices.shape)
        )
        if not fits:
            raise Unplannable(f"indices of {indices.shape} do not fit {data.shape}")
