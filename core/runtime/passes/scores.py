"""The scores of attention, read backwards from a Softmax to queries and keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.graph import Node, Value
from runtime.match import scalar
from runtime.passes.edit import Draft, is_public
from runtime.valuetypes import Shape

_LOW = -1e30
"""Adding a number this low to a float32 score gives that number."""


@dataclass(slots=True)
class Mask:
    """What is added to scores; with ``low`` a condition, and where it hides keys."""

    value: Value
    low: float | None = None
    hides: bool = False

    def order(self, zero: Value, low: Value) -> tuple[Value, Value]:
        """Return what a Where chooses from if the condition holds, and if not."""
        return (low, zero) if self.hides else (zero, low)


@dataclass(slots=True)
class Scores:
    """A product of queries with transposed keys, scaled, then masked."""

    product: Node
    scale: float = 1.0
    masks: list[Mask] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)


def only_user(value: Value) -> Node | None:
    """Return the one node that reads a value once, which is no output of the graph."""
    uses = value.uses
    return uses[0][0] if len(uses) == 1 and not is_public(value) else None


def read(value: Value | None) -> Scores | None:
    """Return what scores are made of, or ``None`` where they are no scores."""
    node = value.producer if value is not None else None
    if value is None or node is None or node.domain or only_user(value) is None:
        return None
    rule = _RULES.get(node.op_type)
    scores = rule(node) if rule is not None else None
    if scores is not None:
        scores.nodes.append(node)
    return scores


def _product(node: Node) -> Scores | None:
    return Scores(node)


def _scaled(node: Node) -> Scores | None:
    value, factor = factor_of(node)
    scores = read(value) if factor is not None else None
    if scores is None or scores.masks or factor is None:
        return None
    scores.scale *= factor
    return scores


def factor_of(node: Node) -> tuple[Value | None, float | None]:
    """Return what a Mul or Div scales and by which number, else ``None`` twice."""
    if node.domain or node.op_type not in ("Mul", "Div"):
        return None, None
    left, right = node.inputs
    number = scalar(right.constant()) if right is not None else None
    if number is not None:
        if node.op_type == "Mul":
            return left, number
        return (left, 1 / number) if number else (None, None)
    number = scalar(left.constant()) if left is not None else None
    if number is not None and node.op_type == "Mul":
        return right, number
    return None, None


def _masked(node: Node) -> Scores | None:
    left, right = node.inputs
    for value, mask in ((left, right), (right, left)):
        scores = read(value)
        if scores is not None and mask is not None:
            scores.masks.append(Mask(mask))
            return scores
    return None


def _chosen(node: Node) -> Scores | None:
    condition, left, right = node.inputs
    for value, other, hides in ((left, right, False), (right, left, True)):
        low = scalar(other.constant()) if other is not None else None
        if low is None or not low <= _LOW or condition is None:
            continue
        scores = read(value)
        if scores is not None:
            scores.masks.append(Mask(condition, low, hides))
            return scores
    return None


_RULES: dict[str, Callable[[Node], Scores | None]] = {
    "MatMul": _product,
    "Mul": _scaled,
    "Div": _scaled,
    "Add": _masked,
    "Where": _chosen,
}


@dataclass(slots=True)
class Side:
    """Queries or keys without their scale; keys may have to be transposed anew."""

    value: Value
    scale: float = 1.0
    order: tuple[int, ...] = (0, 1, 2, 3)
    nodes: list[Node] = field(default_factory=list)

    @property
    def is_plain(self) -> bool:
        """Whether the value is (batch, heads, sequence, size) as it is."""
        return self.order == (0, 1, 2, 3)

    def shape(self, own: Shape | None) -> Shape | None:
        """Return the shape after the transposition, from the value's own."""
        if own is None or len(own) != 4:
            return None
        return tuple(own[axis] for axis in self.order)

    def draft(self, draft: Draft) -> Value:
        """Write the transposition, if one is needed."""
        if self.is_plain:
            return self.value
        return draft.call("Transpose", self.value, perm=self.order)


def query(value: Value | None) -> Side | None:
    """Return queries without scale."""
    return _unscaled(Side(value)) if value is not None else None


def keys(value: Value | None) -> Side | None:
    """Return keys without scale, as they are before their last two dims are swapped."""
    if value is None:
        return None
    side = _unscaled(Side(value))
    node = side.value.producer
    if node is None or node.op_type != "Transpose" or node.domain:
        return None
    order, source = node.attribute("perm"), node.inputs[0]
    if order is None or len(order) != 4 or source is None:
        return None
    side.nodes.append(node)
    side.value = source
    side.order = (order[0], order[1], order[3], order[2])
    return _unscaled(side)


def _unscaled(side: Side) -> Side:
    """Take off Mul and Div by numbers that nothing else reads."""
    while (node := side.value.producer) is not None:
        value, factor = factor_of(node)
        if value is None or factor is None or only_user(side.value) is None:
            break
        side.nodes.append(node)
        side.value = value
        side.scale *= factor
    return side
