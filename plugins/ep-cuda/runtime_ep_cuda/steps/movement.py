"""Copies that are no views: Concat, Tile, Pad and what fills tensors with constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import movement
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner, broadcast
from runtime_ep_cuda.steps.elementwise import likely_order
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of, axis_of


@plans("Concat", since=4, moves=True)
def concat(planner: Planner, group: Group) -> None:
    """Concat: each input into its part of the result, in the layout of most of them."""
    node = anchor_of(group)
    inputs = [planner.tensor(value) for value in node.inputs]
    axis = axis_of(node.attribute("axis"), inputs[0].rank)
    others = {(*t.shape[:axis], *t.shape[axis + 1 :]) for t in inputs}
    if len(others) > 1:
        told = ", ".join(str(list(tensor.shape)) for tensor in inputs)
        raise Unplannable(f"{told} are not joined along axis {axis}")
    shape = list(inputs[0].shape)
    shape[axis] = sum(tensor.shape[axis] for tensor in inputs)
    largest = max(inputs, key=lambda tensor: tensor.size)
    value = node.outputs[0]
    order = planner.order_for(value, likely_order([largest], largest.shape))
    y = planner.result(value, shape, order)
    planner.launch(movement.concat(inputs, axis, y))


@plans("Tile", known=(1,), since=6, moves=True)
def tile(planner: Planner, group: Group) -> None:
    """Tile: the input, broadcast along new axes, copied."""
    node = anchor_of(group)
    x = planner.tensor(node.inputs[0])
    repeats = planner.numbers(node.inputs[1]) or []
    if len(repeats) != x.rank or any(count < 0 for count in repeats):
        raise Unplannable(f"{list(x.shape)} is not repeated {repeats} times")
    shape = [dim * count for dim, count in zip(x.shape, repeats, strict=True)]
    y = planner.result(node.outputs[0], shape)
    if not y.size:
        return
    apart = [n for pair in zip(repeats, x.shape, strict=True) for n in pair]
    seen = y.reshaped(apart)
    ghost = x.ghost()[tuple(n for _ in x.shape for n in (None, slice(None)))]
    source = x.like(ghost).broadcast(apart)
    if seen is None:
        raise Unplannable(f"{shape} does not come apart")
    planner.launch(movement.copy(source, seen))


@plans("Pad", known=(1, 2, 3), since=11)
def pad(planner: Planner, group: Group) -> None:
    """Pad by a constant, the edge, a reflection or the other side; negative pads cut."""
    node = anchor_of(group)
    x = planner.tensor(node.inputs[0])
    pads, axes = planner.numbers(node.inputs[1]) or [], planner.numbers(node.input(3))
    places = range(x.rank) if axes is None else [axis_of(a, x.rank) for a in axes]
    if len(pads) != 2 * len(places):
        raise Unplannable(f"{pads} are no pads of {len(places)} axes")
    begins, ends = [0] * x.rank, [0] * x.rank
    for index, axis in enumerate(places):
        begins[axis], ends[axis] = pads[index], pads[len(places) + index]
    shape = [dim + a + b for dim, a, b in zip(x.shape, begins, ends, strict=True)]
    if min(shape, default=0) < 0:
        raise Unplannable(f"pads {pads} leave less than nothing of {list(x.shape)}")
    value = planner.known(node.input(2))
    fill = 0 if value is None else value.reshape(-1)[0].item()
    out = node.outputs[0]
    order = planner.order_for(out, likely_order([x], x.shape))
    y = planner.result(out, shape, order)
    mode = node.attribute("mode", "constant")
    planner.launch(movement.pad(x, y, begins, mode, fill))


@plans("ConstantOfShape", known=(0,))
def constant_of_shape(planner: Planner, group: Group) -> None:
    """ConstantOfShape: one number, broadcast."""
    node = anchor_of(group)
    shape = tuple(planner.numbers(node.inputs[0]) or ())
    given = node.attribute("value")
    number: Any = np.zeros(1, np.float32) if given is None else given.numpy()
    dtype = planner.storage(node.outputs[0], number.dtype)
    one = planner.constant(number.reshape((1,) * len(shape)).astype(dtype))
    planner.define(
        node.outputs[0], one.broadcast(broadcast([(1,) * len(shape), shape]))
    )


@plans("Trilu", known=(1,))
def trilu(planner: Planner, group: Group) -> None:
    """Trilu: the part of matrices above or below a diagonal."""
    node = anchor_of(group)
    x = planner.tensor(node.inputs[0])
    known = planner.numbers(node.input(1))
    upper = bool(node.attribute("upper", 1))
    y = planner.result(node.outputs[0], x.shape)
    planner.launch(movement.trilu(x, y, known[0] if known else 0, upper))
