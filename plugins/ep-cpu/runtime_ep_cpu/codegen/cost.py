"""Estimates what expressions cost, so that chunks of every kernel take about as long."""

from __future__ import annotations

from typing import Final

from runtime_ep_cpu.codegen.expression import Expression

_SERIES: Final = frozenset((
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "celu", "cos", "cosh", "elu",
    "erf", "exp", "expm1", "gelu", "gelu_by_tanh", "log", "log1p", "mish", "pow",
    "power", "quick_gelu", "selu", "sigmoid", "sin", "sinh", "softplus", "swiglu",
    "swish", "tan", "tanh",
))  # fmt: skip
_CYCLES: Final = 24_000
"""Of a chunk: about 8 microseconds."""


def cycles(*expressions: Expression) -> int:
    """Return roughly how many cycles sixteen elements take, memory included."""
    total = 0
    for operands, steps, results in expressions:
        total += 4 * (len(operands) + len(results))
        total += sum(20 if step.operation in _SERIES else 1 for step in steps)
    return total


def chunk_elements(*expressions: Expression, passes: int = 0) -> int:
    """Return of how many elements a chunk is, computed once per kernel.

    ``passes`` are cycles per sixteen elements besides those of the expressions: about 8
    for a norm, 12 for a softmax, 0 for a sum.
    """
    each = cycles(*expressions) + passes
    return max(1024, _CYCLES * 16 // each // 64 * 64)
