"""The table of MIL's operations in NumPy, by name.

Each takes an operation's arguments by MIL's names and returns its result, or a tuple. Halves
arrive as float32; the evaluator rounds results to what is declared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

OPERATIONS: dict[str, Callable[..., Any]] = {}


def operation(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function under an operation's name."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        OPERATIONS[name] = function
        return function

    return enter


def ints(values: Any) -> list[int]:
    """Return a vector of integers as a list."""
    return [int(v) for v in np.asarray(values).reshape(-1)]
