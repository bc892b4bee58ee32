"""Attention, spelled out, becomes the operator of that name.

Cases, around a Softmax over the last of four dims:

1. ``softmax(q @ transpose(k)) @ v`` with q, k and v of (batch, heads, sequence, size); the
   keys may be transposed from (batch, sequence, heads, size) in one step.
2. A scale: Mul or Div by a number, of q, of the keys, of the scores, or split between
   them, as both torch exporters write it.
3. Masks: added, or Where with a number so low that adding it is the same; several are
   added up outside.
4. Cast to float32 before the Softmax and back after it: ``softmax_precision``. A guard
   that turns NaN into 0 goes, because the operator gives 0 for a query without keys.
5. Keys and values repeated for groups of query heads (Unsqueeze, Expand, Reshape): the
   operator shares them itself, and so does an Attention that was there before.

A mask whose last dim may be 1 where there are more keys is expanded, since the operator
pads instead of broadcasting. Past keys and values are joined outside. Where every key of
a query is masked by minus infinity, the result is 0 instead of NaN.

Left alone: dims that are not provably equal, scales that are no positive number, masks of
another type, scores that are read elsewhere.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph, Node, Value
from runtime.match import Index, scalar
from runtime.passes import dims
from runtime.passes import scores as sides
from runtime.passes.edit import Draft, is_public, substitute, sweep
from runtime.passes.scope import FLOATS, Scope
from runtime.passes.scores import Scores, Side, only_user
from runtime.schema import schema
from runtime.valuetypes import Shape, numpy_dtype


def run(graph: Graph, scope: Scope) -> int:
    """Raise every attention of one graph; return how many."""
    if schema("", "Attention", scope.version) is None:
        return 0
    index = Index(graph)
    shared = sum(_share(node, scope) for node in index.of("Attention"))
    return shared + sum(_Attention(n, scope).raised() for n in index.of("Softmax"))


class _Attention:
    """One Softmax, and what surrounds it while it still looks like attention."""

    def __init__(self, softmax: Node, scope: Scope) -> None:
        self._softmax = softmax
        self._scope = scope
        self._precision: int | None = None
        self._nodes: list[Node] = [softmax]

    def raised(self) -> bool:
        """Replace the whole by one node, if it is attention."""
        softmax, facts = self._softmax, self._scope.facts
        if softmax.domain or softmax.attribute("axis", -1) not in (-1, 3):
            return False
        last = self._weighted()
        source = softmax.inputs[0]
        if last is None or source is None or facts.rank(source) != 4:
            return False
        scores = sides.read(self._uncast(source))
        if scores is None or not self._precision_fits(scores, last):
            return False
        left = sides.query(scores.product.inputs[0])
        right = sides.keys(scores.product.inputs[1])
        if left is None or right is None:
            return False
        scale = scores.scale * left.scale * right.scale
        if not scale > 0:
            return False
        self._nodes = [
            last,
            *self._nodes,
            *scores.nodes[::-1],
            *left.nodes,
            *right.nodes,
        ]
        return self._emit(last, scores, left, right, scale)

    def _weighted(self) -> Node | None:
        """Return the MatMul of the weights with the values, past guard and Cast."""
        value = self._softmax.outputs[0]
        for _ in range(3):
            guard = _guard(value)
            if guard:
                self._nodes += guard
                value = guard[-1].outputs[0]
                continue
            user = only_user(value)
            if user is None or user.domain:
                return None
            if user.op_type == "MatMul" and user.inputs[0] is value:
                return user
            if user.op_type != "Cast":
                return None
            self._nodes.append(user)
            value = user.outputs[0]
        return None

    def _uncast(self, value: Value) -> Value:
        node = value.producer
        if node is None or node.op_type != "Cast" or node.domain:
            return value
        inner = node.inputs[0]
        if inner is None or len(value.uses) != 1 or is_public(value):
            return value
        self._precision = node.attribute("to")
        self._nodes.append(node)
        return inner

    def _precision_fits(self, scores: Scores, last: Node) -> bool:
        """Whether everything but the Softmax has one element type."""
        values = [*scores.product.inputs, *last.inputs, *last.outputs]
        types = {value.dtype if value is not None else None for value in values}
        if len(types) != 1 or not types <= FLOATS:
            return False
        (dtype,) = types
        if any(mask.value.dtype not in (dtype, 9) for mask in scores.masks):
            return False
        computed = self._softmax.outputs[0].dtype
        if self._precision is None:
            return computed == dtype
        return computed == self._precision and self._precision in FLOATS

    def _emit(
        self, last: Node, scores: Scores, left: Side, right: Side, scale: float
    ) -> bool:
        facts = self._scope.facts
        q, v = facts.shape(left.value), facts.shape(last.inputs[1])
        k = right.shape(facts.shape(right.value))
        if q is None or k is None or v is None or {len(q), len(k), len(v)} != {4}:
            return False
        shared = None
        if right.is_plain:
            shared = _shared(right.value, last.inputs[1], self._scope)
        if None in (*q[:3], *k[:3]) or q[:2] != k[:2] or k[:2] != v[:2]:
            return False
        if not all(self._mask_fits(mask.value, q, k) for mask in scores.masks):
            return False
        draft = Draft(self._scope, last, dict.fromkeys(self._nodes))
        k_value, v_value = shared or (right.draft(draft), last.inputs[1])
        mask = self._mask(scores, k, k_value, draft)
        result = draft.call(
            "Attention",
            left.value,
            k_value,
            v_value,
            *([mask] if mask is not None else []),
            scale=float(scale),
            softmax_precision=self._precision,
        )
        substitute(last.outputs[0], result)
        sweep([last])
        return True

    def _mask_fits(self, mask: Value, q: Shape, k: Shape) -> bool:
        """Whether a mask broadcasts to the scores and not they to it."""
        shape = self._scope.facts.shape(mask)
        if shape is None or not 2 <= len(shape) <= 4:
            return False
        whole = (*q[:3], k[2])[-len(shape) :]
        pairs = zip(shape[:-1], whole[:-1], strict=True)
        return all(a in (1, b) or dims.bounded_by(a, b) for a, b in pairs)

    def _mask(
        self, scores: Scores, k: Shape, key: Value | None, draft: Draft
    ) -> Value | None:
        """Write the sum of all masks, as wide as there are keys."""
        dtype = numpy_dtype(self._softmax.outputs[0].dtype or 1)
        if key is not None and key.dtype is not None:
            dtype = numpy_dtype(key.dtype)
        total: Value | None = None
        for mask in scores.masks:
            value = mask.value
            if mask.low is not None:
                low = draft.constant(np.array(mask.low, dtype))
                zero = draft.constant(np.array(0, dtype))
                value = draft.call("Where", value, *mask.order(zero, low))
            value = self._widened(value, k[2], key, draft)
            total = value if total is None else draft.call("Add", total, value)
        return total

    def _widened(
        self, mask: Value, length: object, key: Value | None, draft: Draft
    ) -> Value:
        shape = self._scope.facts.shape(mask)
        if shape is None or shape[-1] == length or dims.bounded_by(shape[-1], length):  # type: ignore[arg-type]
            return mask
        ahead = draft.constant(np.ones(len(shape) - 1, np.int64))
        count = draft.call("Shape", key, start=2, end=3)
        return draft.call("Expand", mask, draft.call("Concat", ahead, count, axis=0))


def _guard(value: Value) -> list[Node]:
    """Return IsNaN and Where that put 0 in the place of NaN, if that reads a value."""
    users = {node.op_type: node for node in value.users}
    if set(users) != {"IsNaN", "Where"} or len(value.uses) != 2 or is_public(value):
        return []
    test, choice = users["IsNaN"], users["Where"]
    if only_user(test.outputs[0]) is not choice or choice.inputs[2] is not value:
        return []
    zero = choice.inputs[1]
    if choice.inputs[0] is not test.outputs[0] or zero is None:
        return []
    return [test, choice] if scalar(zero.constant()) == 0 else []


def _share(node: Node, scope: Scope) -> bool:
    """Let an Attention without past read each head of keys and values once."""
    if node.domain or any(value is not None for value in node.inputs[4:]):
        return False
    if any(value.uses or is_public(value) for value in node.outputs[1:]):
        return False
    shared = _shared(node.inputs[1], node.inputs[2], scope)
    if shared is None:
        return False
    repeated = [value.producer for value in node.inputs[1:3] if value is not None]
    node.set_input(1, shared[0])
    node.set_input(2, shared[1])
    sweep(before for before in repeated if before is not None)
    return True


def _shared(
    keys: Value | None, values: Value | None, scope: Scope
) -> tuple[Value, Value] | None:
    """Return keys and values as they are before each head is repeated for its group."""
    k = _unrepeated(keys, scope) if keys is not None else None
    v = _unrepeated(values, scope) if values is not None else None
    if k is None or v is None:
        return None
    k_shape, v_shape = scope.facts.shape(k), scope.facts.shape(v)
    if k_shape is None or v_shape is None or k_shape[:2] != v_shape[:2]:
        return None
    return k, v


def _unrepeated(value: Value, scope: Scope) -> Value | None:
    """Return what Unsqueeze, Expand and Reshape repeat along the second of four axes."""
    nodes: list[Node] = []
    for op_type in ("Reshape", "Expand", "Unsqueeze"):
        node = value.producer
        if node is None or node.op_type != op_type or node.domain:
            return None
        nodes.append(node)
        value = node.inputs[0]  # type: ignore[assignment]
    facts = scope.facts
    source, wide = facts.shape(value), facts.shape(nodes[1].outputs[0])
    whole = facts.shape(nodes[0].outputs[0])
    if source is None or wide is None or whole is None or len(source) != 4:
        return None
    if facts.integers(nodes[2].input(1)) != (2,) or None in (*source, *wide):
        return None
    count = wide[2]
    if wide != (*source[:2], count, *source[2:]):
        return None
    repeated = (source[0], dims.multiply(source[1], count), *source[2:])
    return value if whole == repeated else None
