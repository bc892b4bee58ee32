"""The cells of LSTM, GRU and RNN: for each step a product, and an expression after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from runtime.graph import Node

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import Expression, Instruction
from runtime_ep_cuda.dtypes import DOUBLE, FLOAT
from runtime_ep_cuda.operations import Call, Pointwise, Product, Spec
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.tensor import Tensor

ACTIVATIONS = {
    "Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu", "Softsign": "softsign",
    "Softplus": "softplus",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """One direction of a recurrence: its tensors, all with steps first.

    ``gates`` (S, B, G·H) are the inputs' part; ``weights`` (G·H, H) those of the state;
    ``hidden`` (S, B, H) is where states go; ``bias`` is what GRU adds to the state's part.
    Where sequences have ``lengths`` (B, 1), ``places`` (S,) are the numbers of steps.
    """

    node: Node
    gates: Tensor
    weights: Tensor
    hidden: Tensor
    state: Tensor | None
    cell: Tensor | None
    peepholes: Tensor | None
    bias: Tensor | None
    activations: Sequence[str]
    order: Sequence[int]
    final_cell: Tensor | None
    lengths: Tensor | None
    places: Tensor | None


def at(tensor: Tensor, axis: int, place: int) -> Tensor:
    """Return one slice of a tensor, without the axis."""
    part = tensor.sliced(axis, place, 1)
    return part.transposed([a for a in range(part.rank) if a != axis])


def product(
    planner: Planner, a: Tensor, weights: Tensor, y: Tensor, add: Tensor | None
) -> None:
    """Multiply a (1, M, K) by transposed weights (N, K) into y, plus a summand."""
    b = weights.transposed((1, 0)).broadcast((1, weights.shape[1], weights.shape[0]))
    tf32 = planner.setting.tf32 and a.dtype == FLOAT
    bare = Product(Spec.of(a), Spec.of(b), Spec.of(y), tf32=tf32)
    if add is not None:
        wide = add.broadcast(y.shape)
        fused = Product(
            Spec.of(a), Spec.of(b), Spec.of(y), 1.0, (Spec.of(wide),),
            (Pointwise("add", 0),), tf32,
        )  # fmt: skip
        if planner.can(fused) and planner.call(Call(fused, (a, b, wide), y)):
            return
    if not planner.call(Call(bare, (a, b), y)):
        raise Unplannable(f"no library multiplies {list(a.shape)} by {list(b.shape)}")
    if add is not None:
        sum_ = Expression(2, (Instruction("add", (0, 1)),), (2,))
        planner.launch(elementwise(sum_, [y, add.broadcast(y.shape)], [y]))


class _Cell:
    """Writes a cell's expression: operands first, then what is computed of them."""

    def __init__(self) -> None:
        self.operands: list[Tensor] = []
        self._steps: list[tuple[str, tuple[Any, ...]]] = []

    def read(self, tensor: Tensor) -> tuple[str, int]:
        """Add an operand."""
        self.operands.append(tensor)
        return "operand", len(self.operands) - 1

    def do(self, name: str, *given: tuple[str, int]) -> tuple[str, int]:
        """Add an operation."""
        self._steps.append((name, given))
        return "step", len(self._steps) - 1

    def number(self, value: float) -> tuple[str, int]:
        """Add a constant."""
        self._steps.append(("constant", (value,)))
        return "step", len(self._steps) - 1

    def expression(self, *results: tuple[str, int]) -> Expression:
        """Return all of it."""
        count = len(self.operands)

        def number(place: tuple[str, int]) -> int:
            return place[1] + (count if place[0] == "step" else 0)

        double = any(tensor.dtype == DOUBLE for tensor in self.operands)
        kind = "float64" if double else "float32"
        made = [
            Instruction("constant", (), (("type", kind), ("value", given[0])))
            if name == "constant"
            else Instruction(name, tuple(map(number, given)))
            for name, given in self._steps
        ]
        return Expression(count, tuple(made), tuple(map(number, results)))


def _part(tensor: Tensor, number: int, hidden: int) -> Tensor:
    return tensor.sliced(tensor.rank - 1, number * hidden, hidden)


def _states(planner: Planner, way: Way, place: int, before: Tensor | None) -> Tensor:
    """Return the gates of a step: the inputs' part and, if there is one, the state's."""
    given = at(way.gates, 0, place)
    if before is None:
        return given
    made = planner.new(given.dtype, (1, *given.shape))
    state = planner.dense(before, None, given.dtype)
    product(planner, state.broadcast((1, *state.shape)), way.weights, made, given)
    return at(made, 0, 0)


Kept = tuple[tuple[str, int], Tensor | None, Tensor]
"""What a step makes: its number, what it was before, and where it goes."""


def _end(
    planner: Planner,
    way: Way,
    place: int,
    cell: _Cell,
    made: tuple[str, int],
    before: Tensor | None,
    also: Sequence[Kept] = (),
) -> Tensor:
    """Write a step's result; return the state to go on with.

    Where a sequence has ended its result is zero, and states stay what they were.
    """
    target = at(way.hidden, 0, place)
    results = [made, *(number for number, _, _ in also)]
    targets = [target, *(tensor for _, _, tensor in also)]
    if way.lengths is not None and way.places is not None:
        here = way.places.sliced(0, place, 1)
        going = cell.do("less", cell.read(here), cell.read(way.lengths))
        zero = cell.number(0.0)
        kept = [(made, before), *((number, old) for number, old, _ in also)]
        results = [cell.do("where", going, made, zero)] + [
            cell.do("where", going, new, zero if old is None else cell.read(old))
            for new, old in kept
        ]
        state = planner.new(target.dtype, target.shape)
        targets.insert(1, state)
    else:
        state = target
    wide = [tensor.broadcast(target.shape) for tensor in cell.operands]
    planner.launch(elementwise(cell.expression(*results), wide, targets))
    return state


