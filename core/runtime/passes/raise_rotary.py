"""Rotary position embedding by halves becomes RotaryEmbedding.

Cases, for ``x`` of (batch, heads, sequence, size):

1. ``x * cos + concat(-x[size/2:], x[:size/2]) * sin`` with Slice or Split along the last
   axis, where ``cos`` and ``sin`` provably hold the same half twice: a Concat of a value
   with itself, constants, or rows gathered from such a constant, followed by what works
   element by element. The operator gets the half.
2. The same for angles of one batch: they are expanded to the batch of ``x``, since the
   operator does not broadcast.

Left alone: angles with a dim per head, angles whose halves may differ, odd sizes.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph, Node, Value
from runtime.match import Any, Index, Match, OneOf, Op, scalar
from runtime.passes.edit import Draft, rewrite
from runtime.passes.scope import FLOATS, Scope
from runtime.passes.shape_rules import slice_bounds
from runtime.schema import schema
from runtime.valuetypes import Shape

_X = Any("x")
_TURNED = OneOf(
    Op(
        "Concat",
        Op("Neg", Op("Slice", _X, ..., name="high")),
        Op("Slice", _X, ..., name="low"),
        name="joint",
    ),
    Op(
        "Concat",
        Op("Neg", Op("Split", _X, ..., output=1, name="split")),
        Op("Split", _X, ..., name="split"),
        name="joint",
    ),
)
_ROTARY = Op("Add", Op("Mul", _X, Any("cos")), Op("Mul", _TURNED, Any("sin")))
_ELEMENTWISE = frozenset(("Cos", "Sin", "Cast", "Identity", "Neg"))


def run(graph: Graph, scope: Scope) -> int:
    """Raise every rotary embedding of one graph; return how many."""
    if schema("", "RotaryEmbedding", scope.version) is None:
        return 0
    return rewrite(Index(graph), _ROTARY, _build, scope)


def _build(match: Match, scope: Scope) -> Value | None:
    x = match["x"]
    shape = scope.facts.shape(x)
    if shape is None or len(shape) != 4 or x.dtype not in FLOATS:
        return None
    size = shape[3]
    if not isinstance(size, int) or size % 2 or not _is_turned(match, size, scope):
        return None
    angles = [_Angles(match[name], scope) for name in ("cos", "sin")]
    if not all(each.fits(shape, x) for each in angles):
        return None
    draft = Draft(scope, match.root, match.nodes)
    caches = [each.draft(shape, x, draft) for each in angles]
    return draft.call("RotaryEmbedding", x, *caches)


def _is_turned(match: Match, size: int, scope: Scope) -> bool:
    """Whether the second half, negated, and the first are joined along the last axis."""
    joint, split = match.node("joint"), match.node("split")
    if joint is None or joint.attribute("axis") not in (-1, 3):
        return False
    if split is not None:
        halves = scope.facts.shape(split.outputs[0])
        last = split.attribute("axis", 0) in (-1, 3) and len(split.outputs) == 2
        return last and halves is not None and halves[3] == size // 2
    low, high = match.node("low"), match.node("high")
    return _cut(low, scope, size) == (0, size // 2) and _cut(high, scope, size) == (
        size // 2,
        size,
    )


def _cut(node: Node | None, scope: Scope, size: int) -> tuple[int, int] | None:
    """Return start and end of a Slice of the last of four axes only."""
    bounds = slice_bounds(node, scope.facts) if node is not None else None
    if bounds is None or len(bounds) != 1:
        return None
    axis, start, end, step = bounds[0]
    if axis != 3 or step != 1 or not isinstance(start, int) or not isinstance(end, int):
        return None
    return slice(start, end).indices(size)[:2]


class _Angles:
    """Cosines or sines of a rotary embedding, and the half they hold twice."""

    def __init__(self, value: Value, scope: Scope) -> None:
        self._value = value
        self._scope = scope

    def fits(self, shape: Shape, x: Value) -> bool:
        """Whether the angles are one per position, and the half repeats."""
        own = self._scope.facts.shape(self._value)
        if own is None or self._value.dtype != x.dtype or len(own) not in (2, 3, 4):
            return False
        batch, heads, length, size = (1,) * (4 - len(own)) + own
        return (
            batch in (1, shape[0])
            and heads == 1
            and None not in (batch, length)
            and (length, size) == shape[2:]
            and self._repeats(self._value)
        )

    def _repeats(self, value: Value) -> bool:
        """Whether the two halves along the last axis are provably equal."""
        array = value.constant()
        if array is not None:
            half = array.shape[-1] // 2 if array.ndim else 0
            return half > 0 and bool(
                (array[..., :half] == array[..., half : 2 * half]).all()
            )
        node = value.producer
        if node is None or node.domain or node.inputs[:1] in ((), (None,)):
            return False
        first = node.inputs[0]
        if first is None:
            return False
        match node.op_type:
            case "Concat":
                return self._is_last(node, value) and _is_twin(node)
            case "Mul":
                rest = _scaled(node)
                return rest is not None and self._repeats(rest)
            case "Gather":
                rows = node.attribute("axis", 0) == 0 and first.is_constant
                flat = self._scope.facts.rank(first) == 2
                return rows and flat and self._repeats(first)
            case "Unsqueeze" | "Squeeze":
                return self._keeps_last(node) and self._repeats(first)
            case name:
                return name in _ELEMENTWISE and self._repeats(first)

    def _is_last(self, node: Node, value: Value) -> bool:
        rank = self._scope.facts.rank(value)
        return rank is not None and node.attribute("axis", 1) in (-1, rank - 1)

    def _keeps_last(self, node: Node) -> bool:
        axes = self._scope.facts.integers(node.input(1))
        wide = node.outputs[0] if node.op_type == "Unsqueeze" else node.inputs[0]
        rank = self._scope.facts.rank(wide)
        if axes is None or rank is None:
            return False
        return all(axis % rank != rank - 1 for axis in axes)

    def draft(self, shape: Shape, x: Value, draft: Draft) -> Value:
        """Write the half as (batch, sequence, size / 2)."""
        half = self._half(self._value, draft)
        own = self._scope.facts.shape(self._value) or ()
        if len(own) == 4:
            half = draft.call("Squeeze", half, draft.constant(np.array([1])))
        if len(own) == 2:
            half = draft.call("Unsqueeze", half, draft.constant(np.array([0])))
        if (len(own) == 4 and own[0] == shape[0]) or shape[0] == 1:
            return half
        batch = draft.call("Shape", x, start=0, end=1)
        target = draft.call("Concat", batch, draft.constant(np.array([1, 1])), axis=0)
        return draft.call("Expand", half, target)

    def _half(self, value: Value, draft: Draft) -> Value:
        array = value.constant()
        if array is not None:
            return draft.constant(array[..., : array.shape[-1] // 2], value.name)
        node = value.producer
        assert node is not None
        inputs = list(node.inputs)
        if node.op_type == "Concat":
            return inputs[0]  # type: ignore[return-value]
        turned = _scaled(node) if node.op_type == "Mul" else inputs[0]
        inputs[inputs.index(turned)] = self._half(turned, draft)  # type: ignore[arg-type]
        copied = {name: entry.value for name, entry in node.attributes.items()}
        return draft.call(node.op_type, *inputs, **copied)


def _is_twin(node: Node) -> bool:
    return len(node.inputs) == 2 and node.inputs[0] is node.inputs[1]


def _scaled(node: Node) -> Value | None:
    """Return the operand that a Mul by a number scales."""
    left, right = node.inputs
    if right is not None and scalar(right.constant()) is not None:
        return left
    if left is not None and scalar(left.constant()) is not None:
        return right
    return None
