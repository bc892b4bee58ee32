"""Nodes that give back what they were given, and pairs that undo each other.

Cases, by operator of the node that goes:

1. Identity; Dropout outside training; Split into one; Concat of one; Clip without bounds.
2. Cast to the type it has; a Cast after a lossless one reads that one's input.
3. Transpose that moves nothing; one after another is one.
4. Reshape, Squeeze, Unsqueeze and Flatten that give a tensor the shape it has, or had
   before others of these; a Reshape after others of these reads their input.
5. Expand, Slice, Pad and Tile that keep the shape.
6. Adding or subtracting 0, multiplying or dividing by 1, where that keeps type and shape.
   A NaN stays one; a negative zero may become a positive one.
7. Not of Not, Neg of Neg.
8. Expand of an operand that is broadcast to the same shape anyway.
9. Where by a constant that is one truth throughout, where that keeps type and shape.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime.graph import Graph, Node, Tensor, Value
from runtime.passes.dims import broadcast
from runtime.passes.edit import attribute, is_public, same_type, substitute, sweep
from runtime.passes.scope import Scope
from runtime.passes.shape_rules import slice_bounds

Rule = Callable[[Node, Scope], "Value | None"]

_LOSSLESS = {
    1: (11,),
    2: (1, 4, 5, 6, 7, 10, 11, 12, 13),
    3: (1, 5, 6, 7, 10, 11),
    4: (1, 6, 7, 11, 12, 13),
    5: (1, 6, 7, 11),
    6: (7, 11),
    9: (1, 2, 3, 6, 7, 10, 11),
    10: (1, 11),
    12: (7, 11, 13),
    16: (1, 11),
}
"""Element types that hold every value of another."""

_FEW = 4096
_BROADCASTING = frozenset(
    ("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Sum", "Mean", "Where")
) | {"And", "Or", "Xor", "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"}
_LAYOUT = frozenset(("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"))


def run(graph: Graph, scope: Scope) -> int:
    """Take identities out of one graph; return how many nodes went or were shortened."""
    changes = 0
    for node in graph:
        rule = _RULES.get(node.op_type)
        if node.domain or node.graph is not graph:
            continue
        if node.op_type in _BROADCASTING:
            changes += _unexpand(node, scope)
        if rule is None:
            continue
        value = rule(node, scope)
        if value is None:
            continue
        output = node.outputs[0]
        if value is output:
            changes += 1
        elif node.op_type != "Identity" or _may_stand(output, value):
            substitute(output, value)
            sweep([node])
            changes += 1
    return changes


def _unexpand(node: Node, scope: Scope) -> bool:
    """Case 8."""
    facts, changed = scope.facts, False
    for index, value in enumerate(node.inputs):
        before = _maker(value)
        if before is None or before.op_type != "Expand" or before.domain:
            continue
        source = before.input(0)
        shapes = [facts.shape(item) for item in node.inputs]
        shapes[index] = facts.shape(source)
        whole = facts.shape(node.outputs[0])
        if whole is None or None in whole or broadcast(shapes) != whole:
            continue
        node.set_input(index, source)
        sweep([before])
        changed = True
    return changed


def _may_stand(output: Value, value: Value) -> bool:
    """Whether a value can take over an output's name, if that is a public one."""
    if not is_public(output):
        return True
    producer, own = value.producer, output.producer
    if producer is None or own is None or producer.graph is not own.graph:
        return False
    return not is_public(value)


def _identity(node: Node, scope: Scope) -> Value | None:
    return node.input(0)


def _dropout(node: Node, scope: Scope) -> Value | None:
    training = node.input(2)
    if any(value.uses or is_public(value) for value in node.outputs[1:]):
        return None
    if node.version < 7 and not node.attribute("is_test", 0):
        return None
    if training is not None:
        flag = training.constant()
        if flag is None or flag.any():
            return None
    return node.input(0)


def _single(node: Node, scope: Scope) -> Value | None:
    return node.input(0) if len(node.inputs) == 1 == len(node.outputs) else None


def _split(node: Node, scope: Scope) -> Value | None:
    return node.input(0) if len(node.outputs) == 1 else None


def _clip(node: Node, scope: Scope) -> Value | None:
    unbounded = len(node.inputs) == 1 and node.version >= 11
    return node.input(0) if unbounded else None


def _cast(node: Node, scope: Scope) -> Value | None:
    source, target = node.input(0), node.attribute("to")
    if source is None or isinstance(target, str):
        return None
    if source.dtype == target:
        return source
    before = source.producer
    if before is None or before.op_type != "Cast" or before.domain:
        return None
    first = before.input(0)
    if node.outputs[0].dtype == 8:
        return None
    if first is None or source.dtype not in _LOSSLESS.get(first.dtype or 0, ()):
        return None
    node.set_input(0, first)
    sweep([before])
    return first if first.dtype == target else node.outputs[0]


