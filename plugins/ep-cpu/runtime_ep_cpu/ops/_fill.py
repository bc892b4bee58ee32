"""Operators that make tensors from attributes, sizes and scalars."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.dtypes import element_type
from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._axes import ints, scalar

table = KernelTable()
HALF = frozenset({"float16", "bfloat16"})


@table("Constant", since=1, traits=("moves",))
def constant_1(*, value):
    """Constant before opset 11: a dense tensor."""
    return value


@table("Constant", since=11, traits=("moves",))
def constant_11(*, value=None, sparse_value=None):
    """Constant of opset 11: a dense tensor or a sparse one, which is made dense."""
    return constant(value=value, sparse_value=sparse_value)


@table("Constant", since=12, traits=("moves",))
def constant(
    *,
    value=None,
    sparse_value=None,
    value_int=None,
    value_ints=None,
    value_float=None,
    value_floats=None,
    value_string=None,
    value_strings=None,
):
    """Constant: exactly one of the attributes, numbers as int64 or float32."""
    forms = (
        (value, None),
        (sparse_value, None),
        (value_int, np.int64),
        (value_ints, np.int64),
        (value_float, np.float32),
        (value_floats, np.float32),
        (value_string, object),
        (value_strings, object),
    )
    given = [(form, dtype) for form, dtype in forms if form is not None]
    if len(given) != 1:
        raise ValueError(f"one value attribute must be set, found {len(given)}")
    found, dtype = given[0]
    return found if dtype is None else np.array(found, dtype)


@table("ConstantOfShape", since=9, traits=("moves",))
def constant_of_shape(shape, /, *, value=None):
    """ConstantOfShape: one element, float32 zero by default, all over a shape."""
    dims = ints(shape)
    if value is None:
        value = np.zeros(1, np.float32)
    if value.size != 1:
        raise ValueError(
            f"value must hold one element, found the shape {list(value.shape)}"
        )
    check_size(dims, value.dtype)
    if value.dtype != object and not any(value.tobytes()):
        return np.zeros(dims, value.dtype)
    return np.full(dims, value.reshape(()), value.dtype)


@table("Range", since=11, traits=("typed",))
def range_11(start, limit, delta, /):
    """Range before opset 27: from start in steps of delta, limit excluded."""
    first, end = scalar(start, "start"), scalar(limit, "limit")
    step = scalar(delta, "delta")
    count = _steps(first, end, step)
    check_size((count,), start.dtype)
    wide = np.float64 if isinstance(first, float) else np.int64
    return (np.arange(count, dtype=wide) * wide(step) + wide(first)).astype(start.dtype)


@table("Range", since=27, traits=("typed",))
def range_(start, limit, delta, /, *, stash_type=1):
    """Range: half precision too, computed like every float type in float64."""
    if start.dtype.name in HALF and stash_type != 1:
        raise ValueError(f"stash_type is {stash_type}; only 1 (float) is known")
    return range_11(start, limit, delta)


def _steps(start: Any, limit: Any, delta: Any) -> int:
    """Return how many elements a range has, exactly for integers."""
    if delta == 0:
        raise ValueError("the delta of a range is 0")
    if isinstance(start, int):
        return max(-(-(limit - start) // delta), 0)
    count = (limit - start) / delta
    if not math.isfinite(count):
        raise ValueError(f"a range from {start} to {limit} by {delta} has no end")
    return max(math.ceil(count), 0)


@table("EyeLike", since=9, traits=("moves",))
def eye_like(x, /, *, dtype=None, k=0):
    """EyeLike: ones on the k-th diagonal of a matrix shaped like the input."""
    if x.ndim != 2:
        raise ValueError(f"a matrix is expected, found the shape {list(x.shape)}")
    kind = x.dtype if dtype is None else element_type(dtype, "dtype")
    xp = namespace_of(x)
    rows, columns = x.shape
    result = xp.zeros((rows, columns), kind)
    first, above = min(max(-k, 0), rows), min(max(k, 0), columns)
    length = max(min(rows - first, columns - above), 0)
    along = xp.arange(length)
    result[along + first, along + above] = 1
    return result
