"""LSTM, GRU and RNN: one product for all inputs, then a product and a cell for each step.

The steps are planned one by one, so that a replay is nothing but the device's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import movement
from runtime_ep_cuda.dtypes import FLOATS, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.quantized import is_constant
from runtime_ep_cuda.steps.cells import ACTIVATIONS, WALKS, Way, at, product
from runtime_ep_cuda.steps.rows import used
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.tensor import Tensor

_USUAL = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
    "RNN": ("Tanh",),
}


def _refuses(node: Node) -> str:
    types = {dtype_of(v) for i, v in enumerate(node.inputs) if v is not None and i != 4}
    if len(types) != 1 or not types <= FLOATS:
        return f"{node.op_type} of these element types is not supported"
    if node.attribute("clip") or node.attribute("input_forget", 0):
        return "clip and input_forget are not supported"
    if not set(_activations(node)) <= ACTIVATIONS.keys():
        return f"activations {list(_activations(node))} are not supported"
    weights = node.inputs[1:3]
    if not all(value is not None and is_constant(value) for value in weights):
        return "weights that are no constants are not supported"
    return ""


def _activations(node: Node) -> Sequence[str]:
    count = 2 if node.attribute("direction", "forward") == "bidirectional" else 1
    found = tuple(node.attribute("activations") or _USUAL[node.op_type] * count)
    return [name.capitalize() for name in found]


@plans("LSTM", "GRU", "RNN", refuse=_refuses, since=7)
def recurrence(planner: Planner, group: Group) -> None:
    """Plan both directions, each step after the other."""
    node = anchor_of(group)
    x = planner.tensor(node.inputs[0])
    batch_first = bool(node.attribute("layout", 0))
    x = x.transposed((1, 0, 2)) if batch_first else x
    steps, batch, _ = x.shape
    if not x.size:
        raise Unplannable(f"a recurrence over {list(x.shape)} has no elements")
    wide, size = planner.shape(node.inputs[2]), planner.storage(node.outputs[0])  # type: ignore[arg-type]
    directions, hidden = wide[0], wide[2]
    y = _result(
        planner, node, 0, (steps, directions, batch, hidden), batch_first, (2, 0, 1, 3)
    )
    if y is None:
        y = planner.new(size, (steps, directions, batch, hidden))
    cells = _result(
        planner, node, 2, (directions, batch, hidden), batch_first, (1, 0, 2)
    )
    last = _result(
        planner, node, 1, (directions, batch, hidden), batch_first, (1, 0, 2)
    )
    for number in range(directions):
        way = _way(planner, node, x, y, number, cells)
        state = WALKS[node.op_type](planner, way)
        if last is not None:
            planner.launch(movement.copy(state, at(last, 0, number)))


def _result(
    planner: Planner,
    node: Node,
    place: int,
    shape: tuple[int, ...],
    batch_first: bool,
    order: tuple[int, ...],
) -> Tensor | None:
    """Return where an output goes, seen with steps first, or ``None`` if nobody reads it."""
    value = used(node, place)
    if value is None:
        return None
    if not batch_first:
        return planner.result(value, shape)
    made = planner.result(value, [shape[axis] for axis in order])
    return made.transposed(sorted(range(len(order)), key=order.__getitem__))


def _order(node: Node, number: int, steps: int) -> Sequence[int]:
    backwards = number == 1 or node.attribute("direction", "forward") == "reverse"
    return range(steps - 1, -1, -1) if backwards else range(steps)


def _way(
    planner: Planner,
    node: Node,
    x: Tensor,
    y: Tensor,
    number: int,
    cells: Tensor | None,
) -> Way:
    steps, batch, _ = x.shape
    dtype = planner.storage(node.outputs[0]) if used(node, 0) else y.dtype
    w, r = (planner.weight(v, "as it is", _same, dtype) for v in node.inputs[1:3])  # type: ignore[arg-type]
    rows = w.shape[1]
    bias, apart = _biases(planner, node, number, dtype)
    source = planner.dense(x, None, dtype)
    flat = planner.reshape(source, (1, steps * batch, x.shape[2]))
    gates = planner.new(dtype, (1, steps * batch, rows))
    product(planner, flat, at(w, 0, number), gates, bias)
    seen = planner.reshape(gates, (steps, batch, rows))
    each = len(_USUAL[node.op_type])
    found = list(_activations(node))[number * each : (number + 1) * each]
    peepholes = node.input(7)
    return Way(
        node,
        seen,
        at(r, 0, number),
        at(y, 1, number),
        _first(planner, node.input(5), number),
        _first(planner, node.input(6), number),
        None if peepholes is None else at(planner.tensor(peepholes), 0, number),
        apart,
        [ACTIVATIONS[name] for name in found],
        _order(node, number, steps),
        None if cells is None else at(cells, 0, number),
        *_lengths(planner, node, steps, batch),
    )


def _lengths(
    planner: Planner, node: Node, steps: int, batch: int
) -> tuple[Tensor | None, Tensor | None]:
    """Return how long each sequence is, (B, 1), and the numbers of the steps."""
    value = node.input(4)
    if value is None:
        return None, None
    known = planner.known(value)
    if known is not None and (known == steps).all():
        return None, None
    lengths = planner.tensor(value).reshaped((batch, 1))
    return lengths, planner.constant(np.arange(steps, dtype=np.int32))


def _same(array: Any) -> Any:
    return array


def _first(planner: Planner, value: Value | None, number: int) -> Tensor | None:
    """Return the state before the first step, (B, H)."""
    if value is None:
        return None
    tensor = planner.tensor(value)
    if value.name and anchor_is_batch_first(value):
        tensor = tensor.transposed((1, 0, 2))
    return at(tensor, 0, number)


def anchor_is_batch_first(value: Value) -> bool:
    """Whether a state's reader has the batch first."""
    return any(user.attribute("layout", 0) for user in value.users)


def _biases(
    planner: Planner, node: Node, number: int, dtype: Any
) -> tuple[Tensor | None, Tensor | None]:
    """Return the bias of all gates, and what GRU adds to the state's part alone."""
    value = node.input(3)
    if value is None:
        return None, None
    if not is_constant(value):
        raise Unplannable("a bias that is no constant is not supported")
    split = node.op_type == "GRU" and bool(node.attribute("linear_before_reset", 0))

    def whole(array: Any) -> Any:
        both = array[number].reshape(2, -1)
        if not split:
            return both.sum(0)
        third = both.shape[1] // 3
        made = both[0].copy()
        made[: 2 * third] += both[1, : 2 * third]
        return made

    def rest(array: Any) -> Any:
        both = array[number].reshape(2, -1)
        return both[1, -(both.shape[1] // 3) :].copy()

    bias = planner.weight(value, ("gates", number, split), whole, dtype)
    return bias, planner.weight(value, ("rest", number), rest, dtype) if split else None
