"""The cells of recurrent operators: what one register of hidden units does at a step.

Cells are formulas over a math namespace, as in the standard::

    RNN         h' = f(x + s)
    LSTM        i, o, f, c̃ = gates;  c' = f·c + i·c̃;  h' = o·h(c')
    GRU         z, r = gates of h;  h̃ = g(x + s of r·h);  h' = (1 - z)·h̃ + z·h
    GRU_LINEAR  z, r = gates of h;  h̃ = g(x + r·s);       h' = (1 - z)·h̃ + z·h

where x is the projected input of a gate with its bias, and s the product of the state
with the recurrent weights, with the bias of these. `STAGES` tells which gates' products
a step computes at once: those of GRU's hidden gate need what its reset gate says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from runtime_ep_cpu import formulas

STAGES: Final = {
    "RNN": ((0, 1),),
    "LSTM": ((0, 4),),
    "GRU": ((0, 2), (2, 1)),
    "GRU_LINEAR": ((0, 3),),
}
"""Of each cell, the first gate and the number of gates of each stage of a step."""


class Function(NamedTuple):
    """An activation by its lower-case name, with its numbers."""

    name: str
    alpha: float | None = None
    beta: float | None = None


def _hard_sigmoid(m: Any, x: Any, alpha: float, beta: float) -> Any:
    return formulas.hard_sigmoid(m, x, alpha=alpha, beta=beta)


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "relu": lambda m, x, a, b: formulas.relu(m, x),
    "tanh": lambda m, x, a, b: m.tanh(x),
    "sigmoid": lambda m, x, a, b: formulas.sigmoid(m, x),
    "affine": lambda m, x, a, b: a * x + b,
    "leakyrelu": lambda m, x, a, b: m.where(x < 0, a * x, x),
    "thresholdedrelu": lambda m, x, a, b: m.where(x >= a, x, 0.0),
    "scaledtanh": lambda m, x, a, b: a * m.tanh(b * x),
    "hardsigmoid": _hard_sigmoid,
    "elu": lambda m, x, a, b: m.where(x < 0, a * m.expm1(x), x),
    "softsign": lambda m, x, a, b: formulas.softsign(m, x),
    "softplus": lambda m, x, a, b: formulas.softplus(m, x),
}
"""The activations of the standard; each takes alpha and beta, and uses its own."""


class Cell(NamedTuple):
    """What is the same for all units: the kind, its functions, and further attributes.

    ``clip`` bounds the arguments of gates' functions; 0 is no bound. ``coupled`` makes an
    LSTM's forget gate what its input gate leaves.
    """

    kind: str
    functions: tuple[Function, ...]
    clip: float = 0.0
    coupled: bool = False

    def gate(self, m: Any, which: int, x: Any) -> Any:
        """Return a gate's value, its argument bounded."""
        if self.clip > 0:
            x = m.minimum(m.maximum(x, -self.clip), self.clip)
        return self.apply(m, which, x)

    def apply(self, m: Any, which: int, x: Any) -> Any:
        """Return a function of a number."""
        name, alpha, beta = self.functions[which]
        return FUNCTIONS[name](m, x, alpha, beta)


Gates = Callable[..., Any]
"""Gives the argument of a gate by its number, read after what else is given has been
computed: so few values wait in registers."""


def rnn(cell: Cell, m: Any, gate: Any) -> Any:
    """Return the next state from the gate's argument."""
    return cell.gate(m, 0, gate)


def lstm(
    cell: Cell, m: Any, gates: Gates, c: Any, peepholes: Sequence[Any]
) -> tuple[Any, Any]:
    """Return the next state and cell from arguments of input, output, forget and cell.

    ``peepholes`` are the factors of the cell for input, output and forget, or none.
    """

    def gate(number: int, c: Any, *earlier: Any) -> Any:
        x = gates(number, *earlier)
        return cell.gate(m, 0, x + peepholes[number] * c if peepholes else x)

    i = gate(0, c)
    added = i * cell.gate(m, 1, gates(3, i))
    kept = 1.0 - i if cell.coupled else gate(2, c, added)
    c = kept * c + added
    o = gate(1, c, c)
    return o * cell.apply(m, 2, m.after(c, o)), c


def gru(cell: Cell, m: Any, update: Any, hidden: Any, h: Any) -> Any:
    """Return the next state from the update gate and the hidden gate's argument."""
    return (1.0 - update) * cell.gate(m, 1, hidden) + update * h
