"""Lowers nodes one after the other into a function, from its inputs to its outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_coreml import lowering  # noqa: F401  (fills the table)
from runtime_ep_coreml.scope import (
    KINDS,
    Array,
    Emitter,
    Handle,
    Refused,
    Scope,
    narrowed,
)
from runtime_ep_coreml.table import TABLE


def interface(value: Value) -> str:
    """Return the element type in which Core ML takes or gives a value.

    What is no float is an int32: Core ML has no other integers there, and no booleans.
    """
    kind = KINDS[value.dtype or 1]
    return kind if kind in ("fp32", "fp16") else "int32"


def input_name(index: int) -> str:
    """Return what a partition's input is called in the program, whatever its model says."""
    return f"in_{index}"


def output_name(index: int) -> str:
    """Return what a partition's output is called in the program."""
    return f"out_{index}"


class Writer:
    """The values of a function that is being written."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self._handles: dict[Value, Handle] = {}

    def read(self, value: Value, placeholder: Handle) -> None:
        """Take an input as what it stands for: a boolean, or a number without axes."""
        found = placeholder
        if value.shape == ():
            found = self.emitter.op("squeeze", x=found, axes=[0])
        if KINDS[value.dtype or 1] == "bool":
            found = self.emitter.op("not_equal", x=found, y=np.int32(0))
        self._handles[value] = found

    def lower(self, nodes: Iterable[Node]) -> None:
        """Add the operations of nodes, in order; raises `Refused` with the node's name."""
        for node in nodes:
            try:
                self._lower(node)
            except Refused as reason:
                raise Refused(f"{node.label}: {reason}") from reason

    def _lower(self, node: Node) -> None:
        made = TABLE[node.op_type].lower(Scope(node, self.emitter, self.handle))
        results: Sequence[Any] = made if isinstance(made, (tuple, list)) else (made,)
        for value, result in zip(node.outputs, results, strict=False):
            self._handles[value] = result

    def handle(self, value: Value) -> Handle:
        """Return what stands for a value; constants are added when they are first read."""
        if value not in self._handles:
            self._handles[value] = self._constant(value)
        return self._handles[value]

    def _constant(self, value: Value) -> Handle:
        array = value.constant()
        if array is None:
            raise Refused(f"{value.name!r} is not known")
        if not array.size:
            raise Refused("a value has no elements")
        kind = KINDS[value.dtype or 1]
        made = narrowed(array, kind)
        if kind == "fp32" and self.emitter.halves:
            made = _within_halves(made)
        return self.emitter.constant(made)

    def give(self, value: Value, name: str) -> Handle:
        """Return an output as Core ML gives it, under a name."""
        found = self.handle(value)
        kind = interface(value)
        if self.emitter.kind(found) != kind:
            found = self.emitter.op("cast", x=found, dtype=kind)
        if self.emitter.sizes(found) == ():
            found = self.emitter.op("expand_dims", x=found, axes=[0])
        return self.emitter.op("identity", x=found, name=name)

    def results(self, node: Node) -> dict[Value, Handle]:
        """Return the values that a node has made."""
        return {v: self._handles[v] for v in node.outputs if v in self._handles}


def _within_halves(array: Array) -> Array:
    """Return finite numbers cut off at what a float16 holds.

    Masks are made of the lowest float32, which would be minus infinity; times zero that
    is no number.
    """
    limit = np.finfo(np.float16).max
    beyond = np.isfinite(array) & (np.abs(array) > limit)
    return (
        np.where(beyond, np.clip(array, -limit, limit), array)
        if beyond.any()
        else array
    )
