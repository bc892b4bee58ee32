"""NonMaxSuppression: as many rows as there is room for, of which a run tells how many count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, suppression
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import Layout, Unplannable, of_array
from runtime_ep_cpu.native.planner import Argument, Planner

_MOST: Final = 1 << 26
"""Rows that there is room for, at most."""


def is_supported(node: Node) -> bool:
    """Whether boxes, scores and thresholds are float32."""
    given = (node.input(i) for i in (0, 1, 3, 4))
    floats = all(element_of(v) == "float" for v in given if v is not None)
    limited = node.input(2) is not None
    return floats and limited and node.attribute("center_point_box", 0) in (0, 1)


class SuppressionStep:
    """The best boxes of every class of every batch, and then all behind each other."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("suppression has an anchor")
        self._node = node = group.anchor
        bounded = node.input(4) is not None
        center = bool(node.attribute("center_point_box", 0))
        self._spec = suppression.spec(center, bounded)
        self.specs: Sequence[Spec] = (
            self._spec, suppression.COLLECT, *copies.specs(4)
        )  # fmt: skip

    def plan(self, planner: Planner) -> None:
        """Plan every class for the shapes at hand."""
        node = self._node
        values: list[Value] = [v for v in node.inputs[:2] if v is not None]
        boxes, scores = (planner.contiguous(planner.layout(v)) for v in values)
        if len(boxes.shape) != 3 or len(scores.shape) != 3 or boxes.shape[2] != 4:
            raise Unplannable(f"{boxes.shape} and {scores.shape} are no scored boxes")
        batch, classes, number = scores.shape
        if boxes.shape[:2] != (batch, number):
            raise Unplannable(f"{scores.shape} are no scores of {boxes.shape}")
        limit = min(number, sum(planner.numbers(node.input(2)) or [0]))
        groups = batch * classes
        if limit < 1 or groups * limit > _MOST:
            raise Unplannable(f"{limit} boxes are kept of each of {groups} classes")
        overlap, least = (self._threshold(planner, place) for place in (3, 4))
        picked = planner.allocate(None, (groups, limit), "i64")
        counts = planner.allocate(None, (groups,), "i64")
        arguments: list[Argument] = [
            picked, counts, boxes, scores, overlap, least, planner.failed(), number,
            classes, limit,
        ]  # fmt: skip
        planner.step(
            self._spec,
            arguments,
            groups,
            [boxes, scores, overlap, least],
            [picked, counts],
            suppression.scratch(planner.target, number, limit),
            float(scores.size + groups * limit * limit / 2),
        )
        made = planner.allocate(node.outputs[0], (groups * limit, 3), "i64")
        count = planner.count(node.outputs[0])
        arguments = [made, count, picked, counts, groups, classes, limit]
        planner.step(suppression.COLLECT, arguments, 1, [picked, counts], [made])

    def _threshold(self, planner: Planner, place: int) -> Layout:
        """Return where a threshold lies; one that is not given is 0."""
        value = self._node.input(place)
        if value is None:
            return of_array(np.zeros(1, np.float32))
        layout = planner.layout(value)
        if layout.size != 1:
            raise Unplannable(f"a threshold has the shape {layout.shape}")
        return layout
