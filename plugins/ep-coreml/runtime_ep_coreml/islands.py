"""Keeps few pieces: each costs a package, a call and a synchronisation.

Core ML has no queue that several models share from Python, so that a model cut into many
small pieces is slower than one that the next provider runs whole. What is connected and
what the runtime cuts differ: a connected piece is cut wherever one of its paths is left to
others for a while, and separate pieces of one stage are one partition. Neither shall be
many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from weakref import WeakKeyDictionary

from runtime.graph import Graph, Node, Value

MOST = 5
"""Connected pieces, and partitions, up to which a graph is cut; the largest are kept."""

TYPICAL = 32
"""The size assumed for a dim that is not known."""

Sources = Mapping[Node, Sequence[Node]]
"""Every node of a graph, in order, with the nodes that it reads from."""


def smaller(
    graph: Graph, offered: Sequence[Node], nodes: Sequence[Node]
) -> dict[Node, str]:
    """Return the nodes of what is too many, with the reason.

    ``nodes`` are those of the ``offered`` ones that can be lowered. Giving up a partition
    moves what comes after it to other stages, so that half of the excess goes at a time.
    """
    reading = sources((*graph, *offered))
    left: dict[Node, str] = {}
    counts: dict[str, int] = {}
    while True:
        kept = [node for node in nodes if node not in left]
        kind, parts = "separate pieces", connected(kept)
        if len(parts) <= MOST:
            kind, parts = "partitions", partitions(reading, offered, kept)
        if len(parts) <= MOST:
            return left
        count = counts.setdefault(kind, len(parts))
        reason = f"one of {count} {kind}, of which the {MOST} largest are kept"
        parts.sort(key=lambda part: (-sum(map(work, part)), -len(part)))
        for part in parts[(len(parts) + MOST) // 2 :]:
            left |= dict.fromkeys(part, reason)


def operator(graph: Graph, nodes: Sequence[Node]) -> Node | None:
    """Return the node that some nodes, which are not in the graph yet, are the body of.

    The runtime shows an operator that was refused once more by its standard body, which has
    its origins and reads its inputs. ``None`` where the nodes are the graph's own.
    """
    if not nodes or nodes[0].graph is graph:
        return None
    made = {value for node in nodes for value in node.outputs}
    outer = {
        value
        for node in nodes
        for value in node.reads
        if value not in made and not value.is_constant
    }
    origins = {origin for node in nodes for origin in node.origins}
    for node in graph:
        if origins <= set(node.origins) and outer <= set(node.reads):
            return node
    return None


def crowded(graph: Graph, owned: Sequence[Node], operator: Node) -> str:
    """Say that an operator would be a piece too many beside those that are owned."""
    reading, offered = sources(graph), list(graph)
    both = [*owned, operator]
    before = len(connected(owned)), len(partitions(reading, offered, owned))
    after = len(connected(both)), len(partitions(reading, offered, both))
    if any(new > max(old, MOST) for old, new in zip(before, after, strict=True)):
        return f"it would be one piece more than the {MOST} that are kept"
    return ""


class Claimed:
    """Remembers what was claimed of each graph, to weigh bodies that are shown later.

    Nodes are remembered by identity: they would keep their graph.
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Graph, set[int]] = WeakKeyDictionary()

    def note(
        self, graph: Graph, offered: Iterable[Node], nodes: Iterable[Node]
    ) -> None:
        """Note what was claimed of nodes that were free before."""
        known = self._known.setdefault(graph, set())
        known.difference_update(map(id, offered))
        known.update(map(id, nodes))

    def of(self, graph: Graph) -> list[Node]:
        """Return the nodes of a graph that are claimed."""
        known = self._known.get(graph, ())
        return [node for node in graph if id(node) in known]


def sources(nodes: Iterable[Node]) -> Sources:
    """Return for every node, given in order, the nodes that it reads from."""
    found: dict[Node, list[Node]] = {}
    for node in nodes:
        producers = (value.producer for value in node.reads)
        found[node] = [one for one in producers if one in found]
    return found


def partitions(
    reading: Sources, offered: Iterable[Node], nodes: Iterable[Node]
) -> list[list[Node]]:
    """Return some nodes as the runtime cuts them: by stage, in order.

    A node is one stage after what it reads of another owner, and in the stage of what it
    reads of its own. Who owns the others is not known yet: those offered are taken for one
    provider's, the rest for another's.
    """
    owners = dict.fromkeys(offered, "the next") | dict.fromkeys(nodes, "this")
    stages: dict[Node, int] = {}
    parts: dict[int, list[Node]] = {}
    for node, reads in reading.items():
        owner = owners.get(node)
        stages[node] = max(
            (stages[one] + (owners.get(one) != owner) for one in reads), default=0
        )
        if owner == "this":
            parts.setdefault(stages[node], []).append(node)
    return [parts[stage] for stage in sorted(parts)]


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
