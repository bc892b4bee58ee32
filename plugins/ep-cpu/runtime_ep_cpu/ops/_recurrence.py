"""The recurrences behind RNN, LSTM and GRU: cells, and the walk in each direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._cells import (
    Activation,
    Chosen,
    Step,
    activation,
    chosen,
    directions,
    lengths,
    projected,
    walk,
)
from runtime_ep_cpu.ops._products import product


class Weights(NamedTuple):
    """One direction's weights: of the input, of the state, biases and peepholes."""

    w: Any
    r: Any
    bias_w: Any
    bias_r: Any
    peepholes: Any


class Cell(NamedTuple):
    """A kind of recurrence: how many gates, states and activations it has.

    ``clipped`` marks the activations of gates, whose arguments ``clip`` bounds.
    ``begin(weights, functions)`` gives the bias added to the projected input and the
    step over time.
    """

    gates: int
    states: int
    functions: tuple[str, ...]
    clipped: tuple[bool, ...]
    begin: Callable[[Weights, list[Activation]], tuple[Any, Step]]


class Options(NamedTuple):
    """The attributes that all recurrences share."""

    activation_alpha: Sequence[float] | None
    activation_beta: Sequence[float] | None
    activations: Sequence[str] | None
    clip: float | None
    direction: str
    hidden_size: int | None
    layout: int = 0


def recur(
    cell: Cell,
    options: Options,
    x: Any,
    w: Any,
    r: Any,
    b: Any,
    sequence_lens: Any,
    initial: Sequence[Any],
    peepholes: Any = None,
) -> tuple[Any, ...]:
    """Return ``y`` and the last states of a recurrence in each of its directions."""
    xp = namespace_of(x)
    if not x.ndim == w.ndim == r.ndim == 3:
        raise ValueError(
            f"the input and its weights must have rank 3, found {list(x.shape)}, "
            f"{list(w.shape)} and {list(r.shape)}"
        )
    backwards = directions(options.direction)
    if options.layout:
        x = x.swapaxes(0, 1)
        initial = [None if s is None else s.swapaxes(0, 1) for s in initial]
    hidden = _check(cell, options, x, w, r, b, len(backwards))
    steps, batch = x.shape[:2]
    state_shape = (len(backwards), batch, hidden)
    _check_states(initial, state_shape)
    check_size((steps, *state_shape), x.dtype)
    y = xp.empty((steps, *state_shape), x.dtype)
    last = [xp.zeros(state_shape, x.dtype) for _ in range(cell.states)]
    ends = lengths(sequence_lens, steps, batch)
    x = xp.ascontiguousarray(x)
    if not getattr(r.flags, "aligned", True):  # else every step would copy it
        r = r.copy()
    for d, functions in enumerate(_functions(cell, options, len(backwards))):
        weights = Weights(w[d], r[d], *_halves(b, d), _of(peepholes, d))
        with np.errstate(all="ignore"):
            bias, step = cell.begin(weights, functions)
            inputs = projected(x, w[d], bias)
            state = tuple(
                last[i][d] if s is None else s[d] for i, s in enumerate(initial)
            )
            state = walk(step, inputs, state, ends, backwards[d], y[:, d])
        for whole, part in zip(last, state, strict=True):
            whole[d] = part
    if options.layout:
        return y.transpose(2, 0, 1, 3), *(s.swapaxes(0, 1) for s in last)
    return y, *last


def _check(
    cell: Cell, options: Options, x: Any, w: Any, r: Any, b: Any, count: int
) -> int:
    """Return the hidden size after checking that the weights fit it and the input."""
    hidden = r.shape[-1]
    fits = (
        w.shape == (count, cell.gates * hidden, x.shape[2])
        and r.shape == (count, cell.gates * hidden, hidden)
        and options.hidden_size in (None, hidden)
        and (b is None or b.shape == (count, 2 * cell.gates * hidden))
    )
    if not fits:
        raise ValueError(
            f"weights {list(w.shape)}, {list(r.shape)} and bias "
            f"{None if b is None else list(b.shape)} do not fit {count} directions of "
            f"an input of shape {list(x.shape)}, hidden_size {options.hidden_size}"
        )
    return hidden


def _check_states(initial: Sequence[Any], shape: tuple[int, ...]) -> None:
    for state in initial:
        if state is not None and state.shape != shape:
            raise ValueError(
                f"an initial state of shape {list(state.shape)} is not {list(shape)}"
            )


def _of(values: Any, d: int) -> Any:
    return None if values is None else values[d]


