"""Element types: which of them a GPU computes with, and what NumPy calls them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from runtime.graph import Value
from runtime.valuetypes import TensorType, numpy_dtype

Dtype = np.dtype[Any]

HALF, FLOAT, DOUBLE = np.dtype("float16"), np.dtype("float32"), np.dtype("float64")
BFLOAT: Dtype = np.dtype(ml_dtypes.bfloat16)
BOOL, INT64, INT32 = np.dtype("bool"), np.dtype("int64"), np.dtype("int32")

FLOATS = frozenset((HALF, BFLOAT, FLOAT, DOUBLE))
NARROW = frozenset((HALF, BFLOAT))
"""Floats of two bytes, computed in float."""

INTEGERS = frozenset(
    np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)
)
KNOWN = FLOATS | INTEGERS | {BOOL}
"""What a tensor on the device may hold."""


def dtype_of(value: Value | None) -> Dtype | None:
    """Return a value's element type, or ``None`` where it is unknown or none of `KNOWN`."""
    if value is None or value.dtype is None:
        return None
    found = numpy_dtype(value.dtype)
    return found if found in KNOWN else None


def rank_of(value: Value | None) -> int | None:
    """Return a value's rank, or ``None`` where it is not known."""
    return None if value is None or value.shape is None else len(value.shape)


def is_tensor(value: Value | None) -> bool:
    """Whether a value is a dense tensor of known rank that the device can hold."""
    kind = None if value is None else value.type
    return (
        isinstance(kind, TensorType)
        and not kind.sparse
        and kind.shape is not None
        and dtype_of(value) is not None
    )
