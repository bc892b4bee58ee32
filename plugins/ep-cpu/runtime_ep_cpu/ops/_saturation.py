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
    """Cast to a quantized type; what lies beyond its range becomes its limit.

    For an integer type the values must be whole already. Not a number becomes the
    smallest integer, and stays what it is in a float type. ``values`` is overwritten.
    """
    xp = namespace_of(values)
    dtype = np.dtype(dtype)
    number = values.dtype.type
    with np.errstate(all="ignore"):
        if dtype.name in INTEGERS:
            limits = ml_dtypes.iinfo(dtype)
            least, largest = number(int(limits.min)), number(int(limits.max))
            xp.clip(values, least, largest, out=values)
            missing = xp.isnan(values)
            if missing.any():
                xp.copyto(values, least, where=missing)
        else:
            largest = number(float(ml_dtypes.finfo(dtype).max))
            xp.clip(values, -largest, largest, out=values)
        return values.astype(dtype)
