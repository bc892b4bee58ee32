"""Look-ups and updates by indices, which MIL wants to be at least zero."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.graph import Node

from runtime_ep_coreml.guards import FLOATS, WIDE, constant, ranks, unless
from runtime_ep_coreml.lowering.broadcast import broadcast
from runtime_ep_coreml.narrowing import may_grow
from runtime_ep_coreml.scope import Handle, Refused, Scope, narrowed
from runtime_ep_coreml.table import lowers

MODES = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


def _counted(at: Scope, index: int, size: Any) -> Handle:
    """Return indices counted from the front; ``size`` is an int, an array or a handle."""
    known = at.known(index)
    if known is not None and isinstance(size, (int, np.ndarray)):
        numbers = np.asarray(known).astype(np.int64)
        return at.constant(
            narrowed(np.where(numbers < 0, numbers + size, numbers), "int32")
        )
    indices = at.x(index)
    if isinstance(size, (int, np.ndarray)):
        size = np.asarray(size, np.int32)
    behind = at.cast(at.op("less", x=indices, y=np.int32(0)), "int32")
    return at.op("add", x=indices, y=at.op("mul", x=behind, y=size))


def _size(at: Scope, x: Handle, axis: int) -> Any:
    size = at.size(x, axis)
    return size if isinstance(size, int) else at.op("squeeze", x=size, axes=[0])


def _numeric(at: Scope, index: int = 0) -> tuple[Handle, bool]:
    """Return an input as numbers, which booleans are turned into and back."""
    x = at.x(index)
    flags = at.kind(x) == "bool"
    return (at.cast(x, "int32") if flags else x), flags


def _back(at: Scope, made: Handle, flags: bool) -> Handle:
    return at.cast(made, "bool") if flags else made


@lowers("Gather", guards=(ranks(1),))
def gather(at: Scope) -> Handle:
    """Slices along an axis."""
    x, flags = _numeric(at)
    axis = at.axis(x, 0)
    indices = _counted(at, 1, _size(at, x, axis))
    return _back(at, at.op("gather", x=x, indices=indices, axis=axis), flags)


@lowers("GatherElements", guards=(ranks(1),))
def gather_elements(at: Scope) -> Handle:
    """Single elements along an axis."""
    x, flags = _numeric(at)
    axis = at.axis(x, 0)
    indices = _counted(at, 1, _size(at, x, axis))
    if not _alike(at, axis):
        raise Refused("indices of another shape than the data's are not supported")
    made = at.op("gather_along_axis", x=x, indices=indices, axis=axis)
    return _back(at, made, flags)


def _alike(at: Scope, axis: int) -> bool:
    """Whether data and indices are known to have the same sizes along the other axes."""
    data, indices = (value.shape if value else None for value in at.node.inputs[:2])
    if data is None or indices is None:
        return False
    pairs = list(zip(data, indices, strict=True))
    del pairs[axis]
    return all(size is not None and size == other for size, other in pairs)


def _tuple_sizes(at: Scope, x: Handle, index: int, batch: int = 0) -> np.ndarray:
    """Return the sizes of the axes that index tuples count along."""
    value = at.node.input(index)
    last = (value.shape or (None,))[-1] if value is not None else None
    if not isinstance(last, int):
        raise Refused("the length of index tuples must be known")
    sizes = at.sizes(x)[batch : batch + last]
    if None in sizes:
        raise Refused("the sizes that are indexed must be known")
    return np.array(sizes, np.int32)


@lowers("GatherND", guards=(ranks(1), constant(1)), since=11)
def gather_nd(at: Scope) -> Handle:
    """Slices by tuples of indices that are known.

    Core ML was seen to return the first slice for others, of some shapes.
    """
    x, flags = _numeric(at)
    batch = at.attr("batch_dims", 0)
    indices = _counted(at, 1, _tuple_sizes(at, x, 1, batch))
    made = at.op("gather_nd", x=x, indices=indices, batch_dims=batch)
    return _back(at, made, flags)


def _wraps(node: Node) -> bool:
    value = node.input(0)
    kind = None if value is None else value.dtype
    combined = node.attribute("reduction", "none") in ("add", "mul")
    return combined and kind not in FLOATS | WIDE


SCATTER = (
    ranks(1),
    unless(_wraps, "sums and products of integers of 8 and 16 bits are not supported"),
    may_grow,
)


def _mode(at: Scope) -> str:
    return MODES[at.attr("reduction", "none")]


@lowers("ScatterElements", guards=SCATTER, since=11)
def scatter_elements(at: Scope) -> Handle:
    """Single elements replaced or combined along an axis."""
    x, flags = _numeric(at)
    axis = at.axis(x, 0)
    indices = _counted(at, 1, _size(at, x, axis))
    updates = _numeric(at, 2)[0]
    if (
        at.fixed(indices)
        != at.fixed(x)[:axis]
        + at.fixed(indices)[axis : axis + 1]
        + (at.fixed(x)[axis + 1 :])
    ):
        raise Refused("indices of another shape than the data's are not supported")
    made = at.op(
        "scatter_along_axis", data=x, indices=indices, updates=updates, axis=axis,
        mode=_mode(at),
    )  # fmt: skip
    return _back(at, made, flags)


@lowers("ScatterND", guards=SCATTER, since=11)
def scatter_nd(at: Scope) -> Handle:
    """Slices replaced or combined at tuples of indices."""
    x, flags = _numeric(at)
    indices = _counted(at, 1, _tuple_sizes(at, x, 1))
    updates = _numeric(at, 2)[0]
    made = at.op("scatter_nd", data=x, indices=indices, updates=updates, mode=_mode(at))
    return _back(at, made, flags)


@lowers(
    "OneHot",
    guards=(
        constant(1),
        unless(
            lambda n: n.inputs[0] is not None and n.inputs[0].dtype in (1, 10),
            "indices that are floats are not supported",
        ),
    ),
    since=9,
)
def one_hot(at: Scope) -> Handle:
    """On where the index is, off elsewhere, along a new axis."""
    indices, depth = at.x(), int(at.need(1).reshape(-1)[0])
    rank = at.rank(indices) + 1
    axis = int(at.attr("axis", -1)) % rank
    front = _counted(at, 0, depth)
    spread = (
        at.op("expand_dims", x=front, axes=[axis])
        if rank > 1
        else at.reshape(front, [1])
    )
    places = at.constant(at.aligned(range(depth), rank, axis).astype(np.int32))
    hits = at.op("equal", x=spread, y=places)
    values = at.x(2)
    if at.kind(values) == "bool":
        raise Refused("values that are booleans are not supported")
    off = at.op("slice_by_index", x=values, begin=[0], end=[1])
    on = at.op("slice_by_index", x=values, begin=[1], end=[2])
    return at.op(
        "select", cond=hits, a=broadcast(at, on, hits), b=broadcast(at, off, hits)
    )


@lowers("NonZero", since=9)
def non_zero(at: Scope) -> Handle:
    """The places of what is not zero, a row for each axis."""
    x = at.x()
    found = at.op("non_zero", x=at.cast(x, "int32") if at.kind(x) == "bool" else x)
    return at.op("transpose", x=found, perm=[1, 0])
