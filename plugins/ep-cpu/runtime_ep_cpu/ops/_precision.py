"""Widening by hand, for kernels that mix element types and so carry ``typed``."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime_ep_cpu.dtypes import is_narrow


def wide(x: Any) -> Any:
    """Return an array in the type it is computed in: float32 for the narrow floats."""
    return x.astype(np.float32) if is_narrow(x) else x


def rounded(x: Any, dtype: Any) -> Any:
    """Return an array in the type its operator promises, copied only if it differs."""
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(dtype, copy=False)
