"""Refuses results that could not fit, before memory is touched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any

import numpy as np
from runtime.errors import LimitExceeded

MAXIMUM: ContextVar[int] = ContextVar("MAXIMUM", default=0)
"""The largest result in bytes that the run in progress allows; 0 is the machine's."""


class Limited:
    """An executable whose kernels may not make a result larger than a given size."""

    def __init__(self, inner: Any, maximum: int) -> None:
        self._inner = inner
        self._maximum = maximum
        self.weights, self.memory = inner.weights, inner.memory

    def run(
        self, inputs: Sequence[Any], outputs: Sequence[Any], context: Any
    ) -> list[Any]:
        """Run once under the limit."""
        token = MAXIMUM.set(self._maximum)
        try:
            return list(self._inner.run(inputs, outputs, context))
        finally:
            MAXIMUM.reset(token)


@cache
def machine_bytes() -> int:
    """Return the machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 40


def check_size(shape: Sequence[int], dtype: Any, maximum: int = 0) -> None:
    """Raise `LimitExceeded` for a result larger than ``maximum`` or the machine's memory.

    ``maximum`` is in bytes; 0 means the session's limit, or the machine's memory. A
    negative dim is a ``ValueError``.
    """
    count = 1
    for dim in shape:
        if dim < 0:
            raise ValueError(f"a result cannot have the shape {list(shape)}")
        count *= int(dim)
    size = count * np.dtype(dtype).itemsize
    limit = maximum or MAXIMUM.get() or machine_bytes()
    if size > limit:
        raise LimitExceeded(
            f"a result of shape {[int(dim) for dim in shape]} and type "
            f"{np.dtype(dtype)} needs {size} bytes, more than the {limit} allowed"
        )
