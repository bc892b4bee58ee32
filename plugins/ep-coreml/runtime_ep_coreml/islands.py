"""Keeps few pieces: every connected piece of a model costs a call and a synchronisation.

Core ML has no queue that several models share from Python, so that a model cut into many
small pieces is slower than one that the next provider runs whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

from runtime.graph import Node, Value

MOST = 5
"""Connected pieces up to which a graph is cut; the largest are kept."""

TYPICAL = 32
"""The size assumed for a dim that is not known."""


def smaller(nodes: Sequence[Node]) -> dict[Node, str]:
    """Return the nodes of pieces that are too many, with the reason."""
    pieces = sorted(connected(nodes), key=lambda p: (-sum(map(work, p)), -len(p)))
    reason = (
        f"one of {len(pieces)} separate pieces, of which the {MOST} largest are kept"
    )
    return {node: reason for piece in pieces[MOST:] for node in piece}


def connected(nodes: Sequence[Node]) -> list[list[Node]]:
    """Return the connected pieces of some nodes, in the order of their first nodes."""
    parent = {node: node for node in nodes}

    def root(node: Node) -> Node:
        while parent[node] is not node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for node in nodes:
        for value in node.reads:
            if value.producer in parent:
                parent[root(node)] = root(value.producer)
    pieces: dict[Node, list[Node]] = {}
    for node in nodes:
        pieces.setdefault(root(node), []).append(node)
    return list(pieces.values())


def work(node: Node) -> int:
    """Return roughly how many multiplications a node takes."""
    made = _elements(node.outputs[:1])
    weights = [v for v in node.inputs if v is not None and v.is_constant]
    if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and weights:
        shape = weights[0].shape or (1,)
        columns = shape[-1] if node.op_type in ("Gemm", "MatMul") else shape[0]
        return made * _elements(weights[:1]) // max(_size(columns), 1)
    return made


def _elements(values: Iterable[Value]) -> int:
    return sum(prod(map(_size, value.shape or ())) for value in values)


def _size(dim: int | str | None) -> int:
    return dim if isinstance(dim, int) else TYPICAL