def _walk_lstm(planner: Planner, way: Way) -> Tensor:
    f, g, h = way.activations
    hidden = way.hidden.shape[2]
    before, memory = way.state, way.cell
    wide = DOUBLE if way.gates.dtype == DOUBLE else FLOAT
    for index, place in enumerate(way.order):
        gates = _states(planner, way, place, before)
        cell = _Cell()
        i, o, k, c = (cell.read(_part(gates, n, hidden)) for n in range(4))
        old = None if memory is None else cell.read(memory)
        holes = _peepholes(cell, way, hidden)
        if old is not None and holes:
            i = cell.do("add", i, cell.do("multiply", holes[0], old))
            k = cell.do("add", k, cell.do("multiply", holes[2], old))
        new = cell.do("multiply", cell.do(f, i), cell.do(g, c))
        if old is not None:
            new = cell.do("add", cell.do("multiply", cell.do(f, k), old), new)
        if holes:
            o = cell.do("add", o, cell.do("multiply", holes[1], new))
        made = cell.do("multiply", cell.do(f, o), cell.do(h, new))
        is_last = index == len(way.order) - 1
        target = way.final_cell if is_last else None
        if target is None:
            target = planner.new(wide, way.hidden.shape[1:])
        before = _end(planner, way, place, cell, made, before, [(new, memory, target)])
        memory = target
    return _given(before)


def _peepholes(cell: _Cell, way: Way, hidden: int) -> list[tuple[str, int]]:
    """Return the weights by which the gates i, o and f read the memory, if they do."""
    if way.peepholes is None:
        return []
    return [cell.read(_part(way.peepholes, n, hidden)) for n in range(3)]


def _given(state: Tensor | None) -> Tensor:
    if state is None:
        raise Unplannable("a recurrence without steps")
    return state


def _walk_rnn(planner: Planner, way: Way) -> Tensor:
    before = way.state
    for place in way.order:
        cell = _Cell()
        gates = _states(planner, way, place, before)
        made = cell.do(way.activations[0], cell.read(gates))
        before = _end(planner, way, place, cell, made, before)
    return _given(before)


def _walk_gru(planner: Planner, way: Way) -> Tensor:
    walk = _gru_after if way.node.attribute("linear_before_reset", 0) else _gru_before
    before = way.state
    if before is None:
        shape = way.hidden.shape[1:]
        zeros = np.zeros((1,) * len(shape), way.gates.dtype)
        before = planner.copy(planner.constant(zeros).broadcast(shape))
    for place in way.order:
        before = walk(planner, way, place, before)
    return before


def _gru_after(planner: Planner, way: Way, place: int, before: Tensor) -> Tensor:
    """Plan a step whose reset gate is applied to the state's product."""
    given, hidden = at(way.gates, 0, place), way.hidden.shape[2]
    state = planner.dense(before, None, given.dtype)
    made = planner.new(given.dtype, (1, *given.shape))
    product(planner, state.broadcast((1, *state.shape)), way.weights, made, None)
    turned = at(made, 0, 0)
    cell = _Cell()
    z, r, n = (cell.read(_part(given, k, hidden)) for k in range(3))
    pz, pr, pn = (cell.read(_part(turned, k, hidden)) for k in range(3))
    old = cell.read(before)
    f, g = way.activations
    if way.bias is not None:
        pn = cell.do("add", pn, cell.read(way.bias))
    reset = cell.do(f, cell.do("add", r, pr))
    new = cell.do(g, cell.do("add", n, cell.do("multiply", reset, pn)))
    result = _mixed(cell, cell.do(f, cell.do("add", z, pz)), new, old)
    return _end(planner, way, place, cell, result, before)


def _gru_before(planner: Planner, way: Way, place: int, before: Tensor) -> Tensor:
    """Plan a step whose reset gate is applied to the state itself."""
    given = at(way.gates, 0, place)
    batch, hidden = way.hidden.shape[1:]
    f, g = way.activations
    state = planner.dense(before, None, given.dtype)
    gates = planner.new(given.dtype, (1, batch, 2 * hidden))
    first = way.weights.sliced(0, 0, 2 * hidden)
    summand = given.sliced(1, 0, 2 * hidden)
    product(planner, state.broadcast((1, *state.shape)), first, gates, summand)
    both = at(gates, 0, 0)
    cell = _Cell()
    reset = cell.do(f, cell.read(_part(both, 1, hidden)))
    kept = planner.new(given.dtype, (1, batch, hidden))
    made = cell.do("multiply", reset, cell.read(before))
    planner.launch(elementwise(cell.expression(made), cell.operands, [at(kept, 0, 0)]))
    last = planner.new(given.dtype, (1, batch, hidden))
    rest = way.weights.sliced(0, 2 * hidden, hidden)
    product(planner, kept, rest, last, _part(given, 2, hidden))
    cell = _Cell()
    gate = cell.do(f, cell.read(_part(both, 0, hidden)))
    new = cell.do(g, cell.read(at(last, 0, 0)))
    result = _mixed(cell, gate, new, cell.read(before))
    return _end(planner, way, place, cell, result, before)


def _mixed(cell: _Cell, gate: Any, new: Any, old: Any) -> Any:
    """Write (1 - gate) · new + gate · old."""
    other = cell.do("subtract", cell.number(1.0), gate)
    return cell.do(
        "add", cell.do("multiply", other, new), cell.do("multiply", gate, old)
    )


WALKS: dict[str, Callable[[Planner, Way], Tensor]] = {
    "LSTM": _walk_lstm,
    "GRU": _walk_gru,
    "RNN": _walk_rnn,
}
"""What plans all steps of a direction and returns the last state."""
