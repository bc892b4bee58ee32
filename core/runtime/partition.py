"""Divides a graph among providers: offer, claim, cut.

Each provider, in fallback order, is offered the nodes left by those before it. The claims
are then numbered in stages: a claim is one stage after any predecessor of another provider
and in the stage of a predecessor of its own. Claims of one provider, device and stage form
a partition. Edges between partitions never lower the stage and raise it between owners, so
partitions cannot form a cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Protocol

from runtime.explain import Event, Report
from runtime.graph import Graph, Node, Value
from runtime.plugin import HOST, Claim, Device, Partition, Refusal
from runtime.providers import Providers


class Lowered(Protocol):
    """A node's standard body, not yet in the graph."""

    @property
    def nodes(self) -> Sequence[Node]:
        """The body's nodes, in order."""

    def apply(self) -> None:
        """Put the body in the node's place."""

    def discard(self) -> None:
        """Forget the body."""


Lower = Callable[[Node], Lowered | None]


@dataclass(frozen=True, slots=True)
class Owner:
    """Who runs a node: provider, device, and the number of the claim that took it.

    ``seconds`` is the node's share of what the claim costs, where the provider said;
    ``host_inputs`` is the claim's.
    """

    provider: str
    device: Device
    claim: int
    body_host: bool = False
    seconds: float | None = None
    host_inputs: frozenset[Value] = frozenset()


@dataclass(slots=True)
class Assignment:
    """Which node belongs to whom, while offers are still being made."""

    graph: Graph
    providers: Providers
    report: Report
    lower: Lower
    owners: dict[Node, Owner] = field(default_factory=dict)
    banned: dict[Node, set[str]] = field(default_factory=dict)
    _claims: int = 0
    _refused_bodies: set[tuple[object, ...]] = field(default_factory=set)

    def ban(self, nodes: Iterable[Node], provider: str) -> None:
        """Take nodes away from a provider for good."""
        for node in nodes:
            self.banned.setdefault(node, set()).add(provider)
            self.owners.pop(node, None)

    def restore(self, owners: Mapping[Node, Owner], provider: str) -> None:
        """Give nodes back to the provider they were taken from."""
        for node, owner in owners.items():
            self.banned.get(node, set()).discard(provider)
            if node.graph is self.graph:
                self.owners[node] = owner

    def offer(self, names: Sequence[str], nodes: Sequence[Node] | None = None) -> None:
        """Offer free nodes, of the whole graph or of a selection, to providers in order."""
        chosen = None if nodes is None else set(nodes)
        for name in names:
            left = [
                node
                for node in self.graph
                if node not in self.owners
                and (chosen is None or node in chosen)
                and name not in self.banned.get(node, ())
            ]
            if not left:
                continue
            refused = self._offer(name, left)
            added = self._offer_bodies(name, refused)
            if chosen is not None:
                chosen.update(added)

    def _offer(self, name: str, left: list[Node]) -> list[Node]:
        """Make one offer; return what was refused."""
        free = dict.fromkeys(left)
        shapes = shape_arithmetic(self.graph)
        reasons: dict[Node, str] = {}
        answers = self._ask(name, left)
        if answers is None:
            return []
        for answer in answers:
            if isinstance(answer, Refusal):
                reasons[answer.node] = answer.reason
            else:
                self._take(name, answer, free, shapes, reasons)
        for node in free:
            self.report.refuse(node, name, reasons.get(node, "not claimed"))
        return list(free)

    def _ask(self, name: str, nodes: list[Node]) -> list[Claim | Refusal] | None:
        """Return a provider's answers; one that raises has claimed nothing: ``None``."""
        try:
            answers = self.providers.call(
                "get_capability",
                name,
                graph=self.graph,
                nodes=tuple(nodes),
                settings=self.providers.settings(name),
            )
            found = [answer for group in answers for answer in group or ()]
            return [answer for answer in found if self._is_sound(name, answer)]
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            for node in nodes:
                self.report.refuse(node, name, reason)
            self._fault(name, reason, error)
            return None

    def _is_sound(self, name: str, answer: Any) -> bool:
        """Whether an answer can be read; one that cannot is ignored, loudly."""
        match answer:
            case Refusal(node=Node()):
                return True
            case Claim(nodes=list() | tuple() as nodes, device=Device()) if nodes:
                if all(isinstance(node, Node) for node in nodes):
                    return True
        self._fault(
            name,
            f"it answered with {answer!r:.200}, which is no claim of a list of nodes for "
            "a device, nor a refusal of a node; it was ignored",
        )
        return False

    def _fault(
        self, name: str, reason: str, cause: BaseException | None = None
    ) -> None:
        self.report.fallback(Event(name, "get_capability", reason), cause)

    def _take(
        self,
        name: str,
        claim: Claim,
        free: dict[Node, None],
        shapes: set[Node],
        reasons: dict[Node, str],
    ) -> None:
        nodes = tuple(claim.nodes)
        foreign = [node for node in nodes if node not in free]
        if foreign and claim.fused:
            self._fault(
                name,
                f"a fused claim holds {foreign[0].label}, which was not offered to it; "
                "the claim was ignored",
            )
            return
        if claim.fused:
            if not is_convex(nodes, self.graph):
                self._fault(
                    name,
                    f"the fused claim from {nodes[0].label} is not convex: a path leaves "
                    "it and comes back; the claim was ignored",
                )
                return
            self._own(name, claim, nodes, free)
            return
        for node in nodes:
            if node not in free:
                continue
            if claim.device != HOST and not claim.shapes and node in shapes:
                reasons[node] = "shape arithmetic stays on the host"
                continue
            self._own(name, claim, (node,), free)

    def _own(
        self, name: str, claim: Claim, nodes: Sequence[Node], free: dict[Node, None]
    ) -> None:
        self._claims += 1
        hosts = claim.body_host and bool(nodes[0].bodies)
        seconds = None if claim.cost is None else claim.cost / len(claim.nodes)
        owner = Owner(
            name, claim.device, self._claims, hosts, seconds, claim.host_inputs
        )
        for node in nodes:
            free.pop(node, None)
            self.owners[node] = owner

    def _offer_bodies(self, name: str, refused: list[Node]) -> list[Node]:
        """Offer refused function operators once more as their standard bodies.

        A body is put in its node's place only when the provider takes all of it.
        """
        added: list[Node] = []
        for node in refused:
            kind = _kind(name, node)
            if kind in self._refused_bodies:
                continue
            body = self.lower(node)
            if body is None:
                self._refused_bodies.add(kind)
                continue
            claims = self._claims_all(name, body.nodes)
            if claims is None:
                self._refused_bodies.add(kind)
                body.discard()
                continue
            body.apply()
            self.report.refusals.pop(node, None)
            free = dict.fromkeys(body.nodes)
            for claim in claims:
                self._take(name, claim, free, set(), {})
            added += body.nodes
        return added

    def _claims_all(self, name: str, nodes: Sequence[Node]) -> list[Claim] | None:
        answers = [
            a for a in self._ask(name, list(nodes)) or () if isinstance(a, Claim)
        ]
        taken = {node for claim in answers for node in claim.nodes}
        return answers if taken >= set(nodes) else None

    def expand_unclaimed(self) -> bool:
        """Replace every unclaimed function operator by its body; tell whether any was."""
        changed = False
        for node in [node for node in self.graph if node not in self.owners]:
            body = self.lower(node)
            if body is not None:
                refusals = self.report.refusals.pop(node, {})
                body.apply()
                for inner in body.nodes:
                    self.report.refusals[inner] = dict(refusals)
                changed = True
        return changed


