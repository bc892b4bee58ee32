"""Chooses groups: anchors with the element-wise nodes before and after them.

Patterns of many nodes have been raised to single operators by the engine already; what
is left is to let element-wise work happen where its operands are at hand. A group runs
at the place of its last node; nothing outside reads what is made inside, so the order
of groups is one of dependence too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.graph import Node, Value

from runtime_ep_cpu.native.express import is_elementwise, operands_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.steps.blocks import OPERATORS as BLOCKS
from runtime_ep_cpu.native.steps.group_norm import OPERATORS as GROUP_NORMS
from runtime_ep_cpu.native.steps.indexed import OPERATORS as INDEXED
from runtime_ep_cpu.native.steps.learned import KINDS as LEARNED
from runtime_ep_cpu.native.steps.pooling import OPERATORS as POOLING
from runtime_ep_cpu.native.steps.recurrence import OPERATORS as RECURRENT
from runtime_ep_cpu.native.steps.reduction import OPERATIONS
from runtime_ep_cpu.native.steps.roi import OPERATORS as REGIONS
from runtime_ep_cpu.native.steps.transposed import is_whole

MOST_OPERANDS = 8
"""Values that one expression may read: each needs a register for its address."""

_FINISHING = frozenset(("product", "convolution", "affine", "group_norm", "transposed"))
"""Kinds of groups whose result may be worked on before it is written."""

_BEGINNING = frozenset(("norm", "softmax"))
"""Kinds of groups that may work on their input while they read it."""

_KINDS = {
    "MatMul": "product", "Gemm": "product",
    "LayerNormalization": "norm", "RMSNormalization": "norm",
    "Softmax": "softmax", "LogSoftmax": "softmax",
    "Loop": "loop", "Scan": "loop",
    "Attention": "attention", "RotaryEmbedding": "rotary",
    "Gather": "gather", "Concat": "concat",
    "Reshape": "view", "Flatten": "view", "Squeeze": "view", "Unsqueeze": "view",
    "Transpose": "view", "Identity": "view", "Slice": "view", "Expand": "view",
    "Split": "view", "Cast": "view",
    "Conv": "convolution", "ConvTranspose": "transposed",
    "Resize": "resize", "Pad": "pad", "GridSample": "grid_sample",
    "NonMaxSuppression": "suppression", "TopK": "top_k",
    "CumSum": "cumulative", "CumProd": "cumulative", "Trilu": "triangle",
    "BatchNormalization": "affine", "LRN": "response",
    **dict.fromkeys(OPERATIONS, "reduce"),
    **dict.fromkeys(POOLING, "pool"),
    **dict.fromkeys(BLOCKS, "blocks"),
    **dict.fromkeys(GROUP_NORMS, "group_norm"),
    **dict.fromkeys(INDEXED, "indexed"),
    **dict.fromkeys(REGIONS, "regions"),
    **dict.fromkeys(RECURRENT, "recurrence"),
    **LEARNED,
}  # fmt: skip
"""Which step plans an operator that is no element-wise one."""


def groups(nodes: Sequence[Node], outside: Callable[[Value], bool]) -> list[Group]:
    """Divide native nodes, in order, into groups, in an order in which they can run.

    ``outside`` tells whether others than these nodes read a value's elements.
    """
    return _Grouping(nodes, outside).result()


class _Grouping:
    def __init__(self, nodes: Sequence[Node], outside: Callable[[Value], bool]) -> None:
        self._nodes = nodes
        self._places = {node: place for place, node in enumerate(nodes)}
        self._outside = outside
        self._makers: dict[Value, Group] = {}
        self._groups: dict[Group, int] = {}

    def result(self) -> list[Group]:
        """Go through the nodes once; what nobody reads is left out."""
        for place, node in enumerate(self._nodes):
            group = (
                self._elementwise(node) if is_elementwise(node) else self._anchor(node)
            )
            self._groups[group] = place
            for value in node.outputs:
                self._makers[value] = group
        ordered = sorted(self._groups, key=lambda group: self._groups[group])
        for group in ordered:
            group.results = self._results(group)
        return [g for g in ordered if g.results or g.anchor is not None]

    def _results(self, group: Group) -> list[Value]:
        inside = set(group.nodes)
        return [
            value
            for node in group.nodes
            for value in node.outputs
            if self._outside(value) or any(user not in inside for user in value.users)
        ]

    def _only_for(self, value: Value, node: Node) -> bool:
        """Whether nobody but one node reads a value."""
        return not self._outside(value) and all(user is node for user in value.users)

    def _elementwise(self, node: Node) -> Group:
        """Put an element-wise node behind what makes its operands, where it may be."""
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
                and (_alone(value, node) or may_be_alike(value, result))
            ):
                found.append(group)
        anchored = [group for group in found if group.anchor is not None]
        if anchored:
            group = max(anchored, key=lambda g: self._groups[g])
            if self._fits(group, node):
                merged = [
                    g for g in found if g.anchor is None and _together(group, g, node)
                ]
                for other in merged:
                    self._absorb(group, other)
                group.after.append(node)
                return group
        group = Group("elementwise", open=True)
        for other in found:
            if other.anchor is None and _together(group, other, node):
                self._absorb(group, other)
        group.after.append(node)
        group.after.sort(key=lambda n: self._places[n])
        return group

    def _fits(self, group: Group, node: Node) -> bool:
        others = [v for v in operands_of(node) if v is not group.last]
        fitting = all(may_broadcast(value, node.outputs[0]) for value in others)
        return fitting and _together(group, None, node)

    def _absorb(self, group: Group, other: Group) -> None:
        del self._groups[other]
        group.after = sorted(
            [*group.after, *other.after], key=lambda node: self._places[node]
        )
        for node in other.after:
            for value in node.outputs:
                self._makers[value] = group

    def _anchor(self, node: Node) -> Group:
        kind = _KINDS[node.op_type]
        whole = kind != "transposed" or is_whole(node)
        group = Group(kind, node, open=kind in _FINISHING and whole)
        first = node.input(0)
        maker = None if first is None else self._makers.get(first)
        if (
            kind in _BEGINNING
            and first is not None
            and maker is not None
            and maker.kind == "elementwise"
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

    def _may_wait(self, group: Group, node: Node) -> bool:
        """Whether a group may run as late as a node: all other readers come later.

        Readers that are no native nodes may ask for the result's shape at any time.
        """
        place = self._places[node]
        inner = set(group.after)
        for member in group.after:
            for value in member.outputs:
                if value is not group.last and (
                    self._outside(value) or any(u not in inner for u in value.users)
                ):
                    return False
        return all(self._places.get(user, -1) >= place for user in group.last.users)


def _alone(value: Value, node: Node) -> bool:
    """Whether a value alone gives a node's result its shape, however dims are named."""
    numbers = ((), (1,)) if value.shape else ((),)
    others = (other for other in operands_of(node) if other is not value)
    return all(o.const is not None and o.const.shape in numbers for o in others)


def _together(group: Group, other: Group | None, node: Node) -> bool:
    """Whether what would become one expression reads few enough values."""
    nodes = [*group.after, *([] if other is None else other.after), node]
    inside = {value for member in nodes for value in member.outputs}
    read = {v for member in nodes for v in operands_of(member) if v not in inside}
    return len(read) <= MOST_OPERANDS


def may_be_alike(one: Value, other: Value) -> bool:
    """Whether two values may have one shape; unknown dims are checked by the plan."""
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
