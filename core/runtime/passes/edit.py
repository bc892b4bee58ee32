"""The edits passes are made of: write nodes, put one value for another, sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from runtime.graph import Attribute, AttributeKind, Graph, Node, Tensor, Value
from runtime.match import Index, Match, Pattern
from runtime.passes.inference import infer
from runtime.passes.scope import Array, Scope
from runtime.valuetypes import Type

_KINDS = {
    float: AttributeKind.FLOAT,
    int: AttributeKind.INT,
    str: AttributeKind.STRING,
    Tensor: AttributeKind.TENSOR,
}
_LISTS = {
    float: AttributeKind.FLOATS,
    int: AttributeKind.INTS,
    str: AttributeKind.STRINGS,
}


def attribute(value: Any) -> Attribute:
    """Return an attribute holding a number, text, a `Tensor`, or a tuple of these."""
    if isinstance(value, tuple):
        return Attribute(_LISTS[type(value[0])], value)
    return Attribute(_KINDS[type(value)], value)


class Draft:
    """Writes nodes in front of an anchor, standing for the nodes they will replace."""

    def __init__(
        self, scope: Scope, anchor: Node, replaced: Iterable[Node] = ()
    ) -> None:
        self._scope = scope
        self._anchor = anchor
        self.graph: Graph = anchor.graph  # type: ignore[assignment]
        nodes = tuple(replaced) or (anchor,)
        self._origins = tuple(
            dict.fromkeys(name for node in reversed(nodes) for name in node.origins)
        )

    def node(
        self,
        op_type: str,
        inputs: Iterable[Value | None],
        outputs: int = 1,
        **attributes: Any,
    ) -> Node:
        """Add a node; attributes given as ``None`` are left out."""
        made = Node(
            op_type,
            inputs,
            outputs,
            {k: attribute(v) for k, v in attributes.items() if v is not None},
            version=self._scope.version,
            origins=self._origins,
        )
        self.graph.insert_before(self._anchor, [made])
        infer(made, self._scope.facts)
        return made

    def insert(self, node: Node) -> Node:
        """Add a node made elsewhere."""
        self.graph.insert_before(self._anchor, [node])
        return node

    def like(self, value: Value, other: Value) -> Value:
        """Note that a value has another one's type and shape, and return it."""
        value.type = other.type
        self._scope.facts.learn(value, other.shape)
        return value

    def call(self, op_type: str, *inputs: Value | None, **attributes: Any) -> Value:
        """Add a node of one output and return that."""
        return self.node(op_type, inputs, **attributes).outputs[0]

    def constant(self, array: Array, stem: str = "constant") -> Value:
        """Return an initializer holding an array."""
        return self._scope.constant(self.graph, array, stem)


def substitute(old: Value, new: Value, kind: Type | None = None) -> None:
    """Let readers of ``old`` read ``new``, which takes over the name if it has none."""
    producer = old.producer
    graph = producer.graph if producer is not None else None
    if graph is None:
        raise ValueError(f"{old!r} is no node's output")
    if new.type is None:
        new.type = kind or old.type
    graph.replace(old, new)
    if old.name and not new.name and new.const is None:
        new.name, old.name = old.name, ""


def is_public(value: Value) -> bool:
    """Whether a value is an output of its graph."""
    producer = value.producer
    if producer is None or producer.graph is None:
        return False
    return any(value is output for output in producer.graph.outputs)


def is_dead(node: Node) -> bool:
    """Whether nobody reads any of a node's outputs."""
    return not any(value.uses or is_public(value) for value in node.outputs)


def sweep(nodes: Iterable[Node]) -> None:
    """Remove the nodes that nobody reads any more, and what only they read."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        graph = node.graph
        if graph is None or not is_dead(node):
            continue
        reads = node.reads
        graph.remove(node)
        pending += [
            value.producer
            for value in reads
            if value.producer is not None and value.producer.graph is graph
        ]


def rewrite(
    index: Index,
    pattern: Pattern,
    build: Callable[[Match, Scope], Value | None],
    scope: Scope,
) -> int:
    """Replace every match by the value that ``build`` makes of it; return how many.

    ``build`` returns ``None``, before it drafts anything, where a match will not do.
    """
    changes = 0
    for match in index.find(pattern):
        value = build(match, scope)
        if value is not None:
            substitute(match.root.outputs[0], value)
            sweep(match.nodes)
            changes += 1
    return changes


def set_inputs(node: Node, inputs: Iterable[Value | None]) -> None:
    """Give a node other inputs; trailing absent ones vanish."""
    values = list(inputs)
    while values and values[-1] is None:
        values.pop()
    node.resize_inputs(len(values))
    for index, value in enumerate(values):
        node.set_input(index, value)


def same_type(a: Value, b: Value) -> bool:
    """Whether two tensors have one known element type."""
    return a.dtype is not None and a.dtype == b.dtype
