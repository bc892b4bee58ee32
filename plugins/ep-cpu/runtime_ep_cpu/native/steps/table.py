"""The features that a model's step reads: rows of a value, as arguments of its kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.layout import Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument

Array = np.ndarray[Any, Any]

GIVEN = ("float", "double", "i64", "i32")
"""Types of features that native models take."""

EXACT = 1 << 53
"""Integers up to here are float64, too."""


def given_x(node: Node) -> Value:
    """Return a node's first input; raises ``ValueError`` where there is none."""
    x = node.input(0)
    if x is None:
        raise ValueError(f"{node.label} has no input")
    return x


def is_table(value: Value | None) -> bool:
    """Whether a value has rows of features of a type that native models take."""
    return (
        value is not None
        and element_of(value) in GIVEN
        and value.shape is not None
        and len(value.shape) in (1, 2)
    )


def has_table_and_results(node: Node) -> bool:
    """Whether a learned model reads a table and gives labels and scores, or scores alone."""
    results = 2 if node.op_type.endswith("Classifier") else 1
    return len(node.outputs) == results and is_table(node.input(0))


def wide_element(value: Value) -> str:
    """Return what models compute in: float for float features, else double."""
    return "float" if element_of(value) == "float" else "double"


def rows_of(layout: Layout) -> Layout:
    """Return features as [rows, features]; one row may come without its dim."""
    if len(layout.shape) == 1:
        return layout.with_dims((1, *layout.shape), (0, *layout.strides))
    return layout


def arguments(
    features: Layout, columns: Layout, plain: int, lowered: int, count: int
) -> list[Argument]:
    """Return the values of `codegen.features.FIELDS`."""
    row, column = features.strides
    return [features, row, column, features.shape[0], columns, plain, lowered, count]


def wanted(node: Node, index: int) -> Value | None:
    """Return an output somebody may read."""
    if index >= len(node.outputs):
        return None
    value = node.outputs[index]
    return value if value.name or value.uses else None


def check_width(features: Layout, width: int) -> None:
    """Raise `Unplannable` for another number of features; NumPy's kernel says it."""
    if features.shape[1] != width:
        raise Unplannable(f"the model has {width} features, not {features.shape[1]}")


def rows_per_chunk(rows: int, lanes: int, each: int) -> int:
    """Return how many rows a chunk takes, a multiple of the lanes, by the work of each.

    It depends on nothing but sizes.
    """
    shared = -(-rows // _SHARES)
    worth = max(lanes, _WORK // max(each, 1))
    return -(-min(rows, max(shared, min(worth, rows))) // lanes) * lanes


_SHARES = 8
"""Into how many chunks rows are divided, where there are enough."""
_WORK = 1 << 16
"""Multiplications worth a chunk."""
