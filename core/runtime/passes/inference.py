"""Local type inference: what a node's outputs are, from what is known of its inputs."""

from __future__ import annotations

from runtime.graph import Node, Tensor
from runtime.passes.facts import Facts
from runtime.passes.shape_rules import RULES, split
from runtime.valuetypes import ELEMENT_TYPES, Shape, TensorType


def infer(node: Node, facts: Facts) -> None:
    """Note the shapes of a node's outputs, and give untyped ones an element type."""
    rule = None if node.domain else RULES.get(node.op_type)
    shapes: list[Shape | None] = [None] * len(node.outputs)
    if rule is not None and shapes:
        try:
            shapes[0] = rule(node, facts)
            for index in range(1, len(shapes)):
                shapes[index] = _further(node, facts, index, shapes[0])
        except (IndexError, TypeError, ValueError, ZeroDivisionError):
            rule = None  # the node is malformed; running it will say how
    for index, value in enumerate(node.outputs):
        facts.learn(value, shapes[index])
        if value.type is None and rule is not None:
            dtype = _dtype(node, index)
            if dtype:
                value.type = TensorType(dtype, facts.shape(value))


def _further(node: Node, facts: Facts, index: int, first: Shape | None) -> Shape | None:
    if node.op_type == "Split":
        return split(node, facts, index)
    if node.op_type in ("Dropout", "MaxPool", "TopK"):
        return first
    return None


_BOOLEAN = frozenset(
    ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor")
) | {"Not", "IsNaN", "IsInf"}
_INDICES = frozenset(("Shape", "Size", "ArgMax", "ArgMin", "NonZero"))
_SOURCES = {"Where": 1, "CastLike": 1, "DequantizeLinear": 1, "QuantizeLinear": 2}


def _dtype(node: Node, index: int) -> int:
    """Return the element type of an output, 0 where it is not certain."""
    op = node.op_type
    if index:
        marks = {"Dropout": 9, "TopK": 7, "MaxPool": 7, "Split": 0}
        if marks.get(op):
            return marks[op]
        if op not in ("Split", "TopK"):
            return 0
    if op in _BOOLEAN:
        return 9
    if op in _INDICES:
        return 7
    if op == "Cast":
        target = node.attribute("to")
        return target if target in ELEMENT_TYPES else 0
    if op == "ConstantOfShape":
        value = node.attribute("value")
        return value.dtype if isinstance(value, Tensor) else 1
    source = node.input(_SOURCES.get(op, 0))
    return (source.dtype or 0) if source is not None else 0
