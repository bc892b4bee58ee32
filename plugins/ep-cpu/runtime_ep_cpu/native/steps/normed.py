"""Rows divided by their norms."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from runtime.graph import Node

from runtime_ep_cpu.codegen import copies, normed
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.table import (
    GIVEN,
    arguments,
    given_x,
    rows_per_chunk,
    wide_element,
)

OPERATORS = ("Normalizer", "LpNormalization")


def is_supported(node: Node) -> bool:
    """Whether a norm is taken along the last axis of rows."""
    x = given_x(node)
    rank = len(x.shape or ())
    if node.op_type == "Normalizer":
        fits = element_of(x) in GIVEN and node.attribute("norm", "MAX") in normed.NORMS
        return fits and rank in (1, 2)
    last = node.attribute("axis", -1) in (-1, rank - 1)
    return element_of(x) == "float" and last and node.attribute("p", 2) in (1, 2)


class NormedStep:
    """Normalizer and LpNormalization."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a norm has an anchor")
        self._node = node = group.anchor
        x = given_x(node)
        norm = node.attribute("norm", "MAX")
        if node.op_type == "LpNormalization":
            norm = f"L{node.attribute('p', 2)}"
        self._spec = normed.spec(element_of(x) or "float", wide_element(x), norm)
        self.specs: Sequence[Spec] = (
            self._spec,
            *copies.specs(SIZES[element_of(x) or "float"]),
        )

    def plan(self, planner: Planner) -> None:
        """Plan blocks of rows."""
        x = planner.layout(given_x(self._node))
        shape = x.shape
        if len(shape) != 2:
            x = planner.contiguous(x)
            x = x.with_dims((prod(shape[:-1]), shape[-1]), (shape[-1], 1))
        rows, count = x.shape
        if not x.size:
            raise Unplannable("there are no numbers")
        made = planner.allocate(self._node.outputs[0], shape, "float")
        lanes = planner.target.lanes
        each = rows_per_chunk(rows, lanes, 8 * count)
        columns = planner.table(range(count))
        fields: list[Argument] = [
            *arguments(x, columns, count, count, count), made, each
        ]  # fmt: skip
        planner.step(
            self._spec, fields, -(-rows // each), [x], [made], 8 * lanes * count,
            4.0 * x.size,
        )  # fmt: skip
