"""In which type each value is kept: the model's own, or a narrower float."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cuda.dtypes import BFLOAT, FLOAT, HALF, INTEGERS, Dtype, dtype_of

_NARROW = {"fp16": HALF, "bf16": BFLOAT}

_WIDE = frozenset((
    "Exp", "Pow", "CumSum", "CumProd", "Range", "ReduceSum", "ReduceSumSquare",
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "Sinh",
    "Cosh", "Tan", "Reciprocal", "TopK",
))  # fmt: skip
"""Operators whose results may leave a half's range or need more of its digits."""

_EXACT = frozenset(("ArgMax", "ArgMin", "TopK", "NonMaxSuppression"))
"""Operators that compare: what they read directly is kept as it is."""

_POSITIONS = frozenset(("Sin", "Cos"))
"""Operators whose inputs are angles: a half has too few digits for those."""


_PASSING = frozenset((
    "Add", "Sub", "Mul", "Div", "Cast", "Reshape", "Transpose", "Unsqueeze", "Squeeze",
    "Slice", "Concat", "Expand", "Identity", "Gather", "MatMul",
))  # fmt: skip
"""What may lie between positions and the angles computed of them."""


_CARRYING = frozenset((
    "Add", "Sub", "Mul", "Neg", "Where", "Cast", "Reshape", "Transpose", "Unsqueeze",
    "Squeeze", "Slice", "Split", "Concat", "Expand", "Identity", "Gather", "Tile", "Trilu",
))  # fmt: skip
"""What large numbers go through: masks are made by these, and added to scores."""


def storage(
    nodes: Iterable[Node], constants: Iterable[Value], precision: str
) -> dict[Value, Dtype]:
    """Return the types of values that are kept otherwise than the model says.

    Only float32 is narrowed, by ``fp16`` and ``bf16``, and never what is in ``_WIDE``,
    nor a constant that a half cannot hold, nor what is made of it: a mask's lowest
    number would be an infinity, and a softmax of nothing else no number.
    """
    narrow = _NARROW.get(precision)
    if narrow is None:
        return {}
    listed = list(nodes)
    constants = list(constants)
    exact = _exact(listed) | _large(listed, constants, narrow)
    found: dict[Value, Dtype] = {}
    for node in listed:
        if node.op_type in _WIDE or _counts(node):
            continue
        for value in node.outputs:
            if dtype_of(value) == FLOAT and value not in exact:
                found[value] = narrow
    for value in constants:
        if dtype_of(value) == FLOAT and value not in exact and _fits(value, narrow):
            found[value] = narrow
    return found


def _counts(node: Node) -> bool:
    """Whether a node makes floats of integers, which may need all of their digits."""
    return node.op_type == "Cast" and dtype_of(node.inputs[0]) in INTEGERS


def _exact(nodes: Iterable[Node]) -> set[Value]:
    """Return what is compared, and all that angles are computed of."""
    found: set[Value] = set()
    waiting: list[Value] = []
    for node in nodes:
        if node.op_type in _EXACT:
            found.update(node.reads)
        elif node.op_type in _POSITIONS:
            waiting += node.reads
    while waiting:
        value = waiting.pop()
        if value in found:
            continue
        found.add(value)
        maker = value.producer
        if maker is not None and maker.op_type in _PASSING:
            waiting += maker.reads
    return found


def _large(
    nodes: Iterable[Node], constants: Iterable[Value], narrow: Dtype
) -> set[Value]:
    """Return constants beyond a type's range, and what they are passed on to."""
    most = float(ml_dtypes.finfo(narrow).max)
    found = {value for value in constants if _exceeds(value.constant(), most)}
    for node in nodes:
        if node.op_type == "ConstantOfShape":
            given = node.attribute("value")
            large = given is not None and _exceeds(given.numpy(), most)
        else:
            large = any(value in found for value in node.reads)
            large = large and node.op_type in _CARRYING
        if large:
            found.update(node.outputs)
    return found


def _exceeds(array: np.ndarray[Any, Any] | None, most: float) -> bool:
    """Whether an array has finite numbers beyond a bound."""
    if array is None or array.dtype != FLOAT:
        return False
    size = np.abs(array)
    return bool(((size > most) & np.isfinite(size)).any())


def _fits(value: Value, narrow: Dtype) -> bool:
    """Whether a constant that is finite stays finite, and does not vanish as a whole."""
    array = value.constant()
    if array is None or not array.size:
        return False
    with np.errstate(all="ignore"):
        made = array.astype(narrow).astype(np.float32)
    lost = (np.isinf(made) & np.isfinite(array)) | ((made == 0) & (array != 0))
    return not bool(np.isinf(made[lost]).any() or lost.all())
