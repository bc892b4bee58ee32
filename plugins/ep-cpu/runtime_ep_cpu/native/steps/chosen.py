"""Columns chosen of a table, also of one of strings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, lookup
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable, of_array
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.table import (
    Array,
    given_x,
)

OPERATORS = ("ArrayFeatureExtractor",)

_POSITIONS = ("ArgMax", "ArgMin")
_KEEPING = ("Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze")


def _is_position(value: Value | None) -> bool:
    """Whether a value cannot be negative, coming from where something is the largest."""
    node = None if value is None else value.producer
    while node is not None and node.op_type in _KEEPING and not node.domain:
        source = node.input(0)
        node = None if source is None else source.producer
    return node is not None and node.op_type in _POSITIONS and not node.domain


def texts_of(node: Node) -> Array | None:
    """Return the strings among which a node chooses, if they are constant."""
    array = given_x(node).constant()
    if array is None or array.dtype.kind not in "OU" or array.ndim not in (1, 2):
        return None
    if array.ndim == 2 and array.shape[0] != 1:
        return None
    return np.array([str(text) for text in array.ravel().tolist()], object)


def is_supported(node: Node) -> bool:
    """Whether columns are chosen by constants that are there, or by what is not negative."""
    x, indices = given_x(node), node.input(1)
    if indices is None or element_of(indices) not in ("i32", "i64"):
        return False
    if element_of(x) is None:
        if texts_of(node) is None:
            return False
    elif not x.shape:
        return False
    places = indices.constant()
    if places is not None:
        return bool(places.size) and bool((places >= 0).all())
    return _is_position(indices)


class ChosenStep:
    """ArrayFeatureExtractor: a look at columns that are evenly apart, or a look-up."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a choice has an anchor")
        self._node = node = group.anchor
        self._texts = texts_of(node)
        self._element = (
            "i64" if self._texts is not None else element_of(given_x(node)) or ""
        )
        self._indices: Value = node.inputs[1]  # type: ignore[assignment]
        self._index = element_of(self._indices) or "i64"
        self._numbers = None
        if self._texts is not None:
            self._numbers = of_array(np.arange(len(self._texts)))
        self.specs: Sequence[Spec] = (
            *lookup.specs(SIZES[self._element], self._index),
            *copies.specs(SIZES[self._element]),
        )

    def plan(self, planner: Planner) -> None:
        """Plan the columns of every row."""
        data = self._numbers
        if data is None:
            data = planner.layout(given_x(self._node))
        if len(data.shape) == 1:
            data = data.with_dims((1, *data.shape), (0, *data.strides))
        places = self._indices.constant()
        if places is not None:
            numbers = places.reshape(-1).tolist()
            if max(numbers) >= data.shape[-1]:
                raise Unplannable(f"there are {data.shape[-1]} features")
            steps = set(np.diff(numbers).tolist()) or {1}
            if len(steps) == 1 and min(steps) >= 0 and self._numbers is None:
                self._look(planner, data, numbers, steps.pop())
                return
        self._gather(planner, data)

    def _look(
        self, planner: Planner, data: Layout, numbers: list[int], step: int
    ) -> None:
        stride = data.strides[-1]
        view = data.with_dims(
            (*data.shape[:-1], len(numbers)),
            (*data.strides[:-1], stride * step),
            data.offset + numbers[0] * stride,
        )
        planner.give(self._node.outputs[0], view)

    def _gather(self, planner: Planner, data: Layout) -> None:
        indices = planner.contiguous(planner.layout(self._indices))
        count = indices.size
        indices = indices.with_dims((count,), (1,))
        shape = (*data.shape[:-1], count)
        made = planner.allocate(self._node.outputs[0], shape, self._element)
        axis = len(data.shape) - 1
        found = lookup.gather(
            data.shape, data.strides, (count,), (1,), axis, made.strides
        )
        try:
            ready = lookup.plan(SIZES[self._element], found, self._index)
        except ValueError as error:
            raise Unplannable(str(error)) from error
        fields: list[Argument] = [made, data, indices, planner.failed(), *ready.numbers]
        planner.step(
            ready.spec,
            fields,
            ready.chunks,
            [data, indices],
            [made],
            work=2.0 * made.size,
        )
