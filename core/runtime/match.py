"""Finds subgraphs by pattern, from an index of a graph's nodes by operator.

A pattern describes a value by what produced it::

    x, eps = Any("x"), Constant("eps")
    root = Op("Sqrt", Op("Add", Op("ReduceMean", Op("Mul", x, x), ...), eps))
    for match in Index(graph).find(root):
        match["x"], match["eps"], match.nodes

A match starts at the pattern's last node and follows producers back. All nodes but the
last and those marked ``shared`` are interior: a value of theirs that is read elsewhere,
or is an output of the graph, prevents the match. `explain` tells why a node did not
match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from runtime.graph import Graph, Node, Value
from runtime.pattern import (
    COMMUTATIVE,
    Any,
    Constant,
    OneOf,
    Op,
    Pattern,
    Product,
    Scalar,
    Then,
    Through,
    close,
    say,
    scalar,
)

__all__ = [
    "COMMUTATIVE",
    "Any",
    "Constant",
    "Index",
    "Match",
    "OneOf",
    "Op",
    "Pattern",
    "Product",
    "Scalar",
    "Through",
    "close",
    "explain",
    "scalar",
]


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


class State:
    """One attempt: what is bound so far, and the furthest failure when asked to say."""

    def __init__(self, public: set[Value], recording: bool = False) -> None:
        self._public = public
        self._values: dict[str, Value] = {}
        self._named: dict[str, Node] = {}
        self._nodes: dict[Node, bool] = {}
        self._recording = recording
        self._depth = -1
        self.reason = ""

    def fail(self, say: Callable[[], str]) -> bool:
        """Note why the attempt ends here, if it got further than any before."""
        if self._recording and len(self._nodes) > self._depth:
            self._depth = len(self._nodes)
            self.reason = say()
        return False

    def bind(self, name: str, value: Value, then: Then) -> bool:
        """Give a value a name for the rest of the attempt."""
        if not name:
            return then()
        bound = self._values.get(name)
        if bound is not None:
            if bound is value:
                return then()
            return self.fail(lambda: f"{name!r} is {say(bound)}, not {say(value)}")
        self._values[name] = value
        if then():
            return True
        del self._values[name]
        return False

    def visit(self, node: Node, pattern: Op, then: Then) -> bool:
        """Cover a node for the rest of the attempt."""
        if node in self._nodes:
            return then()
        self._nodes[node] = pattern.shared
        if pattern.name:
            self._named[pattern.name] = node
        if then():
            return True
        del self._nodes[node]
        self._named.pop(pattern.name, None)
        return False

    def visit_all(self, nodes: Iterable[Node], then: Then) -> bool:
        """Cover several interior nodes for the rest of the attempt."""
        new = [node for node in nodes if node not in self._nodes]
        self._nodes.update(dict.fromkeys(new, False))
        if then():
            return True
        for node in new:
            del self._nodes[node]
        return False

    def is_closed(self) -> bool:
        """Whether interior values are read inside the match only."""
        root = next(iter(self._nodes))
        for node, shared in self._nodes.items():
            if shared or node is root:
                continue
            for value in node.outputs:
                if value in self._public:
                    return self.fail(partial(_leak, value))
                for user, _ in value.uses:
                    if user not in self._nodes or self._nodes[user]:
                        return self.fail(partial(_leak, value, user))
        return True

    def found(self) -> tuple[dict[str, Value], dict[str, Node], tuple[Node, ...]]:
        """Return values and nodes by name, and all covered nodes, last one first."""
        nodes = tuple(node for node, shared in self._nodes.items() if not shared)
        return dict(self._values), dict(self._named), nodes


def _leak(value: Value, user: Node | None = None) -> str:
    who = f"read by {user.label} too" if user is not None else "a graph output"
    return f"{say(value)} is {who}"


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

    def find(self, pattern: Op) -> Iterator[Match]:
        """Yield every match; the caller may rewrite the graph between two of them."""
        for node in self._roots(pattern):
            if node.graph is not self._graph:
                continue
            state = State(set(self._graph.outputs))
            if _attempt(pattern, node, state):
                yield Match(*state.found())

    def _roots(self, pattern: Op) -> list[Node]:
        """Return where a match may end, judged by the pattern's rarest operator."""
        wanted = list(pattern.operators())
        counts = [
            sum(len(self._nodes.get(n, ())) for n in names) for names, _ in wanted
        ]
        if not counts or not min(counts):
            return []
        rarest = min(range(len(counts)), key=lambda i: (counts[i], wanted[i][1]))
        names, distance = wanted[rarest]
        if 4 * counts[rarest] >= counts[0]:
            return self.of(*pattern.op_types)
        found: dict[Node, None] = {}
        for start in self.of(*names):
            found.update(dict.fromkeys(_climb(start, pattern.op_types, distance)))
        return list(found)


def _climb(start: Node, op_types: tuple[str, ...], distance: int) -> Iterator[Node]:
    """Yield the nodes of some operators among the readers within a distance."""
    level = {start: None}
    for _ in range(distance):
        level = {user: None for node in level for v in node.outputs for user in v.users}
        yield from (node for node in level if node.op_type in op_types)


def _attempt(pattern: Op, node: Node, state: State) -> bool:
    if node.op_type not in pattern.op_types or node.domain != pattern.domain:
        return state.fail(
            lambda: f"{node.label} is not {' or '.join(pattern.op_types)}"
        )
    return pattern.matches_node(node, state, state.is_closed)


def explain(pattern: Op, node: Node) -> str:
    """Return why a node is not the end of a match, ``""`` if it is."""
    public = set(node.graph.outputs) if node.graph is not None else set()
    state = State(public, recording=True)
    return "" if _attempt(pattern, node, state) else state.reason or "no match"
