"""Nodes whose results follow from shapes and constants: evaluated when a plan is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from runtime.graph import Node

from runtime_ep_cpu.native.layout import Unplannable


def is_bound(node: Node) -> bool:
    """Whether a kernel evaluates a node; others need no more than a shape."""
    return node.op_type not in ("Shape", "Size") or bool(node.domain)


def shape_of(node: Node, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return what Shape or Size says of a shape."""
    if node.op_type == "Size":
        return np.array(np.prod(shape, dtype=np.int64))
    start, end = node.attribute("start", 0), node.attribute("end")
    return np.array(shape[start:end], np.int64)


def evaluated(node: Node, function: Callable[..., Any], arguments: list[Any]) -> Any:
    """Return what a kernel makes; raises `Unplannable` where it refuses."""
    try:
        return function(*arguments)
    except Exception as error:
        raise Unplannable(f"{node.label}: {error}") from error
