"""Element-wise groups: one expression, one kernel, in the layout of what is read."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.graph import Node, Value

from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import Expression
from runtime_ep_cuda.express import express
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner, broadcast
from runtime_ep_cuda.tensor import Tensor


def plan_elementwise(planner: Planner, group: Group) -> None:
    """Plan a group without an anchor."""
    compute(planner, group.after, group.results)


def compute(planner: Planner, nodes: Sequence[Node], results: Sequence[Value]) -> None:
    """Compute results of element-wise nodes: at once where all have one shape."""
    shapes = {value: planner.shape(value) for value in results}
    if len(set(shapes.values())) > 1:
        for node in nodes:
            compute(planner, [node], node.outputs[:1])
        return
    expression, operands = express(nodes, results)
    tensors = [planner.tensor(value) for value in operands]
    made = write(planner, expression, tensors, results, shapes[results[0]])
    for value, tensor in zip(results, made, strict=True):
        planner.define(value, tensor)


def write(
    planner: Planner,
    expression: Expression,
    operands: Sequence[Tensor],
    results: Sequence[Value],
    shape: tuple[int, ...],
) -> list[Tensor]:
    """Launch an expression over operands that broadcast to a shape."""
    broadcast([shape, *(operand.shape for operand in operands)])
    order = likely_order(operands, shape)
    made = [
        planner.result(value, shape, planner.order_for(value, order))
        for value in results
    ]
    wide = [operand.broadcast(shape) for operand in operands]
    planner.launch(elementwise(expression, wide, made))
    return made


def likely_order(
    operands: Sequence[Tensor], shape: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Return the order of axes in which most of what is read lies, or ``None``.

    Parts of a larger tensor have gaps, and an order all the same.
    """
    weights: dict[tuple[int, ...], int] = {}
    for operand in operands:
        order = _order_of(operand) if operand.shape == shape else None
        if order is not None:
            weights[order] = weights.get(order, 0) + operand.nbytes
    return max(weights, key=weights.__getitem__, default=None)


def _order_of(tensor: Tensor) -> tuple[int, ...] | None:
    """Return the axes from outermost to innermost, or ``None`` where they repeat memory."""
    steps = [
        step for dim, step in zip(tensor.shape, tensor.strides, strict=True) if dim != 1
    ]
    if len({*steps, 0}) != len(steps) + 1 or min(steps, default=1) < 0:
        return None
    places = sorted(range(tensor.rank), key=lambda axis: -tensor.strides[axis])
    dims = [tensor.shape[axis] for axis in places]
    packed = Tensor.dense(tensor.buffer, tensor.dtype, dims)
    return packed.transposed([places.index(axis) for axis in range(tensor.rank)]).order


def value_after(group: Group, done: int) -> Value:
    """Return what an anchor and the first ``done`` nodes after it have made."""
    if done:
        return group.after[done - 1].outputs[0]
    if group.anchor is None:
        raise ValueError("the group has no anchor")
    return (group.scaling or group.anchor).outputs[0]


def finish(planner: Planner, group: Group, done: int = 0) -> None:
    """Do what follows an anchor, of which ``done`` nodes have been taken along."""
    rest = group.after[done:]
    if rest:
        compute(planner, rest, [rest[-1].outputs[0]])
