"""Which nodes Core ML shall run, and why not the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from runtime.graph import Graph, Node, Value
from runtime.plugin import Claim, Refusal

from runtime_ep_coreml import context, islands, lowering  # noqa: F401  (the latter fills the table)
from runtime_ep_coreml.dims import Sizes, sizes_of
from runtime_ep_coreml.guards import type_reason, used
from runtime_ep_coreml.options import Choice
from runtime_ep_coreml.table import TABLE
from runtime_ep_coreml.trial import Trial

_trial = Trial()
_claimed = islands.Claimed()


def offer(
    graph: Graph, nodes: Sequence[Node], choice: Choice
) -> Iterator[Claim | Refusal]:
    """Claim what can be lowered; refuse the rest, each node with its reason."""
    if graph.is_body and not choice.bodies:
        for node in nodes:
            yield Refusal(
                node, "bodies are left alone; EnableOnSubgraphs=1 offers them"
            )
        return
    if any(map(context.is_compiled, graph)):
        yield from _compiled(nodes)
        return
    sizes = sizes_of(graph, choice.dims)
    claimed: dict[Node, None] = {}
    for node in nodes:
        reason = (
            refusal(node)
            or _open_dim(node, claimed, sizes, choice)
            or _trial.reason(node, choice.target, choice.precision == "FP16")
        )
        if reason:
            yield Refusal(node, reason)
        else:
            claimed[node] = None
    scattered = _scattered(graph, nodes, list(claimed))
    for node, reason in scattered.items():
        yield Refusal(node, reason)
    kept = [node for node in claimed if node not in scattered]
    _claimed.note(graph, nodes, kept)
    if kept:
        yield Claim(kept)


def _scattered(
    graph: Graph, nodes: Sequence[Node], claimed: Sequence[Node]
) -> dict[Node, str]:
    """Return what could be lowered and shall not be, with the reason.

    An operator's body is taken whole or not at all.
    """
    operator = islands.operator(graph, nodes)
    if operator is None:
        return islands.smaller(graph, nodes, claimed)
    if len(claimed) < len(nodes):
        reason = f"the body of {operator.label} is not lowered as a whole"
    else:
        reason = islands.crowded(graph, _claimed.of(graph), operator)
    return dict.fromkeys(claimed, reason) if reason else {}


def _compiled(nodes: Sequence[Node]) -> Iterator[Claim | Refusal]:
    """Claim what carries a package; what was left over when they were made stays so."""
    for node in nodes:
        if not context.is_compiled(node):
            yield Refusal(node, "the model is compiled, and this node was not")
        elif reason := context.against(node):
            yield Refusal(node, reason)
        else:
            yield Claim([node])


def refusal(node: Node) -> str:
    """Say why a node cannot be lowered whatever writes it, or return ``""``."""
    if node.domain:
        return f"operators of {node.domain} are not lowered"
    row = TABLE.get(node.op_type)
    if row is None:
        return f"{node.op_type} has no lowering"
    values = [value for value in node.inputs if value is not None]
    values += [value for value in node.outputs if used(value)]
    return next(filter(None, map(_type, values)), "") or row.against(node)


def _type(value: Value) -> str:
    """Say what stands against a value; constants without elements may be absent inputs."""
    reason = type_reason(value)
    if reason == "a value has no elements" and value.is_constant:
        return ""
    return reason


def _open_dim(
    node: Node, claimed: Mapping[Node, None], sizes: Mapping[str, Sizes], choice: Choice
) -> str:
    """Say which dim of what comes from outside the claim has no bound."""
    for value in node.inputs:
        if value is None or value.is_constant or value.producer in claimed:
            continue
        for dim in value.shape or ():
            if isinstance(dim, int):
                continue
            if choice.static:
                return f"the dim {dim or '?'} of {value.name!r} has no fixed size"
            if dim is None or dim not in sizes:
                return (
                    f"the dim {dim or '?'} of {value.name!r} has no upper bound; give one "
                    f"with DimBounds='{dim or 'name'}=1..N', or fix the dim"
                )
    if choice.static:
        for value in node.outputs:
            if used(value) and not all(isinstance(d, int) for d in value.shape or ()):
                return f"the shape of {value.name!r} is not fixed"
    return ""
