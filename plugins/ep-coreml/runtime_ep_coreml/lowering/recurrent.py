"""Recurrent layers: LSTM and RNN as MIL's operations, GRU step by step.

Sequences of several lengths are run to the end of the longest, backwards ones after they
are turned round, and what lies behind a sequence's end is masked. MIL's GRU is another
one: its reset gate multiplies another term, so that GRU is written out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from runtime_ep_coreml.guards import absent, attribute, constant, floating, ranks
from runtime_ep_coreml.lowering.broadcast import broadcast, zeros_like
from runtime_ep_coreml.scope import Array, Handle, Refused, Scope
from runtime_ep_coreml.table import lowers

ACTIVATIONS = {"Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu"}
MOST_STEPS = 128
"""Steps up to which a GRU is written out."""

COMMON = (floating, ranks(3, 3), constant(1, 2, 3), attribute("layout", None, 0))


def _names(at: Scope, defaults: list[str], directions: int) -> list[list[str]]:
    """Return MIL's names of the activations, for each direction."""
    given = at.attr("activations") or defaults * directions
    if at.attr("activation_alpha") or at.attr("activation_beta"):
        raise Refused("activations with parameters are not supported")
    unknown = sorted(set(given) - set(ACTIVATIONS))
    if unknown:
        raise Refused(f"the activation {unknown[0]} is not supported")
    count = len(defaults)
    named = [ACTIVATIONS[name] for name in given]
    return [named[i * count : (i + 1) * count] for i in range(directions)]


def _weights(at: Scope) -> tuple[Array, Array, Array]:
    """Return W (dirs, gates·H, I), R (dirs, gates·H, H) and B (dirs, 2·gates·H)."""
    w, r = np.asarray(at.need(1)), np.asarray(at.need(2))
    b = (
        np.asarray(at.need(3))
        if at.has(3)
        else np.zeros((len(w), 2 * w.shape[1]), w.dtype)
    )
    return w, r, b


def _reordered(array: Array, order: list[int]) -> Array:
    gates = np.split(array, len(order), axis=0)
    return np.ascontiguousarray(np.concatenate([gates[i] for i in order]))


def _initial(at: Scope, x: Handle, index: int, place: int, hidden: int) -> Handle:
    """Return a direction's state before the first step, (batch, hidden)."""
    if at.has(index):
        whole = at.x(index)
        part = at.op(
            "slice_by_index", x=whole, begin=[place, 0, 0], end=[place + 1, 0, 0],
            begin_mask=[False, True, True], end_mask=[False, True, True],
        )  # fmt: skip
        return at.op("squeeze", x=part, axes=[0])
    return _zeros(at, x, hidden)


def _zeros(at: Scope, x: Handle, hidden: int) -> Handle:
    batch = at.size(x, 1)
    if isinstance(batch, int):
        return at.constant(np.zeros((batch, hidden)), like=x)
    return at.op("fill", shape=at.join([batch, hidden]), value=at.like(x, 0))


