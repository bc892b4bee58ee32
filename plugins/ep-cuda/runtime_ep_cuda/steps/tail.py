"""The long tail: operators that the CPU provider's kernels do, on the device's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.graph import Node
from runtime_ep_cpu.ops import table

from runtime_ep_cuda.actions import Array, Unplannable
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.tensor import Tensor

NAMES = ("Det", "Einsum", "Hardmax", "LRN", "GridSample")
"""Operators without a kernel of their own whose kernels take any array namespace."""


@plans(*NAMES, refuse=table.refuses)
def tail(planner: Planner, group: Group) -> None:
    """Run a kernel over arrays that are views of the plan's memory.

    Its results are copied to where the plan has them, and none of it is recorded.
    """
    inputs = anchor_of(group).inputs
    _run(planner, group, [None if v is None else planner.tensor(v) for v in inputs])


@plans("AffineGrid", refuse=table.refuses, known=(1,))
def affine_grid(planner: Planner, group: Group) -> None:
    """AffineGrid, whose second input is the size of an image."""
    theta, size = anchor_of(group).inputs
    numbers = planner.numbers(size)
    if numbers is None:
        raise Unplannable("the size of the image is missing")
    _run(planner, group, [planner.tensor(theta), np.array(numbers, np.int64)])


def _run(planner: Planner, group: Group, inputs: list[Tensor | Array | None]) -> None:
    node = anchor_of(group)
    run = table.bind(node)
    shapes = _shapes(planner, node, run, inputs)
    results = [
        planner.result(value, shape) if value.name or value.uses else None
        for value, shape in zip(node.outputs, shapes, strict=False)
    ]
    planner.tail(run, inputs, results)


def _shapes(
    planner: Planner, node: Node, run: Any, inputs: list[Tensor | Array | None]
) -> list[tuple[int, ...]]:
    """Return the results' shapes: as they are declared, or as zeros give them."""
    declared = [value.shape for value in node.outputs]
    if all(s is not None and all(isinstance(d, int) for d in s) for s in declared):
        return [tuple(map(int, shape)) for shape in declared if shape is not None]
    zeros = [
        np.zeros(each.shape, planner.storage(value))
        if value is not None and isinstance(each, Tensor)
        else each
        for value, each in zip(node.inputs, inputs, strict=True)
    ]
    try:
        made = run(*zeros)
    except ValueError as error:
        raise Unplannable(str(error)) from error
    return [array.shape for array in (made if type(made) is tuple else (made,))]
