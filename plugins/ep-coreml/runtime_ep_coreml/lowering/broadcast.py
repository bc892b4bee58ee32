"""Brings values to a common shape where an operation does not broadcast by itself."""

from __future__ import annotations

import numpy as np

from runtime_ep_coreml.scope import Handle, Scope


def broadcast(at: Scope, x: Handle, *others: Handle) -> Handle:
    """Return a value in the shape that it and others broadcast to."""
    shapes = [at.sizes(value) for value in (x, *others)]
    if all(None not in shape for shape in shapes):
        return repeated(at, x, np.broadcast_shapes(*shapes))  # type: ignore[arg-type]
    for other in others:
        x = _blended(at, x, other)
    return x


def repeated(at: Scope, x: Handle, shape: tuple[int, ...]) -> Handle:
    """Return a value of known sizes repeated to a shape."""
    have = at.fixed(x)
    if have == tuple(shape):
        return x
    if len(have) < len(shape):
        have = (1,) * (len(shape) - len(have)) + have
        x = at.reshape(x, have)
    reps = [want // size for want, size in zip(shape, have, strict=True)]
    return x if set(reps) == {1} else at.op("tile", x=x, reps=np.array(reps, np.int32))


def _blended(at: Scope, x: Handle, other: Handle) -> Handle:
    """Broadcast by an operation that changes no element."""
    if at.sizes(other) == ():
        return x
    if at.kind(x) == "bool":
        return at.op(
            "logical_or", x=x, y=at.op("fill_like", ref_tensor=other, value=False)
        )
    nothing = at.op("fill_like", ref_tensor=other, value=at.like(x, 0))
    return at.op("add", x=x, y=nothing)


def zeros_like(at: Scope, x: Handle) -> Handle:
    """Return as many zeros, also in place of what is no number."""
    return at.op("fill_like", ref_tensor=x, value=at.like(x, 0))


def filled_out(at: Scope, x: Handle, shape: Handle) -> Handle:
    """Return a value broadcast with a shape that is known at run time."""
    if at.kind(x) == "bool":
        return at.op("logical_or", x=x, y=at.op("fill", shape=shape, value=False))
    return at.op("add", x=x, y=at.op("fill", shape=shape, value=at.like(x, 0)))
