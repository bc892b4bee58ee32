"""Which array library a kernel's arguments belong to: NumPy, or CuPy on a GPU."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np


def namespace_of(*arrays: Any) -> ModuleType:
    """Return the module whose functions take these arrays: ``numpy`` or ``cupy``.

    Kernels name it ``xp`` and use only what both libraries share.
    """
    cupy = sys.modules.get("cupy")
    if cupy is not None and any(isinstance(array, cupy.ndarray) for array in arrays):
        return cupy
    return np
