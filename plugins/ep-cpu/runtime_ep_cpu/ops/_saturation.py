"""Saturating casts into the quantized types, from float32 or float64."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from runtime_ep_cpu.namespace import namespace_of

INTEGERS = frozenset(
    ("uint8", "int8", "uint16", "int16", "uint4", "int4", "uint2", "int2")
)


def saturated(values: Any, dtype: Any) -> Any:
    """Round to a quantized type; what lies beyond its range becomes its limit.

    Not a number becomes the smallest integer, and stays what it is in a float type.
    ``values`` is overwritten.
    """
    xp = namespace_of(values)
    dtype = np.dtype(dtype)
    number = values.dtype.type
    with np.errstate(all="ignore"):
        if dtype.name in INTEGERS:
            limits = ml_dtypes.iinfo(dtype)
            xp.rint(values, out=values)
            xp.fmax(values, number(int(limits.min)), out=values)
            xp.minimum(values, number(int(limits.max)), out=values)
        else:
            largest = number(float(ml_dtypes.finfo(dtype).max))
            xp.clip(values, -largest, largest, out=values)
        return values.astype(dtype)
