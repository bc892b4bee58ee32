"""In which type each value is kept: the model's own, or a narrower float."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cuda.types import BFLOAT, FLOAT, HALF, Dtype, dtype_of

_NARROW = {"fp16": HALF, "bf16": BFLOAT}

_WIDE = frozenset((
    "Exp", "Pow", "CumSum", "CumProd", "Range", "ReduceSum", "ReduceSumSquare",
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "Sinh",
    "Cosh", "Tan", "Reciprocal", "RotaryEmbedding", "Resize", "TopK",
))  # fmt: skip
"""Operators whose results may leave a half's range or need more of its digits."""

_EXACT = frozenset(("ArgMax", "ArgMin", "TopK", "NonMaxSuppression"))
"""Operators that compare: what they read directly is kept as it is."""

_POSITIONS = frozenset(("Sin", "Cos"))
"""Operators whose inputs are angles: a half has too few digits for those."""


def storage(
    nodes: Iterable[Node], constants: Iterable[Value], precision: str
) -> dict[Value, Dtype]:
    """Return the types of values that are kept otherwise than the model says.

    Only float32 is narrowed, by ``fp16`` and ``bf16``, and never what is in ``_WIDE``,
    nor a constant that a half cannot hold.
    """
    narrow = _NARROW.get(precision)
    if narrow is None:
        return {}
    found: dict[Value, Dtype] = {}
    for node in nodes:
        if node.op_type in _WIDE:
            continue
        for value in node.outputs:
            if dtype_of(value) == FLOAT and not _is_compared(value):
                found[value] = narrow
    for value in constants:
        if dtype_of(value) == FLOAT and _fits(value, narrow):
            found[value] = narrow
    return found


def _is_compared(value: Value) -> bool:
    return any(user.op_type in _EXACT | _POSITIONS for user in value.users)


def _fits(value: Value, narrow: Dtype) -> bool:
    """Whether a constant that is finite stays finite, and does not vanish as a whole."""
    array = value.constant()
    if array is None or not array.size:
        return False
    if any(user.op_type in _POSITIONS for user in value.users):
        return False
    with np.errstate(all="ignore"):
        made = array.astype(narrow).astype(np.float32)
    lost = (np.isinf(made) & np.isfinite(array)) | ((made == 0) & (array != 0))
    return not bool(np.isinf(made[lost]).any() or lost.all())
