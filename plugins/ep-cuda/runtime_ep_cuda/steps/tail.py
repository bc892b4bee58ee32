"""The long tail: operators that the CPU provider's kernels do, on the device's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.graph import Node
from runtime_ep_cpu.ops import table

from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of

NAMES = ("Det", "Einsum", "Hardmax", "LRN", "GridSample", "AffineGrid")
"""Operators without a kernel of their own whose kernels take any array namespace."""


@plans(*NAMES, refuse=table.refuses)
def tail(planner: Planner, group: Group) -> None:
    """Run a kernel over arrays that are views of the plan's memory.

    Its results are copied to where the plan has them, and none of it is recorded.
    """
    node = anchor_of(group)
    run = table.bind(node)
    inputs = [None if v is None else planner.tensor(v) for v in node.inputs]
    shapes = _shapes(
        node, run, [None if t is None else t.shape for t in inputs], planner
    )
    results = [
        planner.result(value, shape) if value.name or value.uses else None
        for value, shape in zip(node.outputs, shapes, strict=False)
    ]
    planner.tail(run, inputs, results)


def _shapes(
    node: Node, run: Any, given: list[tuple[int, ...] | None], planner: Planner
) -> list[tuple[int, ...]]:
    """Return the results' shapes: as they are declared, or as zeros give them."""
    declared = [value.shape for value in node.outputs]
    if all(s is not None and all(isinstance(d, int) for d in s) for s in declared):
        return [tuple(map(int, shape)) for shape in declared if shape is not None]
    zeros = [
        None
        if shape is None or value is None
        else np.zeros(shape, planner.storage(value))
        for value, shape in zip(node.inputs, given, strict=True)
    ]
    made = run(*zeros)
    return [array.shape for array in (made if type(made) is tuple else (made,))]
