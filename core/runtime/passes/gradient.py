"""Gradient nodes become the nodes that compute them, by reverse-mode differentiation.

Cases:

1. The inputs are the tensors named by ``xs`` and ``zs``: the forward nodes are reused.
2. They are others: the forward nodes between are copied for them first.
3. A tensor of ``xs`` that ``y`` does not depend on: zeros.

A forward operator without a rule here, or broadcasting over sizes that are not known,
leaves the Gradient node as it is, for a provider that has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from runtime.graph import Graph, Node, Tensor, Value
from runtime.passes.edit import Draft, is_public, substitute
from runtime.passes.scope import Scope
from runtime.valuetypes import numpy_dtype

DOMAIN = "ai.onnx.preview.training"
Grads = Sequence[Value | None]
Rule = Callable[[Draft, Node, Value], Grads]


class NoRule(Exception):
    """The forward graph holds something that has no rule."""


def run(graph: Graph, scope: Scope) -> int:
    """Expand every Gradient node of one graph; return how many there were."""
    changes = 0
    for node in graph:
        if (node.domain, node.op_type) == (DOMAIN, "Gradient"):
            changes += _expand(node, graph, scope)
    return changes


def _expand(node: Node, graph: Graph, scope: Scope) -> int:
    names = {value.name: value for value in _values(graph)}
    xs = node.attribute("xs", ())
    independent = [names.get(name) for name in (*xs, *node.attribute("zs", ()))]
    target = names.get(node.attribute("y", ""))
    if target is None or any(value is None for value in independent):
        return 0
    given = dict(zip(independent, node.inputs, strict=False))
    draft = Draft(scope, node)
    try:
        path = _between(graph, [v for v in independent if v is not None], target)
        forward, values = _forward(path, given, draft)
        adjoints = _backward(forward, values.get(target, target), draft)
    except NoRule:
        return 0
    for value, output in zip(independent, node.outputs, strict=False):
        if value is None or not (output.uses or is_public(output)):
            continue
        wanted = values.get(value, value)
        result = adjoints.get(wanted) or _filled(draft, wanted, 0)
        substitute(output, draft.call("Identity", result))
    graph.remove(node)
    return 1


def _values(graph: Graph) -> Iterable[Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _between(graph: Graph, starts: list[Value], target: Value) -> list[Node]:
    """Return, in order, the nodes on a way from the starts to the target."""
    reached = set(starts)
    after = []
    for node in graph:
        if any(value in reached for value in node.reads):
            fresh = [value for value in node.outputs if value not in starts]
            reached.update(fresh)
            after.append(node)
    needed, path = {target}, []
    for node in reversed(after):
        if any(value in needed for value in node.outputs):
            needed.update(node.reads)
            path.append(node)
    return path[::-1]


def _forward(
    path: list[Node], given: Mapping[Value | None, Value | None], draft: Draft
) -> tuple[list[Node], dict[Value, Value]]:
    """Return the forward nodes for the given inputs: the graph's own, or copies."""
    if all(one is other for one, other in given.items()):
        return path, {}
    values = {a: b for a, b in given.items() if a is not None and b is not None}
    copies = []
    for node in path:
        inputs = [None if v is None else values.get(v, v) for v in node.inputs]
        copy = Node(
            node.op_type,
            inputs,
            len(node.outputs),
            dict(node.attributes),
            domain=node.domain,
            version=node.version,
            name=node.name,
            origins=node.origins,
        )
        draft.insert(copy)
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            new.type = old.type
            values.setdefault(old, new)
        copies.append(copy)
    return copies, values


def _backward(nodes: list[Node], target: Value, draft: Draft) -> dict[Value, Value]:
    """Return the derivative of the target with respect to every value on the way."""
    adjoints = {target: _filled(draft, target, 1)}
    for node in reversed(nodes):
        incoming = adjoints.get(node.outputs[0])
        if incoming is None:
            continue
        rule = RULES.get(node.op_type) if not node.domain else None
        if rule is None:
            raise NoRule(node.op_type)
        for value, grad in zip(node.inputs, rule(draft, node, incoming), strict=False):
            if value is None or grad is None:
                continue
            known = adjoints.get(value)
            adjoints[value] = draft.call("Add", known, grad) if known else grad
    return adjoints


def _filled(draft: Draft, like: Value, number: float) -> Value:
    dtype = numpy_dtype(like.dtype or 1)
    one = Tensor.of(np.array([number], dtype), "value")
    filled = draft.call("ConstantOfShape", draft.call("Shape", like), value=one)
    return draft.like(filled, like)


def _to_shape(draft: Draft, grad: Value, like: Value) -> Value:
    """Sum a gradient over the axes along which its operand was broadcast."""
    if grad.shape == like.shape and like.shape is not None:
        return grad
    if grad.shape is None or like.shape is None:
        raise NoRule("broadcasting of unknown shapes")
    extra = len(grad.shape) - len(like.shape)
    axes = list(range(extra))
    for axis, (a, b) in enumerate(zip(grad.shape[extra:], like.shape, strict=True)):
        if a == b:
            continue
        if b != 1:
            raise NoRule("broadcasting of unknown sizes")
        axes.append(extra + axis)
    indices = draft.constant(np.array(axes, np.int64), "axes")
    summed = draft.call("ReduceSum", grad, indices, keepdims=1)
    return draft.like(draft.call("Reshape", summed, draft.call("Shape", like)), like)