class Lengths:
    """The lengths of sequences, where there are any: masks, last steps and turning."""

    def __init__(self, at: Scope, index: int = 4) -> None:
        self._at = at
        self.given = at.x(index) if at.has(index) else None

    def turned(self, x: Handle) -> Handle:
        """Return (sequence, batch, …) with each sequence backwards."""
        if self.given is None:
            return self._at.op("reverse", x=x, axes=[0])
        return self._at.op(
            "reverse_sequence", x=x, lengths=self.given, seq_axis=0, batch_axis=1
        )

    def masked(self, y: Handle) -> Handle:
        """Return (sequence, batch, hidden) with zeros behind the ends."""
        if self.given is None:
            return y
        at = self._at
        steps = self._steps(y)
        inside = at.op("less", x=steps, y=at.op("expand_dims", x=self.given, axes=[0]))
        return self._kept(y, inside)

    def last(self, y: Handle) -> Handle:
        """Return (batch, hidden), the step at which each sequence ends."""
        at = self._at
        steps = self._steps(y)
        ends = at.op("sub", x=self.given, y=np.int32(1))
        here = at.op("equal", x=steps, y=at.op("expand_dims", x=ends, axes=[0]))
        return at.op("reduce_sum", x=self._kept(y, here), axes=[0], keep_dims=False)

    def _kept(self, y: Handle, steps: Handle) -> Handle:
        """Return (sequence, batch, hidden) with zeros but at some (sequence, batch)."""
        at = self._at
        keep = broadcast(at, at.op("expand_dims", x=steps, axes=[2]), y)
        return at.op("select", cond=keep, a=y, b=zeros_like(at, y))

    def _steps(self, y: Handle) -> Handle:
        """Return the numbers of the steps, (sequence, 1)."""
        at = self._at
        count = at.sizes(y)[0]
        if count is not None:
            return at.constant(np.arange(count, dtype=np.int32).reshape(-1, 1))
        total = at.op("squeeze", x=at.size(y, 0), axes=[0])
        numbers = at.op("range_1d", start=np.int32(0), end=total, step=np.int32(1))
        return at.op("expand_dims", x=numbers, axes=[1])


Layer = Callable[[Handle, int], tuple[Handle, ...]]
"""Runs one direction forwards over (sequence, batch, input): its steps, then its states."""


def _directions(at: Scope, layer: Layer) -> tuple[Handle, ...]:
    """Run one or both directions; return Y and the last states as ONNX orders them."""
    x, lengths = at.x(), Lengths(at)
    direction = at.attr("direction", "forward")
    ways = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    steps, states = [], []
    for place, backwards in enumerate(ways[direction]):
        source = lengths.turned(x) if backwards else x
        made, *ends = layer(source, place)
        if lengths.given is not None:
            ends[0] = lengths.last(made)
        made = lengths.masked(made)
        steps.append(lengths.turned(made) if backwards else made)
        states.append(ends)
    y = at.op("stack", values=steps, axis=1)
    finals = [
        at.op("stack", values=list(parts), axis=0)
        for parts in zip(*states, strict=True)
    ]
    return (y, *finals)


@lowers(
    "LSTM",
    guards=(*COMMON, constant(7), attribute("input_forget", None, 0)),
    since=7,
)
def lstm(at: Scope) -> Any:
    """Gates in MIL's order; both biases are one."""
    if at.has(4) and at.wanted(2):
        raise Refused("cell states at the ends of sequences of several lengths")
    w, r, b = _weights(at)
    hidden = r.shape[2]
    named = _names(at, ["Sigmoid", "Tanh", "Tanh"], len(w))
    order = [0, 2, 1, 3]  # input, output, forget, cell → input, forget, output, cell
    clip = at.attr("clip")
    if clip:
        raise Refused("clip is not supported")

    def layer(x: Handle, place: int) -> tuple[Handle, ...]:
        gates, cell, out = named[place]
        extra: dict[str, Any] = {}
        if at.has(7):
            i, o, f = np.split(np.asarray(at.need(7))[place], 3)
            extra["peephole"] = np.concatenate([i, f, o])
        total = b[place].reshape(2, -1).sum(axis=0)
        return tuple(
            at.op(
                "lstm", x=x, initial_h=_initial(at, x, 5, place, hidden),
                initial_c=_initial(at, x, 6, place, hidden),
                weight_ih=_reordered(w[place], order),
                weight_hh=_reordered(r[place], order), bias=_reordered(total, order),
                direction="forward", output_sequence=True, recurrent_activation=gates,
                cell_activation=cell, activation=out, **extra,
            )
        )  # fmt: skip

    return _directions(at, layer)