def _transpose(node: Node, scope: Scope) -> Value | None:
    source, order = node.input(0), node.attribute("perm")
    rank = scope.facts.rank(source)
    if source is None or (order is None and rank is None):
        return None
    order = order or tuple(range(rank or 0))[::-1]
    if order == tuple(range(len(order))):
        return source
    before = source.producer
    if before is None or before.op_type != "Transpose" or before.domain:
        return None
    inner = before.attribute("perm") or tuple(range(len(order)))[::-1]
    both = tuple(inner[axis] for axis in order)
    node.set_input(0, before.input(0))
    sweep([before])
    if both == tuple(range(len(both))):
        return node.input(0)
    node.attributes["perm"] = attribute(both)
    return node.outputs[0]


def _layout(node: Node, scope: Scope) -> Value | None:
    facts = scope.facts
    shape = facts.shape(node.outputs[0])
    found, value = None, node.input(0)
    last = value
    while value is not None:
        if shape is not None and None not in shape and facts.shape(value) == shape:
            found = value
        last, before = value, value.producer
        if before is None or before.op_type not in _LAYOUT or before.domain:
            break
        value = before.input(0)
    if found is not None:
        return found
    if node.op_type != "Reshape" or last is node.input(0):
        return None
    target = facts.integers(node.input(1))
    if target is None or 0 in target or last is None:
        return None
    before = _maker(node.input(0))
    node.set_input(0, last)
    if before is not None:
        sweep([before])
    return node.outputs[0]


def _same_shape(node: Node, scope: Scope) -> Value | None:
    shape = scope.facts.shape(node.outputs[0])
    if shape is None or None in shape or scope.facts.shape(node.input(0)) != shape:
        return None
    return node.input(0)


def _slice(node: Node, scope: Scope) -> Value | None:
    bounds = slice_bounds(node, scope.facts)
    if bounds is None or any(step != 1 for *_, step in bounds):
        return None
    return _same_shape(node, scope)


def _pad(node: Node, scope: Scope) -> Value | None:
    pads = scope.facts.integers(node.input(1))
    return node.input(0) if pads is not None and not any(pads) else None


def _tile(node: Node, scope: Scope) -> Value | None:
    repeats = scope.facts.integers(node.input(1))
    return node.input(0) if repeats is not None and set(repeats) <= {1} else None


def _maker(value: Value | None) -> Node | None:
    return value.producer if value is not None else None


def _neutral(number: int, commutes: bool) -> Rule:
    def rule(node: Node, scope: Scope) -> Value | None:
        left, right = node.input(0), node.input(1)
        if _is_all(right, number) and _keeps(left, node, scope):
            return left
        if commutes and _is_all(left, number) and _keeps(right, node, scope):
            return right
        return None

    return rule


def _is_all(value: Value | None, number: int) -> bool:
    const = value.const if value is not None and value.is_constant else None
    if not isinstance(const, Tensor) or const.dtype == 8 or not 0 < const.size <= _FEW:
        return False
    return bool((const.numpy() == number).all())


def _keeps(value: Value | None, node: Node, scope: Scope) -> bool:
    """Whether a value has the type and shape of a node's result."""
    if value is None or not same_type(value, node.outputs[0]):
        return False
    shape = scope.facts.shape(value)
    others = [scope.facts.shape(item) for item in node.inputs if item is not value]
    for other in others:
        if shape is None or other is None or len(other) > len(shape):
            return False
        ends = zip(reversed(shape), reversed(other), strict=False)
        if any(dim not in (1, own) or dim is None for own, dim in ends):
            return False
    return True


def _twice(node: Node, scope: Scope) -> Value | None:
    before = _maker(node.input(0))
    if before is None or before.op_type != node.op_type or before.domain:
        return None
    return before.input(0)


def _where(node: Node, scope: Scope) -> Value | None:
    value = node.input(0)
    condition = value.constant() if value is not None else None
    if condition is None or condition.size == 0 or condition.all() != condition.any():
        return None
    value = node.inputs[1] if condition.all() else node.inputs[2]
    shape = scope.facts.shape(node.outputs[0])
    if value is None or shape is None or None in shape:
        return None
    kept = scope.facts.shape(value) == shape and same_type(value, node.outputs[0])
    return value if kept else None


_RULES: dict[str, Rule] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Split": _split,
    "Concat": _single,
    "Clip": _clip,
    "Cast": _cast,
    "Transpose": _transpose,
    "Reshape": _layout,
    "Squeeze": _layout,
    "Unsqueeze": _layout,
    "Flatten": _layout,
    "Expand": _same_shape,
    "Slice": _slice,
    "Pad": _pad,
    "Tile": _tile,
    "Add": _neutral(0, True),
    "Sub": _neutral(0, False),
    "Mul": _neutral(1, True),
    "Div": _neutral(1, False),
    "Not": _twice,
    "Neg": _twice,
    "Where": _where,
}
