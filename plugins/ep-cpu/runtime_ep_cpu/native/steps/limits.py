"""Recognises expressions that keep one number within limits: Relu, Clip, and chains of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isnan
from typing import Any, Final

import numpy as np

from runtime_ep_cpu.codegen.expression import ABSENT, Expression, Instruction
from runtime_ep_cpu.codegen.microkernel import UNLIMITED

_LARGEST = float(np.finfo(np.float32).max)

_DEFAULTS: Final[Mapping[str, tuple[float, float]]] = {
    "relu": (0.0, inf),
    "clip": UNLIMITED,
    "clip_by_attributes": (-_LARGEST, _LARGEST),
}
"""Limits where neither inputs nor attributes say others."""


def limits_of(
    expression: Expression, operands: Sequence[np.ndarray[Any, Any] | None]
) -> tuple[float, float] | None:
    """Return the lower and the upper limit between which float32 is kept.

    ``None`` where the expression does anything else. ``operands`` are the contents of
    those behind the first, as far as they are constant. Where limits cross, both are the
    upper one.
    """
    if expression.operands[0] != "float":
        return None
    low, high = UNLIMITED
    last = 0
    for number, step in enumerate(expression.instructions, len(expression.operands)):
        own = _own(step, operands) if step.inputs[0] == last else None
        if own is None:
            return None
        low, high = (min(max(limit, own[0]), own[1]) for limit in (low, high))
        last = number
    return (low, high) if expression.results == ((last, "float"),) else None


def _own(
    step: Instruction, operands: Sequence[np.ndarray[Any, Any] | None]
) -> tuple[float, float] | None:
    """Return the limits of one operation, where they are constant."""
    limits = _DEFAULTS.get(step.operation)
    if limits is None:
        return None
    named = dict(step.attributes)
    found = [named.get("min", limits[0]), named.get("max", limits[1])]
    for place, number in enumerate(step.inputs[1:]):
        if number == ABSENT:
            continue
        array = operands[number - 1] if 0 < number <= len(operands) else None
        if array is None or array.size != 1 or array.dtype != np.float32:
            return None
        found[place] = float(array.reshape(()))
    low, high = found
    return None if isnan(low) or isnan(high) else (low, high)
