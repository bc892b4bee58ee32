"""Element types as policy: which are computed in float32, and how results come back.

A kernel is written once over NumPy's own float types. For float16, bfloat16 and the
8-bit floats the table widens the arguments to float32 and rounds the results back,
unless the kernel moves data without computing (trait ``moves``) or says that it handles
every type itself (trait ``typed``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from runtime.graph import Node
from runtime.kernels import Kernel
from runtime.valuetypes import code_of_name, numpy_dtype

NARROW = frozenset(
    numpy_dtype(code_of_name(name))
    for name in (
        "float16",
        "bfloat16",
        "float8e4m3fn",
        "float8e4m3fnuz",
        "float8e5m2",
        "float8e5m2fnuz",
        "float8e8m0",
        "float4e2m1",
        "float6e2m3",
        "float6e3m2",
    )
)


def widen(
    kernel: Kernel, node: Node, function: Callable[..., Any]
) -> Callable[..., Any]:
    """Wrap a bound kernel so that narrow floats are computed in float32.

    Results of float32 become the first narrow argument's type again; results of other
    types (indices, masks) stay. ``KernelTable.wrap`` calls this once per node.
    """
    if kernel.traits & {"moves", "typed"} or _is_wide(node):
        return function

    @functools.wraps(function, updated=())
    def narrow(*arguments: Any) -> Any:
        found = next((a.dtype for a in arguments if is_narrow(a)), None)
        if found is None:
            return function(*arguments)
        wide = (a.astype(np.float32) if is_narrow(a) else a for a in arguments)
        results = function(*wide)
        if type(results) is tuple:
            return tuple(back(result, found) for result in results)
        return back(results, found)

    return narrow


def element_type(code: int, name: str) -> np.dtype[Any]:
    """Return the type that an attribute's number stands for, or say that none is."""
    try:
        return numpy_dtype(code)
    except KeyError:
        raise ValueError(f"{name} {code} is no element type") from None


def float_type(code: int, name: str) -> np.dtype[Any]:
    """Return the float type that an attribute's number stands for."""
    dtype = element_type(code, name)
    if dtype.kind != "f" and dtype not in NARROW:
        raise ValueError(f"{name} must be a float type, found {dtype}")
    return dtype


def is_narrow(value: Any) -> bool:
    """Whether a value is an array of a float type computed in float32."""
    return getattr(value, "dtype", None) in NARROW


def _is_wide(node: Node) -> bool:
    """Whether it is known beforehand that no input is narrow."""
    codes = [value.dtype for value in node.inputs if value is not None]
    return all(code is not None and numpy_dtype(code) not in NARROW for code in codes)


def back(result: Any, dtype: Any) -> Any:
    """Round a float32 result to a narrow type; leave any other type alone."""
    if hasattr(result, "dtype") and result.dtype == np.float32:
        with np.errstate(over="ignore", invalid="ignore"):
            return result.astype(dtype)
    return result
