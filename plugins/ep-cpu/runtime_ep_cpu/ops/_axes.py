"""Axes, sizes and scalars as plain Python numbers, checked against a rank."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def ints(values: Any) -> list[int]:
    """Return an attribute's tuple or a vector on the host as Python ints."""
    if isinstance(values, (tuple, list)):
        return list(values)
    numbers = _vector(values)
    return numbers if values.dtype.kind == "i" else [int(n) for n in numbers]


def floats(values: Any) -> list[float]:
    """Return an attribute's tuple or a vector on the host as Python floats."""
    given = values if isinstance(values, (tuple, list)) else _vector(values)
    return [float(number) for number in given]


def _vector(values: Any) -> list[Any]:
    if values.ndim != 1:
        raise ValueError(
            f"a list of numbers must have rank 1, found the shape {list(values.shape)}"
        )
    return np.asarray(values).tolist()


def scalar(value: Any, name: str) -> Any:
    """Return the one element of an array as a Python value."""
    if value.size != 1:
        raise ValueError(
            f"{name} must hold one element, found the shape {list(value.shape)}"
        )
    return value.item()


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from the front; a negative one counts from the back."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is not one of a tensor of rank {rank}")
    return int(axis) % rank


def axes_of(axes: Iterable[int], rank: int) -> tuple[int, ...]:
    """Return several axes counted from the front; each may be named once."""
    found = tuple(axis_of(axis, rank) for axis in axes)
    if len(set(found)) < len(found):
        raise ValueError(f"an axis is named twice in {list(found)}")
    return found


def broadcast_shape(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """Return the shape two shapes broadcast to."""
    rank = max(len(first), len(second))
    ones = (1,) * rank
    pairs = zip(
        (*ones[len(first) :], *first), (*ones[len(second) :], *second), strict=True
    )
    result = []
    for a, b in pairs:
        if a != b and 1 not in (a, b):
            raise ValueError(
                f"the shapes {list(first)} and {list(second)} do not broadcast"
            )
        result.append(b if a == 1 else a)
    return tuple(result)
