"""Texts inside of native code: the numbers of strings in a table that is known.

Labels of classes are strings in many models. Native code computes with which of them it
is, as int64, and moves these numbers about; only where such a value leaves a stage are the
strings looked up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.native.steps import learned

STRING, INT64 = 8, 7
"""ONNX's numbers of the element types."""

_MOVES = frozenset(("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"))
"""Operators that give a text's numbers on as they are."""


def table(value: Value | None) -> np.ndarray[Any, Any] | None:
    """Return the strings of a text in the order of its numbers; ``None`` of others."""
    node = None if value is None or value.dtype != STRING else value.producer
    if value is None or node is None or value.shape is None:
        return None
    if moves(node):
        return table(node.input(0))
    return learned.texts(node) if node.domain == learned.DOMAIN else None


def is_text(value: Value | None) -> bool:
    """Whether a value's strings are known by number."""
    return table(value) is not None


def is_chosen_from(value: Value, node: Node) -> bool:
    """Whether a value is a table of strings that a node chooses from by number."""
    return value.dtype == STRING and value.is_constant and is_text(node.outputs[0])


def moves(node: Node) -> bool:
    """Whether a node gives on what it is given, in another shape at most."""
    return node.op_type in _MOVES and not node.domain


def moves_text(node: Node) -> bool:
    """Whether a node gives on a text."""
    return moves(node) and is_text(node.outputs[0])
