"""The table of operators: for each, its lowering and what must hold before it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.graph import Node

from runtime_ep_coreml.scope import Scope

Guard = Callable[[Node], str]
"""Says why a node cannot be lowered, or returns ``""``; needs no coremltools."""

Lowering = Callable[[Scope], Any]
"""Adds a node's operations; returns its output, or a tuple of its first outputs.

Raises `runtime_ep_coreml.scope.Refused`.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One operator. ``since`` is the oldest opset whose spelling the lowering reads."""

    operator: str
    lower: Lowering
    guards: tuple[Guard, ...]
    since: int

    def against(self, node: Node) -> str:
        """Say what stands against a node, or return ``""``."""
        if node.version < self.since:
            return f"it is spelt as in opset {node.version}; {self.since} is needed"
        return next(filter(None, (guard(node) for guard in self.guards)), "")


TABLE: dict[str, Row] = {}
"""Every operator of the standard's domain that is lowered, by name."""


def lowers(
    *operators: str, guards: tuple[Guard, ...] = (), since: int = 1
) -> Callable[[Lowering], Lowering]:
    """Enter a lowering for operators of one form."""

    def enter(lower: Lowering) -> Lowering:
        for operator in operators:
            if operator in TABLE:
                raise ValueError(f"{operator} has a lowering already")
            TABLE[operator] = Row(operator, lower, guards, since)
        return lower

    return enter