def _halves(b: Any, d: int) -> tuple[Any, Any]:
    if b is None:
        return None, None
    half = b.shape[1] // 2
    return b[d, :half], b[d, half:]


def _functions(cell: Cell, options: Options, count: int) -> list[list[Activation]]:
    """Return the activations of each direction."""
    clips = [(options.clip or 0) * gate for gate in cell.clipped]
    return [
        [activation(*each) for each in zip(functions, clips, strict=True)]
        for functions in functions_of(cell, options, count)
    ]


def functions_of(cell: Cell, options: Options, count: int) -> list[list[Chosen]]:
    """Return which activations each of ``count`` directions has; raises ``ValueError``."""
    each = len(cell.functions)
    names = options.activations or cell.functions * count
    alphas, betas = options.activation_alpha, options.activation_beta
    found = chosen(names[: each * count], each * count, alphas, betas)
    return [found[d * each : (d + 1) * each] for d in range(count)]


def _begin_rnn(weights: Weights, functions: list[Activation]) -> tuple[Any, Step]:
    (f,), back = functions, weights.r.T

    def step(inputs: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        gate = product(state[0], back)
        gate += inputs
        return (f(gate),)

    return _sum(weights.bias_w, weights.bias_r), step


def _sum(a: Any, b: Any) -> Any:
    return None if a is None else a + b


def _begin_lstm(
    weights: Weights, functions: list[Activation], coupled: bool = False
) -> tuple[Any, Step]:
    """Gates lie in the order input, output, forget, cell; peepholes without cell.

    With ``coupled`` the forget gate is what the input gate leaves.
    """
    (f, g, h), back, size = functions, weights.r.T, weights.r.shape[-1]
    into, out, forget, cell = (slice(i * size, (i + 1) * size) for i in range(4))
    peep = weights.peepholes

    def step(inputs: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        _, c = state
        gates = product(state[0], back)
        gates += inputs
        if peep is None:
            gates[:, : 3 * size] = f(gates[:, : 3 * size])
            i, o, kept = gates[:, into], gates[:, out], gates[:, forget]
        else:
            i = f(gates[:, into] + peep[into] * c)
            kept = f(gates[:, forget] + peep[forget] * c)
        kept = 1 - i if coupled else kept
        c = kept * c + i * g(gates[:, cell])
        if peep is not None:
            o = f(gates[:, out] + peep[out] * c)
        return o * h(c.copy()), c

    return _sum(weights.bias_w, weights.bias_r), step


def _begin_lstm_coupled(
    weights: Weights, functions: list[Activation]
) -> tuple[Any, Step]:
    return _begin_lstm(weights, functions, coupled=True)


def _begin_gru(
    weights: Weights, functions: list[Activation], linear: bool = False
) -> tuple[Any, Step]:
    """Gates lie in the order update, reset, hidden.

    With ``linear`` the state is multiplied by its weights before it is reset.
    """
    (f, g), size = functions, weights.r.shape[-1]
    bias = weights.bias_w
    bias_hidden = 0
    if bias is not None:
        added = weights.bias_r.copy()
        if linear:
            bias_hidden = weights.bias_r[2 * size :]
            added[2 * size :] = 0
        bias = bias + added
    back = weights.r.T
    back_gates, back_hidden = back[:, : 2 * size], back[:, 2 * size :]

    def step(inputs: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        (h,) = state
        moved = product(h, back if linear else back_gates)
        gates = f(moved[:, : 2 * size] + inputs[:, : 2 * size])
        update, reset = gates[:, :size], gates[:, size:]
        if linear:
            hidden = reset * (moved[:, 2 * size :] + bias_hidden)
        else:
            hidden = product(reset * h, back_hidden)
        hidden += inputs[:, 2 * size :]
        hidden = g(hidden)
        return ((1 - update) * hidden + update * h,)

    return bias, step


def _begin_gru_linear(
    weights: Weights, functions: list[Activation]
) -> tuple[Any, Step]:
    return _begin_gru(weights, functions, linear=True)


RNN = Cell(1, 1, ("Tanh",), (True,), _begin_rnn)
LSTM = Cell(4, 2, ("Sigmoid", "Tanh", "Tanh"), (True, True, False), _begin_lstm)
LSTM_COUPLED = LSTM._replace(begin=_begin_lstm_coupled)
GRU = Cell(3, 1, ("Sigmoid", "Tanh"), (True, True), _begin_gru)
GRU_LINEAR = GRU._replace(begin=_begin_gru_linear)
