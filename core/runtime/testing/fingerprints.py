"""Whether something changed that nobody may change: graphs, arrays, claims."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from runtime.graph import Graph, Node, SparseTensor, Tensor, Value
from runtime.plugin import Claim, Refusal


def of_array(value: Any) -> str:
    """Return a checksum of a host value: kind, shape and data."""
    if not isinstance(value, np.ndarray):
        return repr(value)
    if value.dtype == object:
        return repr((value.shape, value.tolist()))
    digest = hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16)
    return f"{value.dtype}{value.shape}{digest.hexdigest()}"


def of_graph(graph: Graph) -> dict[str, Any]:
    """Return all there is to a graph, by place, so that a difference can be told."""
    found: dict[str, Any] = {
        "inputs": [_value(value) for value in graph.inputs],
        "outputs": [_value(value) for value in graph.outputs],
        "initializers": {k: _value(v) for k, v in graph.initializers.items()},
        "metadata": dict(graph.metadata),
        "nodes": [id(node) for node in graph],
    }
    for index, node in enumerate(graph):
        found[f"node {index}, {node.op_type}"] = _node(node)
        for name, body in node.bodies:
            found[f"node {index}, {node.op_type}.{name}"] = of_graph(body)
    return found


def _node(node: Node) -> tuple[Any, ...]:
    attributes = {
        name: (entry.kind, _attribute(entry.value), entry.reference)
        for name, entry in node.attributes.items()
    }
    values = [None if value is None else _value(value) for value in node.inputs]
    made = [_value(value) for value in node.outputs]
    names = (node.domain, node.op_type, node.version, node.name, node.origins)
    return names, values, made, attributes, dict(node.metadata)


def _value(value: Value) -> tuple[Any, ...]:
    return (id(value), value.name, value.type, value.overridable, _constant(value))


def _constant(value: Value) -> str | None:
    constant = value.constant()
    return None if constant is None else of_array(constant)


def _attribute(value: Any) -> Any:
    if isinstance(value, (Tensor, SparseTensor)):
        return of_array(value.numpy())
    return id(value) if isinstance(value, Graph) else repr(value)


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the places at which two fingerprints of a graph differ."""
    keys = dict.fromkeys((*before, *after))
    return [key for key in keys if before.get(key) != after.get(key)]


def of_answers(answers: Iterable[Claim | Refusal]) -> list[tuple[Any, ...]]:
    """Return what a provider answered, in a form that can be compared."""
    found: list[tuple[Any, ...]] = []
    for answer in answers:
        if isinstance(answer, Claim):
            nodes = tuple(id(node) for node in answer.nodes)
            how = (str(answer.device), answer.fused, answer.body_host, answer.cost)
            found.append(("claim", nodes, *how))
        else:
            found.append(("refusal", id(answer.node), answer.reason))
    return found
