"""Weighs islands: work gained on a provider against bytes moved and calls made for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from runtime.explain import Event, Report
from runtime.graph import Graph, Node, Value
from runtime.partition import Assignment, Owner
from runtime.plugin import HOST, ProviderInfo
from runtime.providers import Providers
from runtime.valuetypes import Bounds, nbytes

HOST_FLOPS = 5e10
"""What the last provider is taken to do per second where it does not say."""

TYPICAL = 32
"""The size assumed for a dim of which nothing is known."""

_NO_BOUNDS: Mapping[str, Bounds] = {}


def elements(value: Value, bounds: Mapping[str, Bounds] = _NO_BOUNDS) -> int:
    """Return a tensor's estimated number of elements at typical sizes."""
    return prod(_length(dim, bounds) for dim in value.shape or ())


def _length(dim: int | str | None, bounds: Mapping[str, Bounds]) -> int:
    if isinstance(dim, int):
        return dim
    known = bounds.get(dim) if dim else None
    return (known.typical or known.maximum or TYPICAL) if known else TYPICAL


def size(value: Value, bounds: Mapping[str, Bounds] = _NO_BOUNDS) -> int:
    """Return a value's estimated bytes."""
    return nbytes(value.dtype or 1, (elements(value, bounds),))


def work(node: Node, bounds: Mapping[str, Bounds] = _NO_BOUNDS) -> float:
    """Return a node's estimated floating-point operations in one run."""
    out = sum(elements(value, bounds) for value in node.outputs if value.name)
    first, second = node.input(0), node.input(1)
    match node.op_type:
        case "MatMul" | "Gemm" | "MatMulInteger" | "QLinearMatMul" | "FusedMatMul":
            inner = _size(first, -1, bounds)
            return 2.0 * out * inner
        case "Conv" | "ConvInteger" | "QLinearConv" | "FusedConv":
            weight = node.input(3) if node.op_type == "QLinearConv" else second
            per_output = elements(weight, bounds) if weight is not None else 1
            channels = _size(weight, 0, bounds)
            return 2.0 * out * per_output / max(channels, 1)
        case "ConvTranspose":
            taps = elements(second, bounds) if second is not None else 1
            inputs = elements(first, bounds) if first is not None else out
            return 2.0 * inputs * taps / max(_size(second, 0, bounds), 1)
        case "Attention" | "MultiHeadAttention" | "GroupQueryAttention":
            return 4.0 * out * max(_size(first, -2, bounds), 1)
        case "LSTM" | "GRU" | "RNN":
            steps = _size(first, 0, bounds) * _size(first, 1, bounds)
            weights = sum(elements(v, bounds) for v in (second, node.input(2)) if v)
            return 2.0 * steps * weights
        case _:
            inputs = max((elements(v, bounds) for v in node.inputs if v), default=0)
            return float(max(out, inputs))


def _size(value: Value | None, axis: int, bounds: Mapping[str, Bounds]) -> int:
    shape = value.shape if value is not None else None
    if not shape or not -len(shape) <= axis < len(shape):
        return 1
    return _length(shape[axis], bounds)


@dataclass(frozen=True, slots=True)
class Component:
    """A connected piece of what one provider owns, with what crosses its edge."""

    provider: str
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


def components(graph: Graph, owners: Mapping[Node, Owner]) -> list[Component]:
    """Return the connected pieces, in graph order of their first node."""
    parent: dict[Node, Node] = {node: node for node in graph}

    def root(node: Node) -> Node:
        while parent[node] is not node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for node in graph:
        for value in node.reads:
            producer = value.producer
            if producer in parent and _same(owners, producer, node):
                parent[root(node)] = root(producer)
    groups: dict[Node, list[Node]] = {}
    for node in graph:
        groups.setdefault(root(node), []).append(node)
    return [_component(owners[nodes[0]].provider, nodes) for nodes in groups.values()]


def _same(owners: Mapping[Node, Owner], a: Node | None, b: Node) -> bool:
    one, two = owners[a], owners[b]  # type: ignore[index]
    return (one.provider, one.device) == (two.provider, two.device)


def _component(provider: str, nodes: Sequence[Node]) -> Component:
    inside = set(nodes)
    reads = dict.fromkeys(
        value
        for node in nodes
        for value in node.reads
        if value.producer not in inside and not value.is_constant
    )
    graph = nodes[0].graph
    public = set(graph.outputs) if graph is not None else set()
    made = [
        value
        for node in nodes
        for value in node.outputs
        if value in public or any(user not in inside for user in value.users)
    ]
    return Component(provider, tuple(nodes), tuple(reads), tuple(made))


def boundary_bytes(values: Iterable[Value], bounds: Mapping[str, Bounds]) -> int:
    """Return the estimated bytes of the values that cross an edge."""
    return sum(size(value, bounds) for value in values)


def weigh(assignment: Assignment, providers: Providers, report: Report) -> None:
    """Give islands that cost more than they gain to the next providers.

    Only providers that declare ``flops``, or the cost of their claims, are weighed.
    """
    graph = assignment.graph
    host = providers.info(providers.names[-1]).flops or HOST_FLOPS
    for name in providers.names[:-1]:
        info = providers.info(name)
        for part in components(graph, assignment.owners):
            if part.provider != name:
                continue
            gained = _gained(part, assignment.owners, info, host, graph.bounds)
            if gained is None:
                continue
            lost = _lost(part, assignment.owners, info, graph.bounds)
            if gained < lost:
                count = len(part.nodes)
                reason = (
                    f"an island of {count} node{'s' * (count != 1)} would gain "
                    f"{gained * 1e6:.0f} µs and cost {lost * 1e6:.0f} µs"
                )
                _give_back(part, reason, assignment, providers, report)


Owners = Mapping[Node, Owner]


def _gained(
    part: Component,
    owners: Owners,
    info: ProviderInfo,
    host: float,
    bounds: Mapping[str, Bounds],
) -> float | None:
    """Return the seconds of work a provider saves; ``None`` where it declares nothing."""
    gained, known = 0.0, bool(info.flops)
    for node in part.nodes:
        flops, seconds = work(node, bounds), owners[node].seconds
        if seconds is not None:
            known = True
        elif info.flops:
            seconds = flops / info.flops
        gained += flops / host - (seconds or 0.0)
    return gained if known else None


def _lost(
    part: Component, owners: Owners, info: ProviderInfo, bounds: Mapping[str, Bounds]
) -> float:
    """Return the seconds of a call and of what it moves."""
    if owners[part.nodes[0]].device == HOST or not info.bandwidth:
        return info.overhead
    moved = boundary_bytes((*part.inputs, *part.outputs), bounds)
    return info.overhead + moved / info.bandwidth


def _give_back(
    part: Component,
    reason: str,
    assignment: Assignment,
    providers: Providers,
    report: Report,
) -> None:
    """Offer an island to the next providers; it stays where nobody else takes it whole."""
    graph, name, nodes = assignment.graph, part.provider, part.nodes
    kept = {node: assignment.owners[node] for node in nodes}
    labels = tuple(node.label for node in nodes)
    assignment.ban(nodes, name)
    assignment.offer(providers.after(name), nodes)
    if any(node.graph is graph and node not in assignment.owners for node in nodes):
        assignment.restore(kept, name)
        return
    for node in nodes:
        report.refuse(node, name, reason)
    report.note(Event(name, "cost", reason, "", labels, fault=False))
