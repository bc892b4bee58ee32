"""Which results of 64 bits fit into the 32 that Core ML has, and what the boundary lets in.

A result is admitted where its least and its largest number are known to fit, given what a
program takes: see `limits`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_coreml.scope import WORDS
from runtime_ep_coreml.spans import (
    FLOATS,
    HALF,
    INT64,
    Span,
    Spans,
    TooDeep,
    fits,
    is_empty,
    is_shape,
)


def may_grow(node: Node) -> str:
    """Refuse what may leave the range of int32 where the model has int64."""
    for value in node.outputs:
        if value.dtype == INT64 and not _admitted(value, HALF):
            return "64-bit integers are computed in 32 bits, and this may need more"
    return ""


def outside(nodes: Sequence[Node]) -> Span:
    """Return which integers of 64 bits a program of nodes takes.

    All of 32 bits, unless the results of a node fit for narrower ones only. A package that
    came compiled does not tell its nodes, and takes the narrower ones.
    """
    return HALF if any(map(_relies, nodes)) else WORDS


def limits(value: Value, outside: Span) -> Span:
    """Return which integers one input of a program may hold: no others were reasoned with."""
    try:
        found = Spans(outside).of(value)
    except TooDeep:
        return outside
    return outside if found is None else found


def _relies(node: Node) -> bool:
    if node.domain:
        return True
    return any(
        value.dtype == INT64 and not _admitted(value, WORDS) for value in node.outputs
    )


def _admitted(value: Value, outside: Span) -> bool:
    try:
        return fits(Spans(outside).made(value)) or is_shape(value)
    except TooDeep:
        return is_shape(value)


# sizes that are asked for

MOVED = (
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Gather", "Slice", "Split",
)  # fmt: skip
"""Operators whose results are elements of their first input."""


def never_zero(value: Value | None, depth: int = 40) -> bool:
    """Whether every integer of a value is known to be another number than zero."""
    if value is None or not depth:
        return False
    if value.is_constant:
        array = value.constant()
        return array is not None and bool(np.all(array))
    node = value.producer
    if node is None or node.domain:
        return False
    if node.op_type in ("Shape", "Size"):
        return True
    if node.op_type in ("Concat", "Mul"):
        return all(
            never_zero(one, depth - 1) for one in node.inputs if not is_empty(one)
        )
    first = node.input(0)
    whole = node.op_type == "Cast" and first is not None and first.dtype not in FLOATS
    if whole or node.op_type in MOVED:
        return never_zero(first, depth - 1)
    try:
        found = Spans(HALF).of(value)
    except TooDeep:
        return False
    return found is not None and (found[0] > 0 or found[1] < 0)