def _pair(node: Node) -> tuple[Value, Value]:
    one, two = node.inputs
    if one is None or two is None:
        raise NoRule(node.op_type)
    return one, two


def _source(node: Node) -> Value:
    source = node.inputs[0]
    if source is None:
        raise NoRule(node.op_type)
    return source


def _add(draft: Draft, node: Node, grad: Value) -> Grads:
    return [_to_shape(draft, grad, value) for value in node.inputs if value is not None]


def _sub(draft: Draft, node: Node, grad: Value) -> Grads:
    one, two = _pair(node)
    negated = draft.call("Neg", grad)
    return [_to_shape(draft, grad, one), _to_shape(draft, negated, two)]


def _mul(draft: Draft, node: Node, grad: Value) -> Grads:
    one, two = _pair(node)
    left, right = draft.call("Mul", grad, two), draft.call("Mul", grad, one)
    return [_to_shape(draft, left, one), _to_shape(draft, right, two)]


def _div(draft: Draft, node: Node, grad: Value) -> Grads:
    one, two = _pair(node)
    left = draft.call("Div", grad, two)
    right = draft.call("Neg", draft.call("Mul", left, node.outputs[0]))
    return [_to_shape(draft, left, one), _to_shape(draft, right, two)]


def _pow(draft: Draft, node: Node, grad: Value) -> Grads:
    base, exponent = _pair(node)
    if not exponent.is_constant:
        raise NoRule("Pow by a variable")
    one = draft.constant(np.ones((), numpy_dtype(exponent.dtype or 1)))
    less = draft.call("Pow", base, draft.call("Sub", exponent, one))
    scaled = draft.call("Mul", draft.call("CastLike", exponent, base), less)
    return [_to_shape(draft, draft.call("Mul", grad, scaled), base), None]


def _matmul(draft: Draft, node: Node, grad: Value) -> Grads:
    one, two = _pair(node)
    if len(one.shape or ()) != 2 or len(two.shape or ()) != 2:
        raise NoRule("MatMul of other than matrices")
    left = draft.call("MatMul", grad, draft.call("Transpose", two, perm=(1, 0)))
    right = draft.call("MatMul", draft.call("Transpose", one, perm=(1, 0)), grad)
    return [left, right]


def _transpose(draft: Draft, node: Node, grad: Value) -> Grads:
    order = node.attribute("perm")
    if order is None:
        return [draft.call("Transpose", grad)]
    inverse = tuple(order.index(axis) for axis in range(len(order)))
    return [draft.call("Transpose", grad, perm=inverse)]


def _reshaped(draft: Draft, node: Node, grad: Value) -> Grads:
    source = _source(node)
    shape = draft.call("Shape", source)
    return [draft.like(draft.call("Reshape", grad, shape), source)]


def _reduce_sum(draft: Draft, node: Node, grad: Value) -> Grads:
    source = _source(node)
    if not node.attribute("keepdims", 1):
        raise NoRule("ReduceSum without keepdims")
    shape = draft.call("Shape", source)
    return [draft.like(draft.call("Expand", grad, shape), source)]


def _unary(slope: Callable[[Draft, Node], Value]) -> Rule:
    """Return the rule of a function whose slope is a value."""
    return lambda draft, node, grad: [draft.call("Mul", grad, slope(draft, node))]


def _sigmoid(draft: Draft, node: Node) -> Value:
    result = node.outputs[0]
    return draft.call(
        "Mul", result, draft.call("Sub", _filled(draft, result, 1), result)
    )


def _tanh(draft: Draft, node: Node) -> Value:
    result = node.outputs[0]
    square = draft.call("Mul", result, result)
    return draft.call("Sub", _filled(draft, result, 1), square)


def _sqrt(draft: Draft, node: Node) -> Value:
    result = node.outputs[0]
    double = draft.call("Add", result, result)
    return draft.call("Reciprocal", double)


RULES: dict[str, Rule] = {
    "Add": _add,
    "Sum": _add,
    "Sub": _sub,
    "Mul": _mul,
    "Div": _div,
    "Pow": _pow,
    "MatMul": _matmul,
    "Transpose": _transpose,
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "ReduceSum": _reduce_sum,
    "Identity": lambda draft, node, grad: [grad],
    "Neg": lambda draft, node, grad: [draft.call("Neg", grad)],
    "Relu": _unary(lambda draft, node: draft.call("Sign", node.outputs[0])),
    "Abs": _unary(lambda draft, node: draft.call("Sign", node.inputs[0])),
    "Exp": _unary(lambda draft, node: node.outputs[0]),
    "Log": _unary(lambda draft, node: draft.call("Reciprocal", node.inputs[0])),
    "Sqrt": _unary(_sqrt),
    "Sigmoid": _unary(_sigmoid),
    "Tanh": _unary(_tanh),
    "Sin": _unary(lambda draft, node: draft.call("Cos", node.inputs[0])),
    "Cos": _unary(
        lambda draft, node: draft.call("Neg", draft.call("Sin", node.inputs[0]))
    ),
}
