"""Indices given as data: counted from the front, checked, and followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime_ep_cpu.namespace import namespace_of


def within(indices: Any, size: int, what: str = "index") -> Any:
    """Return indices counted from the front; outside [-size, size) is an error."""
    if not indices.size:
        return indices
    lowest, highest = int(indices.min()), int(indices.max())
    if lowest < -size or highest >= size:
        found = lowest if lowest < -size else highest
        raise IndexError(f"{what} {found} is out of bounds for an axis of size {size}")
    if lowest >= 0:
        return indices
    return namespace_of(indices).where(indices < 0, indices + size, indices)


def take(data: Any, indices: Any, axis: int) -> Any:
    """Return the slices of an axis that indices of any shape name.

    One index gives a view. Data that is not contiguous is never copied whole, as
    ``take`` would do before it picks its few rows.
    """
    before = (slice(None),) * axis
    if indices.ndim == 0:
        return data[(*before, int(indices), ...)]
    xp = namespace_of(data)
    if xp is not np:
        return xp.take(data, within(indices, data.shape[axis]), axis=axis)
    if data.flags.c_contiguous and data.flags.aligned:
        return np.take(data, indices, axis=axis)
    return data[(*before, indices)]


def offsets(indices: Any, shape: Sequence[int], axis: int) -> Any:
    """Return the flat positions, in a tensor of a shape, of one index per place.

    Along ``axis`` the index counts, along every other axis its own place does.
    """
    xp = namespace_of(indices)
    result = None
    stride = 1
    for i in reversed(range(len(shape))):
        if i == axis:
            along = within(indices, shape[i])
            part = along.astype(np.int64) * stride if stride > 1 else along
        else:
            steps = [1] * len(shape)
            steps[i] = indices.shape[i]
            part = (xp.arange(indices.shape[i], dtype=np.int64) * stride).reshape(steps)
        result = part if result is None else result + part
        stride *= shape[i]
    return xp.broadcast_to(result, indices.shape)


def tuple_offsets(indices: Any, sizes: Sequence[int]) -> Any:
    """Return flat positions of index tuples, which stand along the last axis."""
    xp = namespace_of(indices)
    result = xp.zeros(indices.shape[:-1], np.int64)
    for column, size in enumerate(sizes):
        result = result * size + within(indices[..., column], size)
    return result
