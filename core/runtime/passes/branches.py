"""An If whose condition is known becomes the branch it takes.

Case: the condition is a constant of one element. The branch's nodes and initializers move
into the graph the If stands in; the other branch goes.
"""

from __future__ import annotations

from runtime.graph import Graph, Node
from runtime.passes.edit import is_public, substitute
from runtime.passes.scope import Scope


def run(graph: Graph, scope: Scope) -> int:
    """Take every known branch of one graph; return how many."""
    changes = 0
    pending = [node for node in graph if _is_if(node)]
    while pending:
        node = pending.pop()
        value = node.input(0)
        condition = value.constant() if value is not None else None
        if condition is not None and condition.size == 1:
            moved = _take(graph, node, bool(condition.reshape(())[()]), scope)
            pending += [inner for inner in moved if _is_if(inner)]
            changes += 1
    return changes


def _is_if(node: Node) -> bool:
    return node.op_type == "If" and not node.domain


def _take(graph: Graph, node: Node, truth: bool, scope: Scope) -> list[Node]:
    """Put a branch in its node's place; return what was moved."""
    chosen = node.attributes.pop("then_branch" if truth else "else_branch")
    branch: Graph = chosen.value
    root, stem = scope.model.graph, node.name or node.op_type
    for value in branch.initializers.values():
        value.name = root.fresh_name(f"{stem}/{value.name}")
        graph.add_initializer(value)
    moved = list(branch)
    for inner in moved:
        inner.graph = None
        for value in inner.outputs:
            if value.name:
                value.name = root.fresh_name(f"{stem}/{value.name}")
    graph.insert_before(node, moved)
    for old, new in zip(node.outputs, branch.outputs, strict=True):
        if old.uses or is_public(old):
            new.type = new.type or old.type
            substitute(old, new)
    graph.remove(node)
    return moved