@lowers("RNN", guards=COMMON, since=7)
def rnn(at: Scope) -> Any:
    """One activation of the weighted sum of input and state."""
    w, r, b = _weights(at)
    hidden = r.shape[2]
    named = _names(at, ["Tanh"], len(w))
    if at.attr("clip"):
        raise Refused("clip is not supported")

    def layer(x: Handle, place: int) -> tuple[Handle, ...]:
        total = b[place].reshape(2, -1).sum(axis=0)
        return tuple(
            at.op(
                "rnn", x=x, initial_h=_initial(at, x, 5, place, hidden),
                weight_ih=w[place], weight_hh=r[place], bias=total, direction="forward",
                output_sequence=True, activation=named[place][0],
            )
        )  # fmt: skip

    return _directions(at, layer)


@lowers("GRU", guards=(*COMMON, absent(4, "sequence_lens")), since=7)
def gru(at: Scope) -> Any:
    """Written out step by step, the reset gate before or after the product."""
    w, r, b = _weights(at)
    hidden = r.shape[2]
    named = _names(at, ["Sigmoid", "Tanh"], len(w))
    steps = at.sizes(at.x())[0]
    if steps is None or steps > MOST_STEPS:
        raise Refused(f"the number of steps must be known, and at most {MOST_STEPS}")
    if at.attr("clip"):
        raise Refused("clip is not supported")
    after = bool(at.attr("linear_before_reset", 0))

    def layer(x: Handle, place: int) -> tuple[Handle, ...]:
        state = _initial(at, x, 5, place, hidden)
        cell = _Gru(at, x, w[place], r[place], b[place], named[place], after)
        made = []
        for step in range(steps):
            state = cell.step(step, state)
            made.append(state)
        return at.op("stack", values=made, axis=0), state

    return _directions(at, layer)


class _Gru:
    """The steps of a GRU in one direction; the products with inputs are made at once."""

    def __init__(
        self,
        at: Scope,
        x: Handle,
        w: Array,
        r: Array,
        b: Array,
        names: list[str],
        after: bool,
    ) -> None:
        self._at, self._names, self._after = at, names, after
        self._hidden = r.shape[1]
        wb, rb = b.reshape(2, -1)
        size = self._hidden
        bias = wb + np.concatenate([rb[: 2 * size], np.zeros_like(rb[2 * size :])])
        product = at.op("matmul", x=x, y=at.constant(w.T, like=x))
        self._inputs = at.op("add", x=product, y=at.constant(bias, like=x))
        self._gates = at.constant(r[: 2 * size].T, like=x)
        self._new = at.constant(r[2 * size :].T, like=x)
        self._new_bias = at.constant(rb[2 * size :], like=x)

    def _part(self, value: Handle, first: int, last: int) -> Handle:
        size = self._hidden
        return self._at.op(
            "slice_by_index", x=value, begin=[0, first * size], end=[0, last * size],
            begin_mask=[True, False], end_mask=[True, False],
        )  # fmt: skip

    def step(self, number: int, state: Handle) -> Handle:
        """Return the state after a step, (batch, hidden)."""
        at = self._at
        row = at.op(
            "slice_by_index", x=self._inputs, begin=[number, 0, 0],
            end=[number + 1, 0, 0], begin_mask=[False, True, True],
            end_mask=[False, True, True],
        )  # fmt: skip
        row = at.op("squeeze", x=row, axes=[0])
        gates = at.op("matmul", x=state, y=self._gates)
        gates = at.op("add", x=self._part(row, 0, 2), y=gates)
        gates = at.op(self._names[0], x=gates)
        update, reset = self._part(gates, 0, 1), self._part(gates, 1, 2)
        if self._after:
            inner = at.op("matmul", x=state, y=self._new)
            inner = at.op("add", x=inner, y=self._new_bias)
            inner = at.op("mul", x=reset, y=inner)
        else:
            inner = at.op("mul", x=reset, y=state)
            inner = at.op("matmul", x=inner, y=self._new)
            inner = at.op("add", x=inner, y=self._new_bias)
        new = at.op(self._names[1], x=at.op("add", x=self._part(row, 2, 3), y=inner))
        change = at.op("mul", x=update, y=at.op("sub", x=state, y=new))
        return at.op("add", x=new, y=change)
