"""One attempt to match a pattern: what is bound, what is covered, why it failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from runtime.graph import Node, Value

Then = Callable[[], bool]
"""Everything still to be matched once the present step fits."""


class Attempt:
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

    def visit(self, node: Node, name: str, shared: bool, then: Then) -> bool:
        """Cover a node for the rest of the attempt."""
        if node in self._nodes:
            return then()
        self._nodes[node] = shared
        if name:
            self._named[name] = node
        if then():
            return True
        del self._nodes[node]
        self._named.pop(name, None)
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


def say(value: Value | None) -> str:
    """Return how messages call a value."""
    if value is None:
        return "an absent input"
    return value.name or (value.producer.label if value.producer else "a value")


def _leak(value: Value, user: Node | None = None) -> str:
    who = f"read by {user.label} too" if user is not None else "a graph output"
    return f"{say(value)} is {who}"
