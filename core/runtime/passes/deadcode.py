"""What nobody reads goes.

Cases:

1. A node none of whose outputs is read or an output of the graph. ONNX operators have no
   effects, so one with bodies goes too.
2. An optional output that nobody reads: it becomes absent, and vanishes at the end of
   the list.
3. An initializer that nobody reads and no caller can override.
"""

from __future__ import annotations

from functools import cache

from runtime.graph import Graph, Node, Value
from runtime.passes.scope import Scope
from runtime.schema import schema


def run(graph: Graph, scope: Scope) -> int:
    """Remove what is dead from one graph; return how many nodes, outputs and weights."""
    public = set(graph.outputs)
    changes = 0
    for node in reversed(graph):
        if not any(value.uses or value in public for value in node.outputs):
            graph.remove(node)
            changes += 1
        elif len(node.outputs) > 1:
            changes += _trim(node, public)
    kept = public.union(graph.inputs)
    for name, value in list(graph.initializers.items()):
        if not value.uses and value not in kept:
            del graph.initializers[name]
            changes += 1
    return changes


def _trim(node: Node, public: set[Value]) -> int:
    """Make unread optional outputs absent."""
    optional = _optional(node.domain, node.op_type, node.version)
    count, changes = len(node.outputs), 0
    for index in reversed(range(1, len(node.outputs))):
        value = node.outputs[index]
        if index not in optional or value.uses or value in public:
            continue
        if index == count - 1:
            count = index
        elif value.name:
            value.name = ""
            changes += 1
    changes += len(node.outputs) - count
    node.resize_outputs(count)
    return changes


@cache
def _optional(domain: str, op_type: str, version: int) -> frozenset[int]:
    found = schema(domain, op_type, version)
    if found is None:
        return frozenset()
    return frozenset(
        index
        for index, output in enumerate(found.outputs)
        if output.option.name == "Optional"
    )
