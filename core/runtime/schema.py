"""The ONNX standard's operator schemas, looked up once each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import onnx

# onnx registers its schemas, which takes it longer than loading a small model, when it is
# first asked for one. That belongs to importing it, once per process.
onnx.defs.has("Identity")


@cache
def schema(domain: str, op_type: str, version: int) -> Any:
    """Return the ``onnx.defs.OpSchema`` of an operator under an opset, or ``None``."""
    try:
        return onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


class Demands(NamedTuple):
    """What a schema asks of a node, in plain data, as it is asked of thousands.

    ``inputs`` and ``outputs`` are the least and the largest number; ``required`` inputs
    may not be left out by name; ``attributes`` are their kinds, ``demanded`` those that a
    node must have.
    """

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    required: Mapping[int, str]
    attributes: Mapping[str, int]
    demanded: tuple[str, ...]


@cache
def demands(domain: str, op_type: str, version: int) -> Demands | None:
    """Return what the schema of an operator asks of nodes, or ``None``."""
    found = schema(domain, op_type, version)
    if found is None:
        return None
    attributes = found.attributes
    return Demands(
        (found.min_input, found.max_input),
        (found.min_output, found.max_output),
        {i: x.name for i, x in enumerate(found.inputs) if x.option.name == "Single"},
        {name: int(entry.type.value) for name, entry in attributes.items()},
        tuple(name for name, entry in attributes.items() if entry.required),
    )


STRAY = frozenset({("", "SimplifiedLayerNormalization")})
"""Operators that files carry in a standard domain although the standard lacks them."""


@cache
def domains() -> frozenset[str]:
    """Return the domains the standard defines operators for."""
    return frozenset(entry.domain for entry in onnx.defs.get_all_schemas())


@cache
def operators(domain: str) -> frozenset[str]:
    """Return the names of a domain's operators."""
    return frozenset(s.name for s in onnx.defs.get_all_schemas() if s.domain == domain)


def versions(domain: str, op_type: str) -> list[int]:
    """Return the opset versions at which an operator was introduced or changed."""
    history = onnx.defs.get_all_schemas_with_history()
    found = [
        s.since_version for s in history if (s.domain, s.name) == (domain, op_type)
    ]
    return sorted(found)
