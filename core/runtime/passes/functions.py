"""Calls of model-local functions become the functions' nodes.

Cases:

1. A call: the body's nodes take its place, at the opsets the function imports; they keep
   the call's origins.
2. A call inside a body, of control flow or of another function: the same, in turn.
3. An attribute that refers to one of the function's: the call's value, else the
   function's default, else it is absent.
4. Fewer inputs than the function has: the rest is absent in the body too.

Functions that call themselves, and calls that would grow beyond the limit, are errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from runtime.errors import ModelInvalid
from runtime.graph import Attribute, AttributeKind, Function, Graph, Node, Value
from runtime.passes.edit import is_public, substitute
from runtime.passes.scope import Scope

Key = tuple[str, str, str]


def run(graph: Graph, scope: Scope) -> int:
    """Inline every call in one graph; return how many there were."""
    functions = scope.model.functions
    if not functions:
        return 0
    _check_acyclic(functions)
    budget = scope.settings.function_node_limit
    pending = [node for node in graph if _key(node) in functions]
    changes = 0
    while pending:
        call = pending.pop()
        function = functions[_key(call)]
        nodes = _inline(call, function, scope.model.graph.fresh_name)
        changes += 1
        scope.inlined += len(nodes)
        if scope.inlined > budget:
            raise ModelInvalid(
                f"inlining the model's functions creates more than {budget} nodes; the "
                "last one was "
                f"{function.name!r}: raise function_node_limit if that is meant"
            )
        for domain, version in function.opsets.items():
            scope.model.opsets.setdefault(domain, version)
        pending += [node for node in nodes if _key(node) in functions]
    return changes


def _key(node: Node) -> Key:
    return (node.domain, node.op_type, node.overload)


def _inline(call: Node, function: Function, name: Callable[[str], str]) -> list[Node]:
    graph = call.graph
    if graph is None:
        raise ValueError(f"{call!r} is in no graph")
    nodes, outputs = instantiate(function, call)
    label = call.name or call.op_type
    for node in nodes:
        node.name = f"{label}/{node.name or node.op_type}"
        for value in node.outputs:
            value.name = name(f"{label}/{value.name}") if value.name else ""
    graph.insert_before(call, nodes)
    for old, new in zip(call.outputs, outputs, strict=False):
        if new is None:
            raise ModelInvalid(
                f"{call.label} has an output that is an input it was not given"
            )
        if old.uses or is_public(old):
            substitute(old, new)
    graph.remove(call)
    return nodes


def instantiate(
    function: Function, call: Node
) -> tuple[list[Node], list[Value | None]]:
    """Return a function's nodes for one call, in no graph yet, and their results."""
    if len(call.inputs) > len(function.graph.inputs):
        raise ModelInvalid(
            f"{call.label} has {len(call.inputs)} inputs; the function "
            f"{function.name!r} takes {len(function.graph.inputs)}"
        )
    given = {**function.defaults, **call.attributes}
    copier = _Copier(given, call.origins)
    for index, formal in enumerate(function.graph.inputs):
        copier.values[formal] = call.input(index)
    nodes = [copier.node(node) for node in function.graph]
    return nodes, [copier.value(value) for value in function.graph.outputs]


class _Copier:
    """Copies nodes and bodies, with values and attributes of a call filled in."""

    def __init__(self, given: dict[str, Attribute], origins: tuple[str, ...]) -> None:
        self.values: dict[Value, Value | None] = {}
        self._given = given
        self._origins = origins

    def value(self, value: Value) -> Value | None:
        """Return a value's copy; what was not copied is read from outside."""
        return self.values.get(value, value)

    def node(self, node: Node) -> Node:
        """Copy one node, its bodies included."""
        attributes = {}
        for name, entry in node.attributes.items():
            found = self._attribute(entry)
            if found is not None:
                attributes[name] = found
        copy = Node(
            node.op_type,
            [None if value is None else self.value(value) for value in node.inputs],
            [self._fresh(value) for value in node.outputs],
            attributes,
            domain=node.domain,
            version=node.version,
            name=node.name,
            overload=node.overload,
            origins=self._origins,
        )
        copy.doc_string = node.doc_string
        copy.metadata = dict(node.metadata)
        return copy

    def _fresh(self, value: Value) -> Value:
        copy = Value(value.name, value.type, value.const)
        copy.doc_string = value.doc_string
        copy.metadata = dict(value.metadata)
        self.values[value] = copy
        return copy

    def _attribute(self, entry: Attribute) -> Attribute | None:
        if entry.reference:
            found = self._given.get(entry.reference)
            return replace(found) if found is not None else None
        if entry.kind is AttributeKind.GRAPH and entry.value is not None:
            return replace(entry, value=self._graph(entry.value))
        if entry.kind is AttributeKind.GRAPHS:
            return replace(entry, value=tuple(map(self._graph, entry.value or ())))
        return entry

    def _graph(self, graph: Graph) -> Graph:
        copy = Graph(graph.name, is_body=True)
        copy.doc_string, copy.metadata = graph.doc_string, dict(graph.metadata)
        copy.inputs = [self._fresh(value) for value in graph.inputs]
        for name, value in graph.initializers.items():
            known = self.values.get(value)
            copy.initializers[name] = known if known is not None else self._fresh(value)
            copy.initializers[name].overridable = value.overridable
        for node in graph:
            copy.append(self.node(node))
        for value in graph.outputs:
            found = self.value(value)
            if found is None:
                raise ModelInvalid(
                    f"{graph.name!r} has an output that its function was not given"
                )
            copy.outputs.append(found)
        return copy


def _check_acyclic(functions: dict[Key, Function]) -> None:
    """Raise `ModelInvalid` for functions that call themselves, directly or not."""
    calls = {
        key: {_key(n) for g in f.graph.all_graphs() for n in g} & functions.keys()
        for key, f in functions.items()
    }
    settled: set[Key] = set()
    while len(settled) < len(calls):
        ready = {
            k for k, inner in calls.items() if k not in settled and inner <= settled
        }
        if not ready:
            names = sorted(":".join(key) for key in calls.keys() - settled)
            raise ModelInvalid(
                f"the functions {', '.join(names[:5])} call themselves; functions of an "
                "ONNX model may not"
            )
        settled |= ready
