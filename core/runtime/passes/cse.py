"""Equal computations are made once.

Cases:

1. Small constants of one graph with the same type, shape and bytes are one initializer.
2. Nodes with the same operator, version, attributes and inputs are one node, the first.

Nodes with bodies, random ones, and pairs both of which are outputs of the graph stay.
"""

from __future__ import annotations

from typing import Any

from runtime.graph import Attribute, Graph, Node, SparseTensor, Tensor
from runtime.passes.scope import RANDOM, Scope

_SMALL = 64
_LONG = 1024
"""Numbers of an attribute up to which it is compared, as those of trees are not."""


def run(graph: Graph, scope: Scope) -> int:
    """Merge what is equal in one graph; return how many constants and nodes went."""
    public = {id(value) for value in graph.outputs}
    changes = _constants(graph, public)
    alone: dict[tuple[Any, ...], Node] = {}
    seen: dict[tuple[Any, ...], Node] = {}
    for node in graph:
        other = alone.setdefault((node.op_type, node.inputs), node)
        if other is node:
            continue  # most nodes read what no other does, and need no key
        first = _first(other, node, seen)
        if first is not node and _merge(graph, first, node, public):
            changes += 1
    return changes


def _first(other: Node, node: Node, seen: dict[tuple[Any, ...], Node]) -> Node:
    """Return the first node that is equal to a node, which may be itself."""
    for each in (other, node):
        key = likeness(each)
        found = each if key is None else seen.setdefault((key, each.inputs), each)
    return found


def _constants(graph: Graph, public: set[int]) -> int:
    """Case 1."""
    seen: dict[tuple[Any, ...], Any] = {}
    fixed = public | {id(value) for value in graph.inputs}
    changes = 0
    for name, value in list(graph.initializers.items()):
        const = value.const
        if not isinstance(const, Tensor) or const.size > _SMALL or const.dtype == 8:
            continue
        if id(value) in fixed:
            continue
        key = (const.dtype, const.shape, const.numpy().tobytes())
        first = seen.setdefault(key, value)
        if first is not value:
            graph.replace(value, first)
            del graph.initializers[name]
            changes += 1
    return changes


def likeness(node: Node) -> tuple[Any, ...] | None:
    """Return what nodes that compute the same have in common besides their inputs.

    It is ``None`` for nodes that cannot be compared.
    """
    if node.op_type in RANDOM:
        return None
    attributes: list[Any] = []
    for name, entry in node.attributes.items():
        value = _plain(entry)
        if value is None:
            return None
        attributes.append((name, value))
    if len(attributes) > 1:
        attributes.sort(key=lambda item: item[0])
    return (
        node.op_type,
        node.domain,
        node.version,
        node.overload,
        tuple(attributes),
    )


def _plain(entry: Attribute) -> Any:
    """Return something hashable that stands for an attribute, ``None`` if nothing can."""
    value = entry.value
    if isinstance(value, (Graph, SparseTensor)):
        return None
    if isinstance(value, Tensor):
        if value.dtype == 8 or value.size > _SMALL:
            return ("tensor", id(value))
        return ("tensor", value.dtype, value.shape, value.numpy().tobytes())
    if isinstance(value, tuple):
        if len(value) > _LONG:
            return ("tuple", id(value))
        if any(not isinstance(item, (int, float, str)) for item in value):
            return None
        return (entry.kind, tuple(map(repr, value)))
    return (entry.kind, repr(value))


def _merge(graph: Graph, first: Node, node: Node, public: set[int]) -> bool:
    """Case 2."""
    pairs = list(zip(first.outputs, node.outputs, strict=False))
    if len(first.outputs) != len(node.outputs):
        return False
    if any(id(old) in public for _, old in pairs):
        return False
    if any(old.uses and not (new.name or new.uses) for new, old in pairs):
        return False
    for new, old in pairs:
        graph.replace(old, new)
    graph.remove(node)
    first.origins = tuple(dict.fromkeys(first.origins + node.origins))
    return True
