"""Widening by hand, for kernels that mix element types and so carry ``typed``."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime_ep_cpu.dtypes import is_narrow
from runtime_ep_cpu.namespace import namespace_of


def wide(x: Any) -> Any:
    """Return an array in the type it is computed in: float32 for the narrow floats."""
    return x.astype(np.float32) if is_narrow(x) else x


def rounded(x: Any, dtype: Any) -> Any:
    """Return an array in the type its operator promises, copied only if it differs."""
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(dtype, copy=False)


def stepped(x: Any, steps: Any) -> Any:
    """Round to a narrow type and widen again; ``None`` is no rounding."""
    return x if steps is None else wide(rounded(x, steps))


def sums(x: Any, axis: int, steps: Any) -> Any:
    """Add up an axis, kept; in a narrow type eight elements at a time.

    The sums of the eights are added in float32, so that errors stay few.
    """
    if steps is None:
        return x.sum(axis=axis, keepdims=True)
    xp = namespace_of(x)
    x = xp.moveaxis(x, axis, -1)
    lead, count = x.shape[:-1], x.shape[-1]
    eights = xp.zeros((*lead, -(-count // 8), 8), steps)
    eights.reshape(*lead, -1)[..., :count] = x
    total = wide(eights.sum(axis=-1)).sum(axis=-1, keepdims=True)
    return xp.moveaxis(stepped(total, steps), -1, axis)
