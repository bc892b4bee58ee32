"""Concat: each input is copied to its place in the result."""

from __future__ import annotations

from collections.abc import Sequence

from runtime_ep_cpu.codegen import copies
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import image, like_image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.native.steps.view import axis_of


class ConcatStep:
    """Concat along any axis; inputs without elements count for nothing."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a concatenation has an anchor")
        self._node = group.anchor
        self._result = self._node.outputs[0]
        self._element = element_of(self._result) or "float"
        self.specs: Sequence[Spec] = copies.specs(SIZES[self._element])

    @property
    def _usual_axis(self) -> int:
        return 1 if self._node.version < 4 else 0

    def plan(self, planner: Planner) -> None:
        """Plan one copy for each input that was not made in its place."""
        parts = [
            planner.layout(value) for value in self._node.inputs if value is not None
        ]
        rank = len(parts[0].shape)
        axis = axis_of(self._node.attribute("axis", self._usual_axis), rank)
        shape = list(parts[0].shape)
        for part in parts[1:]:
            if len(part.shape) != rank or any(
                part.shape[i] != shape[i] for i in range(rank) if i != axis
            ):
                raise Unplannable(f"{part.shape} does not continue {tuple(shape)}")
            shape[axis] += part.shape[axis]
        made = planner.layouts.get(self._result)
        if made is None and like_image(planner, shape, parts):
            made = image(planner, self._result, shape, self._element, parts)
        elif made is None:
            made = planner.allocate(self._result, shape, self._element)
        if made.shape != tuple(shape):
            raise Unplannable(f"the parts of {made.shape} are together {tuple(shape)}")
        start = 0
        for part in parts:
            piece = _piece(made, axis, start, part.shape)
            if part.buffer is not made.buffer or part.offset != piece.offset:
                planner.copy(part, piece)
            start += part.shape[axis]


def _piece(whole: Layout, axis: int, start: int, shape: Sequence[int]) -> Layout:
    """Return the part of a layout that begins somewhere along an axis."""
    offset = whole.offset + start * whole.strides[axis]
    return whole.with_dims(shape, whole.strides, offset)