def _kind(provider: str, node: Node) -> tuple[object, ...]:
    """What nodes share whose bodies a provider answers alike."""
    types = tuple(
        None if value is None else (value.dtype, len(value.shape or ()))
        for value in node.inputs
    )
    attributes = tuple((key, repr(a.value)) for key, a in node.attributes.items())
    return (provider, node.domain, node.op_type, node.version, types, attributes)


def is_convex(nodes: Sequence[Node], graph: Graph) -> bool:
    """Whether no path leaves a set of nodes and comes back into it."""
    inside = set(nodes)
    outside: set[Node] = set()
    started = False
    for node in graph:
        if node in inside:
            started = True
            if any(value.producer in outside for value in node.reads):
                return False
        elif started and any(
            value.producer in inside or value.producer in outside
            for value in node.reads
        ):
            outside.add(node)
    return True


_SHAPE_SOURCES = frozenset({"Shape", "Size"})
_SHAPE_OPS = frozenset((
    "Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Neg", "Abs", "Cast",
    "Concat", "Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Identity",
    "Where", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Not",
    "And", "Or", "ReduceProd", "ReduceSum", "ReduceMin", "ReduceMax", "Range",
    "ConstantOfShape", "Expand", "Ceil", "Floor", "Sqrt", "Split", "NonZero",
    "Flatten", "ScatterND", "ScatterElements", "GatherND", "Pow", "Clip", "Tile",
))  # fmt: skip


def shape_arithmetic(graph: Graph) -> set[Node]:
    """Return the nodes that compute small integers from shapes alone."""
    found: set[Node] = set()
    for node in graph:
        if node.domain or node.bodies:
            continue
        if node.op_type in _SHAPE_SOURCES:
            found.add(node)
        elif node.op_type in _SHAPE_OPS:
            reads = [value for value in node.inputs if value is not None]
            fed = any(value.producer in found for value in reads)
            small = all(_is_small(value) for value in (*reads, *node.outputs))
            if (
                fed
                and small
                and all(v.producer in found or v.is_constant for v in reads)
            ):
                found.add(node)
    return found


