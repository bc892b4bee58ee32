"""Chooses groups: anchors with the element-wise nodes before and after them.

Patterns of many nodes have been raised to single operators by the engine already; what
is left is to let element-wise work happen where its operands are at hand. A group runs
at the place of its last node; nothing outside reads what is made inside, so the order
of groups is one of dependence too.

A DequantizeLinear is done anew by every group that reads it: bytes are read instead of
floats. Only who can read no more than memory has its result written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from runtime.graph import Node, Value

from runtime_ep_cuda.express import is_elementwise, operands_of, operation
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.quantized import are_alike

MOST_OPERANDS = 12
"""Tensors that one expression may read: each has an address and strides to keep."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What an anchor's step can take along: work before its first input, work after.

    One that is ``quantized`` takes along whatever dequantizes its first two inputs. One
    that ``moves`` elements does so in bytes where all that it reads is dequantized and its
    result quantized by the same scale. What ``scales`` channels by constants tells of an
    anchor whether its weights can do that, too.
    """

    before: bool = False
    after: bool = False
    quantized: bool = False
    moves: bool = False
    scales: Callable[[Node, Node], bool] | None = None


Judge = Callable[[Node], Habits]


def groups(
    nodes: Sequence[Node],
    outside: Callable[[Value], bool],
    judge: Judge,
    settled: Collection[Node] = (),
) -> list[Group]:
    """Divide nodes, in order, into groups, in an order in which they can run.

    ``outside`` tells whether others than these nodes read a value's elements; ``judge``
    tells of an anchor what its step takes along; ``settled`` are nodes that read nothing
    but shapes, and belong to no group.
    """
    return _Grouping(nodes, outside, judge, settled).result()


class _Grouping:
    def __init__(
        self,
        nodes: Sequence[Node],
        outside: Callable[[Value], bool],
        judge: Judge,
        settled: Collection[Node],
    ) -> None:
        self._nodes = [node for node in nodes if node not in settled]
        self._settled = settled
        self._places = {node: place for place, node in enumerate(self._nodes)}
        self._outside = outside
        self._judge = judge
        self._makers: dict[Value, Group] = {}
        self._groups: dict[Group, int] = {}
        self._anew: dict[Value, Node] = {}
        self._written: set[Value] = set()
        self._moving: dict[Value, Group] = {}

    def result(self) -> list[Group]:
        """Go through the nodes once; element-wise work that nobody reads is left out."""
        for place, node in enumerate(self._nodes):
            alone = is_elementwise(node)
            if alone and operation(node) == "dequantize":
                self._anew[node.outputs[0]] = node
                continue
            moving = self._of_bytes(node)
            if moving is not None:
                moving.after.append(node)
                self._makers[node.outputs[0]] = moving
                continue
            group = self._elementwise(node) if alone else self._anchor(node)
            self._groups[group] = place
            for value in node.outputs:
                self._makers[value] = group
        for value, node in self._anew.items():
            if self._outside(value) or value in self._written:
                self._groups[Group(after=[node])] = self._places[node]
        ordered = sorted(self._groups, key=self._groups.__getitem__)
        for group in ordered:
            group.results = self._results(group)
        return [g for g in ordered if g.results or g.anchor is not None]

    def _results(self, group: Group) -> list[Value]:
        inside = set(group.nodes)
        if group.anchor is None and len(inside) == 1:
            return list(group.nodes[0].outputs[:1]) if self._reads(group) else []
        return [
            value
            for node in group.nodes
            for value in node.outputs
            if value not in self._anew
            if self._outside(value) or not inside.issuperset(self._readers(value))
        ]

    def _reads(self, group: Group) -> bool:
        """Whether anybody reads what a group of one node makes."""
        value = group.last
        return self._outside(value) or bool(self._readers(value))

    def _readers(self, value: Value) -> list[Node]:
        return [user for user in value.users if user not in self._settled]

    def _only_for(self, value: Value, node: Node) -> bool:
        """Whether nobody but one node reads a value."""
        return not self._outside(value) and self._readers(value) == [node]

    def _elementwise(self, node: Node) -> Group:
        """Put an element-wise node behind what makes its operands, where it may be."""
        found = self._joinable(node)
        anchored = [group for group in found if group.anchor is not None]
        group = max(anchored, key=self._groups.__getitem__, default=Group(open=True))
        if not self._fits(group, node):
            group = Group(open=True)
        for other in found:
            if other.anchor is None and self._together(group, other, node):
                self._absorb(group, other)
        again = (self._anew.get(value) for value in operands_of(node))
        group.after += [n for n in again if n is not None and n not in group.after]
        group.after.append(node)
        group.after.sort(key=self._places.__getitem__)
        return group

    def _joinable(self, node: Node) -> list[Group]:
        result = node.outputs[0]
        found = []
        for value in operands_of(node):
            group = self._makers.get(value)
            if (
                group is not None
                and group.open
                and group not in found
                and group.last is value
                and self._only_for(value, node)
                and may_be_alike(value, result)
            ):
                found.append(group)
        return found

    def _fits(self, group: Group, node: Node) -> bool:
        if group.anchor is None:
            return True
        others = [v for v in operands_of(node) if v is not group.last]
        fitting = all(may_broadcast(value, node.outputs[0]) for value in others)
        return fitting and self._together(group, None, node)

    def _together(self, group: Group, other: Group | None, node: Node) -> bool:
        """Whether what would become one expression reads few enough tensors."""
        nodes = [*group.after, *([] if other is None else other.after), node]
        inside = {value for member in nodes for value in member.outputs}
        read = {v for m in nodes for v in operands_of(m) if v not in inside}
        return len(read) <= MOST_OPERANDS

    def _absorb(self, group: Group, other: Group) -> None:
        del self._groups[other]
        group.after += [node for node in other.after if node not in group.after]
        for node in other.after:
            for value in node.outputs:
                if value not in self._anew:
                    self._makers[value] = group

    def _anchor(self, node: Node) -> Group:
        habits = self._judge(node)
        scaled = self._scaled(node, habits)
        if scaled is not None:
            scaled.scaling = node
            return scaled
        group = Group(node, open=habits.after)
        if habits.moves and self._moves_bytes(node):
            read = [self._anew[v] for v in node.inputs if v in self._anew]
            group.before = list(dict.fromkeys(read))
            self._moving[node.outputs[0]] = group
            return group
        group.before = self._dequantized(node, habits)
        first = node.input(0)
        maker = None if first is None else self._makers.get(first)
        if (
            habits.before
            and first is not None
            and maker is not None
            and maker.anchor is None
            and maker.last is first
            and node.inputs.count(first) == 1
            and self._may_wait(maker, node)
        ):
            del self._groups[maker]
            group.before = maker.after
            for inner in group.before:
                for value in inner.outputs:
                    self._makers[value] = group
        return group

    def _scaled(self, node: Node, habits: Habits) -> Group | None:
        """Return the group whose weights can scale channels as a node does, if any."""
        value = node.input(0)
        group = None if value is None else self._makers.get(value)
        if habits.scales is None or value is None or group is None:
            return None
        anchor = group.anchor
        alone = anchor is not None and group.nodes == [anchor]
        if anchor is None or not alone or not self._only_for(value, node):
            return None
        return group if habits.scales(anchor, node) else None

    def _of_bytes(self, node: Node) -> Group | None:
        """Return the group that moves bytes, and whose result a node quantizes."""
        first = node.input(0)
        return None if first is None else self._moving.get(first)

    def _moves_bytes(self, node: Node) -> bool:
        """Whether an anchor may move bytes: it reads and makes nothing else."""
        value, *others = node.outputs
        readers = self._readers(value)
        if self._outside(value) or len(readers) != 1 or any(v.uses for v in others):
            return False
        last = readers[0]
        if last.input(0) is not value or operation(last) != "quantize":
            return False
        read = [v for v in node.inputs if v is not None and v.dtype == value.dtype]
        sources = [self._anew.get(v) for v in read]
        return bool(sources) and all(n and are_alike(n, last) for n in sources)

    def _dequantized(self, node: Node, habits: Habits) -> list[Node]:
        """Return what dequantizes an anchor's inputs inside its group; note the others."""
        found: list[Node] = []
        for place, value in enumerate(node.inputs):
            made = None if value is None else self._anew.get(value)
            if value is None or made is None:
                continue
            inside = habits.before and not place and node.inputs.count(value) == 1
            if inside or (habits.quantized and place < 2):
                found += [made] if made not in found else []
            else:
                self._written.add(value)
        return found

    def _may_wait(self, group: Group, node: Node) -> bool:
        """Whether only a node reads what a group makes."""
        inner = set(group.after)
        for member in group.after:
            for value in member.outputs:
                if value in self._anew:
                    continue
                allowed = {node, *inner} if value is group.last else inner
                if self._outside(value) or not allowed.issuperset(self._readers(value)):
                    return False
        return True


def may_be_alike(one: Value, other: Value) -> bool:
    """Whether two values may have one shape; unknown dims are looked at by the plan."""
    a, b = one.shape, other.shape
    if a is None or b is None or len(a) != len(b):
        return False
    return all(x == y or x is None or y is None for x, y in zip(a, b, strict=True))


def may_broadcast(value: Value, into: Value) -> bool:
    """Whether a value may broadcast into another's shape without widening it."""
    a, b = value.shape, into.shape
    if a is None or b is None or len(a) > len(b):
        return False
    pairs = zip(reversed(a), reversed(b), strict=False)
    return all(x in (1, y, None) or y is None for x, y in pairs)
