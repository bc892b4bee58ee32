"""Makes kernels of the scalar formulas in `runtime_ep_cpu.formulas`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from runtime_ep_cpu.formulas import Math
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._array_math import math_of

Function = Callable[..., Any]

BLOCK = 1 << 15
"""How many elements of a long array are computed at once, to stay in cache."""


def formula_kernel(formula: Function, in_blocks: bool = True) -> Function:
    """Return a kernel with a formula's inputs and attributes as its signature.

    The result has the first input's type, whatever the formula's constants are. Blocks
    do not pay for a formula of a single step.
    """

    def run(x: Any, /, *others: Any, **attributes: Any) -> Any:
        xp = namespace_of(x, *others)
        m = math_of(xp)
        with np.errstate(all="ignore"):
            if in_blocks and xp is np and not others and x.size > BLOCK:
                return _in_blocks(formula, m, x, attributes)
            return formula(m, x, *others, **attributes).astype(x.dtype, copy=False)

    run.__name__ = run.__qualname__ = formula.__name__
    run.__doc__ = formula.__doc__
    run.__signature__ = _signature(formula)  # type: ignore[attr-defined]
    return run


def _in_blocks(formula: Function, m: Math, x: Any, attributes: dict[str, Any]) -> Any:
    flat = x.reshape(-1)
    result = np.empty_like(flat)
    for start in range(0, flat.size, BLOCK):
        block = slice(start, start + BLOCK)
        result[block] = formula(m, flat[block], **attributes)
    return result.reshape(x.shape)


def _signature(formula: Function) -> inspect.Signature:
    """The formula's own, without ``m``, its inputs positional-only."""
    signature = inspect.signature(formula)
    _, *parameters = signature.parameters.values()
    return signature.replace(
        parameters=[
            parameter.replace(kind=parameter.POSITIONAL_ONLY)
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            else parameter
            for parameter in parameters
        ]
    )