def _is_small(value: Value) -> bool:
    shape = value.shape
    if shape is None or len(shape) > 1:
        return False
    return not shape or not isinstance(shape[0], int) or shape[0] <= 64


def cut(
    nodes: Sequence[Node], graph: Graph, owners: Mapping[Node, Owner]
) -> list[Partition]:
    """Group assigned nodes into partitions, in an order in which they can run.

    ``nodes`` may be a convex part of the graph, e.g. one failed partition. Raises
    ``CycleError`` with the claims of a cycle, which only fused claims can cause.
    """
    inside = set(nodes)
    stages = _stages(nodes, owners, inside)
    groups: dict[tuple[int, str, Device], list[Node]] = {}
    for node in nodes:
        owner = owners[node]
        key = (stages[owner.claim], owner.provider, owner.device)
        groups.setdefault(key, []).append(node)
    readers = _readers(graph)
    order = sorted(groups, key=lambda key: key[0])
    return [
        make_partition(key[1], key[2], groups[key], graph, readers, owners)
        for key in order
    ]


def _stages(
    nodes: Sequence[Node], owners: Mapping[Node, Owner], inside: set[Node]
) -> dict[int, int]:
    before: dict[int, set[int]] = {}
    who: dict[int, tuple[str, Device]] = {}
    for node in nodes:
        owner = owners[node]
        who[owner.claim] = (owner.provider, owner.device)
        links = before.setdefault(owner.claim, set())
        for value in node.reads:
            producer = value.producer
            if producer in inside and owners[producer].claim != owner.claim:
                links.add(owners[producer].claim)
    stage: dict[int, int] = {}
    for claim in TopologicalSorter(before).static_order():
        stage[claim] = max(
            (stage[p] + (who[p] != who[claim]) for p in before[claim]), default=0
        )
    return stage


def cut_all(assignment: Assignment) -> list[Partition]:
    """Cut the whole graph; fused claims that would form a cycle are given up, loudly."""
    graph, owners = assignment.graph, assignment.owners
    while True:
        try:
            return cut(list(graph), graph, owners)
        except CycleError as error:
            claims = set(error.args[1])
            number = max(c for c in claims if _size(owners, c) > 1)
            nodes = [node for node, owner in owners.items() if owner.claim == number]
            name = owners[nodes[0]].provider
            reason = (
                f"the fused claim from {nodes[0].label} forms a cycle with another one; "
                "the claim was given up"
            )
            assignment.report.fallback(Event(name, "get_capability", reason))
            assignment.ban(nodes, name)
            assignment.offer(assignment.providers.after(name), nodes)


def _size(owners: Mapping[Node, Owner], claim: int) -> int:
    return sum(owner.claim == claim for owner in owners.values())


Readers = Mapping[Value, Sequence[Node]]


def _readers(graph: Graph) -> dict[Value, list[Node]]:
    """Return who reads each value, a body's reads counted as its node's."""
    readers: dict[Value, list[Node]] = {}
    for node in graph:
        for value in node.reads:
            readers.setdefault(value, []).append(node)
    return readers


def make_partition(
    provider: str,
    device: Device,
    nodes: Sequence[Node],
    graph: Graph,
    readers: Readers | None = None,
    owners: Mapping[Node, Owner] | None = None,
) -> Partition:
    """Return the partition of some nodes: what they read, what others read of them."""
    readers = _readers(graph) if readers is None else readers
    inside = set(nodes)
    made = [value for node in nodes for value in node.outputs]
    own, public = set(made), set(graph.outputs)
    reads = dict.fromkeys(v for node in nodes for v in node.reads if v not in own)
    outputs = [
        value
        for value in made
        if value in public or any(n not in inside for n in readers.get(value, ()))
    ]
    inputs = tuple(value for value in reads if not value.is_constant)
    shape_only = frozenset(
        value
        for value in inputs
        if all(
            user.op_type in _SHAPE_SOURCES and not user.domain
            for user in readers.get(value, ())
            if user in inside
        )
    )
    asked = {value for node in nodes for value in _hosted(node, owners)}
    return Partition(
        provider,
        device,
        graph,
        tuple(nodes),
        inputs,
        tuple(outputs),
        tuple(value for value in reads if value.is_constant),
        shape_only,
        frozenset(asked.intersection(inputs)),
    )


def _hosted(node: Node, owners: Mapping[Node, Owner] | None) -> frozenset[Value]:
    return owners[node].host_inputs if owners else frozenset()
