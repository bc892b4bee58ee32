"""Activations of the recurrent operators, and the walk over time steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._products import product

Activation = Callable[[Any], Any]
"""A function of an array that it may overwrite."""


def _relu(xp: Any, x: Any, alpha: float, beta: float) -> Any:
    return xp.maximum(x, 0, out=x)


def _tanh(xp: Any, x: Any, alpha: float, beta: float) -> Any:
    return xp.tanh(x, out=x)


def _sigmoid(xp: Any, x: Any, alpha: float, beta: float) -> Any:
    xp.multiply(x, -1, out=x)  # NumPy's negative is wrong in place on some strides
    xp.exp(x, out=x)
    x += 1
    return xp.reciprocal(x, out=x)


def _affine(xp: Any, x: Any, alpha: float, beta: float) -> Any:
    x *= x.dtype.type(alpha)
    x += x.dtype.type(beta)
    return x


def _leaky_relu(xp: Any, x: Any, alpha: float, beta: float) -> Any:
    return xp.where(x >= 0, x, x * x.dtype.type(alpha))


def _thresholded_relu(xp: Any, x: Any, alpha: float, beta: float) -> Any:
    return xp.where(x >= alpha, x, x.dtype.type(0))


def _scaled_tanh(xp: Any, x: Any, alpha: float, beta: float) -> Any:
    return xp.tanh(x * x.dtype.type(beta)) * x.dtype.type(alpha)


def _hard_sigmoid(xp: Any, x: Any, alpha: float, beta: float) -> Any:
    return xp.clip(_affine(xp, x, alpha, beta), 0, 1, out=x)


def _elu(xp: Any, x: Any, alpha: float, beta: float) -> Any:
    return xp.where(x >= 0, x, x.dtype.type(alpha) * xp.expm1(x))


def _softsign(xp: Any, x: Any, alpha: float, beta: float) -> Any:
    return x / (1 + xp.abs(x))


def _softplus(xp: Any, x: Any, alpha: float, beta: float) -> Any:
    return xp.logaddexp(x, x.dtype.type(0))


_FUNCTIONS: dict[str, tuple[Any, float | None, float | None]] = {
    "relu": (_relu, None, None),
    "tanh": (_tanh, None, None),
    "sigmoid": (_sigmoid, None, None),
    "affine": (_affine, 1.0, 0.0),
    "leakyrelu": (_leaky_relu, 0.01, None),
    "thresholdedrelu": (_thresholded_relu, 1.0, None),
    "scaledtanh": (_scaled_tanh, 1.0, 1.0),
    "hardsigmoid": (_hard_sigmoid, 0.2, 0.5),
    "elu": (_elu, 1.0, None),
    "softsign": (_softsign, None, None),
    "softplus": (_softplus, None, None),
}
"""Each activation with its default alpha and beta, ``None`` where it has none."""


class Chosen(NamedTuple):
    """An activation by its lower-case name, with alpha and beta where it has them."""

    name: str
    alpha: float | None
    beta: float | None


def chosen(
    names: Sequence[str],
    count: int,
    alphas: Sequence[float] | None,
    betas: Sequence[float] | None,
) -> list[Chosen]:
    """Return ``count`` activations by name; raises ``ValueError`` for unknown ones.

    Those that have an alpha or beta take the next of the values given.
    """
    if len(names) != count:
        raise ValueError(f"{count} activations are needed, found {list(names)}")
    left, right = iter(alphas or ()), iter(betas or ())
    found = []
    for name in names:
        if name.lower() not in _FUNCTIONS:
            raise ValueError(f"no activation is called {name!r}")
        _, alpha, beta = _FUNCTIONS[name.lower()]
        alpha = alpha if alpha is None else next(left, alpha)
        beta = beta if beta is None else next(right, beta)
        found.append(Chosen(name.lower(), alpha, beta))
    return found


def activation(function: Chosen, clip: float) -> Activation:
    """Return an activation that bounds its argument; a clip of 0 bounds nothing."""
    name, alpha, beta = function
    return _clipped(_FUNCTIONS[name][0], alpha, beta, clip)


def _clipped(function: Any, alpha: Any, beta: Any, clip: float) -> Activation:
    def activate(x: Any) -> Any:
        xp = namespace_of(x)
        if clip > 0:
            xp.clip(x, -clip, clip, out=x)
        return function(xp, x, alpha, beta)

    return activate


def directions(direction: str) -> tuple[bool, ...]:
    """Return for each direction of a recurrent operator whether it runs backwards."""
    known = {"forward": (False,), "foward": (False,), "reverse": (True,)}
    known["bidirectional"] = (False, True)
    if direction not in known:
        raise ValueError(f"direction cannot be {direction!r}")
    return known[direction]


def lengths(sequence_lens: Any, steps: int, batch: int) -> np.ndarray | None:
    """Return the length of each sequence on the host, ``None`` if all are whole."""
    if sequence_lens is None:
        return None
    found = np.array(sequence_lens.tolist(), np.int64)
    if found.shape != (batch,) or np.any((found < 0) | (found > steps)):
        raise ValueError(
            f"sequence_lens {found.tolist()} do not fit {batch} sequences of {steps}"
        )
    return None if np.all(found == steps) else found


Step = Callable[[Any, tuple[Any, ...]], tuple[Any, ...]]


def walk(
    step: Step, inputs: Any, state: tuple[Any, ...], ends: Any, backwards: bool, y: Any
) -> tuple[Any, ...]:
    """Run ``step(input, state)`` over time, ``y[t]`` taking the first of each state.

    A sequence that has ended, or not begun backwards, keeps its state and yields 0;
    the last state of an empty one is 0.
    """
    xp = namespace_of(inputs)
    longest = inputs.shape[0] if ends is None else int(ends.max(initial=0))
    y[longest:] = 0
    order = range(longest)
    for t in reversed(order) if backwards else order:
        found = step(inputs[t], state)
        if ends is None or t < ends.min():
            state = found
            y[t] = found[0]
        else:
            alive = xp.asarray(t < ends)[:, None]
            state = tuple(
                xp.where(alive, new, old) for new, old in zip(found, state, strict=True)
            )
            y[t] = xp.where(alive, found[0], 0)
    if ends is not None and ends.min() == 0:
        state = tuple(xp.where(xp.asarray(ends > 0)[:, None], s, 0) for s in state)
    return state


def projected(x: Any, w: Any, bias: Any) -> Any:
    """Return ``x (T, B, I) @ w' (I, G)`` for all steps at once, the bias added."""
    y = product(x, w.T)
    if bias is not None:
        y += bias
    return y
