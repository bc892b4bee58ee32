"""Where patterns are looked for: a graph's nodes by operator, and what was found."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from runtime.graph import Graph, Node, Value
from runtime.match.attempt import Attempt
from runtime.match.pattern import Pattern


class Match:
    """What a pattern found: values and nodes by name, and every node it covers.

    ``nodes`` starts with the last node, `root`; interior ones are read by no other.
    """

    __slots__ = ("_named", "nodes", "values")

    def __init__(
        self, values: dict[str, Value], named: dict[str, Node], nodes: tuple[Node, ...]
    ) -> None:
        self.values = values
        self._named = named
        self.nodes = nodes

    @property
    def root(self) -> Node:
        """The last node, whose output stands for the whole."""
        return self.nodes[0]

    def __getitem__(self, name: str) -> Value:
        return self.values[name]

    def get(self, name: str) -> Value | None:
        """Return a captured value, ``None`` if the match went without it."""
        return self.values.get(name)

    def node(self, name: str) -> Node | None:
        """Return a named node, ``None`` if the match went without it."""
        return self._named.get(name)


class Index:
    """A graph's nodes by operator, made once and asked many times."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: dict[str, list[Node]] = {}
        for node in graph:
            self._nodes.setdefault(node.op_type, []).append(node)

    def of(self, *op_types: str) -> list[Node]:
        """Return the nodes of some operators that are still in the graph."""
        found = [node for name in op_types for node in self._nodes.get(name, ())]
        return [node for node in found if node.graph is self._graph]

    def find(self, pattern: Pattern) -> Iterator[Match]:
        """Yield every match; the caller may rewrite the graph between two of them."""
        for node in self._ends(pattern):
            if node.graph is self._graph:
                attempt = Attempt(set(self._graph.outputs))
                if _matches(pattern, node, attempt):
                    yield Match(*attempt.found())

    def _ends(self, pattern: Pattern) -> list[Node]:
        """Return where a match may end, judged by the pattern's rarest operator."""
        wanted = _needs(pattern)
        counts = [
            sum(len(self._nodes.get(name, ())) for name in names) for names, _ in wanted
        ]
        if not counts or not min(counts):
            return []
        rarest = min(range(len(counts)), key=lambda i: (counts[i], wanted[i][1]))
        if 4 * counts[rarest] >= counts[0]:
            return self.of(*wanted[0][0])
        names, distance = wanted[rarest]
        found: dict[Node, None] = {}
        for start in self.of(*names):
            found.update(dict.fromkeys(_climb(start, wanted[0][0], distance)))
        return list(found)


@cache
def _needs(pattern: Pattern) -> list[tuple[tuple[str, ...], int]]:
    return list(dict.fromkeys(pattern.operators()))


def _climb(start: Node, op_types: tuple[str, ...], distance: int) -> Iterator[Node]:
    """Yield the nodes of some operators among the readers within a distance."""
    level = {start: None}
    for _ in range(distance):
        level = {user: None for node in level for v in node.outputs for user in v.users}
        yield from (node for node in level if node.op_type in op_types)


def _matches(pattern: Pattern, node: Node, attempt: Attempt) -> bool:
    ends = node.outputs or (None,)
    return any(pattern.matches(end, attempt, attempt.is_closed) for end in ends)


def explain(pattern: Pattern, node: Node) -> str:
    """Return why a node is not the end of a match, ``""`` if it is."""
    public = set(node.graph.outputs) if node.graph is not None else set()
    attempt = Attempt(public, recording=True)
    return "" if _matches(pattern, node, attempt) else attempt.reason or "no match"
