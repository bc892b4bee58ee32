"""Conditions on nodes that hold or not whatever library writes the program."""

from __future__ import annotations

from collections.abc import Callable

from runtime.graph import Node, Value
from runtime.valuetypes import ELEMENT_TYPES, TensorType

from runtime_ep_coreml.scope import KINDS
from runtime_ep_coreml.table import Guard

FLOATS = frozenset((1, 10))
WIDE = frozenset((6, 7))
MAX_RANK = 5

_WHY_NOT = {
    "double": "double is not computed by Core ML",
    "bfloat16": "bfloat16 is not computed by Core ML",
    "uint32": "uint32 does not fit into int32",
    "uint64": "uint64 does not fit into int32",
}


def used(value: Value) -> bool:
    """Whether an output is there and read."""
    return bool(value.name or value.uses)


# what every value must be


def type_reason(value: Value) -> str:
    """Say why a value cannot be one of an ML Program, or return ``""``."""
    kind = value.type
    if not isinstance(kind, TensorType) or kind.sparse:
        return f"{kind or 'a value of unknown type'} is not supported"
    if kind.dtype not in KINDS:
        name = ELEMENT_TYPES[kind.dtype].name if kind.dtype else "an unknown type"
        return _WHY_NOT.get(name, f"{name} is not supported")
    if kind.shape is None:
        return "the rank is unknown"
    if len(kind.shape) > MAX_RANK:
        return f"rank {len(kind.shape)} is above {MAX_RANK}, Core ML's largest"
    if 0 in kind.shape:
        return "a value has no elements"
    return ""


# conditions on inputs


def among(dtypes: frozenset[int], *indices: int) -> Guard:
    """Admit inputs of some element types only."""

    def guard(node: Node) -> str:
        for index in indices or range(len(node.inputs)):
            value = node.input(index)
            if value is not None and value.dtype not in dtypes:
                name = (
                    ELEMENT_TYPES[value.dtype or 0].name if value.dtype else "unknown"
                )
                return f"{node.op_type} of {name} is not supported"
        return ""

    return guard


floating = among(FLOATS, 0)
"""The first input is of floats."""

arithmetic = among(FLOATS | WIDE, 0)
"""The first input is of floats, int32 or int64: narrower integers would not wrap."""


def constant(*indices: int) -> Guard:
    """Admit inputs that are constants, or absent."""

    def guard(node: Node) -> str:
        for index in indices:
            value = node.input(index)
            if value is not None and not value.is_constant:
                return f"input {index} must be a constant"
        return ""

    return guard


def absent(index: int, what: str) -> Guard:
    """Admit nodes without an optional input."""
    return lambda node: f"{what} is not supported" if node.input(index) else ""


def ranks(low: int, high: int = MAX_RANK, index: int = 0) -> Guard:
    """Admit an input of some ranks only."""

    def guard(node: Node) -> str:
        value = node.input(index)
        shape = value.shape if value is not None else None
        if shape is None or low <= len(shape) <= high:
            return ""
        told = str(low) if low == high else f"{low} to {high}"
        return f"rank {len(shape)} is not supported, only {told}"

    return guard


def sized(*indices: int) -> Guard:
    """Admit inputs of which every size is known."""

    def guard(node: Node) -> str:
        for index in indices:
            value = node.input(index)
            shape = value.shape if value is not None else ()
            if not all(isinstance(dim, int) for dim in shape or ()):
                return f"every size of input {index} must be known"
        return ""

    return guard


# conditions on attributes and outputs


def attribute(name: str, *admitted: object) -> Guard:
    """Admit some values of an attribute; ``None`` stands for its absence."""

    def guard(node: Node) -> str:
        found = node.attribute(name)
        if found in admitted:
            return ""
        return f"{name}={found!r} is not supported"

    return guard


def ones(name: str) -> Guard:
    """Admit a list of ones, or none."""

    def guard(node: Node) -> str:
        found = node.attribute(name)
        if found and any(number != 1 for number in found):
            return f"{name}={list(found)} is not supported"
        return ""

    return guard


def outputs(count: int, what: str) -> Guard:
    """Admit nodes of which only the first outputs are read."""

    def guard(node: Node) -> str:
        return (
            f"{what} is not supported" if any(map(used, node.outputs[count:])) else ""
        )

    return guard


def same_kind(node: Node) -> str:
    """Refuse inputs of several element types."""
    kinds = {value.dtype for value in node.inputs if value is not None}
    return "inputs of several types are not supported" if len(kinds) > 1 else ""


Condition = Callable[[Node], bool]


def unless(condition: Condition, reason: str) -> Guard:
    """Refuse nodes for which a condition holds."""
    return lambda node: reason if condition(node) else ""
