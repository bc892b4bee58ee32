"""The arithmetic shapes are made by, followed in symbols: one rule per operator."""

from __future__ import annotations

from collections.abc import Callable

from runtime.graph import Node, Tensor
from runtime.passes import dims
from runtime.passes.dims import Element
from runtime.passes.facts import INTEGERS, LARGEST, Content, Facts

Rule = Callable[[Node, Facts], Content | None]


def follow(node: Node, facts: Facts) -> None:
    """Note what a node's outputs hold, where they are small integer tensors."""
    rule = None if node.domain else _RULES.get(node.op_type)
    if rule is None or node.outputs[0].dtype not in INTEGERS:
        return
    try:
        content = rule(node, facts)
    except (IndexError, TypeError, ValueError, ZeroDivisionError):
        return  # the node is malformed; running it will say how
    if content is None:
        return
    shape = facts.shape(node.outputs[0])
    if shape == (None,):
        shape = (len(content),)
    if shape in ((), (len(content),)) and 0 < len(content) <= LARGEST:
        facts.learn(node.outputs[0], shape)
        facts.set_content(node.outputs[0], content)


def _shape(node: Node, facts: Facts) -> Content | None:
    shape = facts.shape(node.input(0))
    if shape is None:
        return None
    return shape[node.attribute("start", 0) : node.attribute("end")]


def _size(node: Node, facts: Facts) -> Content | None:
    shape = facts.shape(node.input(0))
    return None if shape is None else (dims.product(shape),)


def _same(node: Node, facts: Facts) -> Content | None:
    return facts.content(node.input(0))


def _cast(node: Node, facts: Facts) -> Content | None:
    source, content = node.input(0), facts.content(node.input(0))
    if source is None or content is None or node.attribute("to") != 9:
        return content
    if all(isinstance(item, int) for item in content):
        return tuple(int(item != 0) for item in content)
    return None


def _gather(node: Node, facts: Facts) -> Content | None:
    data, indices = facts.content(node.input(0)), facts.integers(node.input(1))
    if data is None or indices is None or facts.rank(node.input(0)) != 1:
        return None
    return tuple(data[index] for index in indices)


def _slice(node: Node, facts: Facts) -> Content | None:
    data = facts.content(node.input(0))
    start, end = facts.integers(node.input(1)), facts.integers(node.input(2))
    step: tuple[int, ...] | None = (1,)
    if node.input(4) is not None:
        step = facts.integers(node.input(4))
    if data is None or not start or not end or not step:
        return None
    return data[start[0] : end[0] : step[0]] if step[0] else None


def _concat(node: Node, facts: Facts) -> Content | None:
    result: Content = ()
    for value in node.inputs:
        content, shape = facts.content(value), facts.shape(value)
        if content is not None:
            result += content
        elif shape is not None and len(shape) == 1 and isinstance(shape[0], int):
            result += (None,) * shape[0]
        else:
            return None
    return result


def _pointwise(
    function: Callable[[Element | None, Element | None], Element | None],
) -> Rule:
    def rule(node: Node, facts: Facts) -> Content | None:
        columns = [facts.content(value) for value in node.inputs]
        known = [column for column in columns if column is not None]
        if len(known) < len(columns) or len(known) != 2:
            return None
        a, b = _spread(known)
        return tuple(function(x, y) for x, y in zip(a, b, strict=True))

    return rule


def _spread(columns: list[Content]) -> list[Content]:
    """Repeat single elements to the longest column's length."""
    length = max(len(column) for column in columns)
    if any(len(column) == 0 for column in columns):
        length = 0
    return [column * length if len(column) == 1 else column for column in columns]


def _quotient(a: Element | None, b: Element | None) -> Element | None:
    negative = any(isinstance(item, int) and item < 0 for item in (a, b))
    return None if negative else dims.divide(a, b)


def _larger(a: Element | None, b: Element | None) -> Element | None:
    if a is None or b is None:
        return None
    return b if dims.at_most(a, b) else a if dims.at_most(b, a) else None


def _equal(a: Element | None, b: Element | None) -> int | None:
    difference = dims.subtract(a, b)
    if isinstance(difference, int):
        return int(difference == 0)
    if difference is None:
        return None
    apart = dims.subtract(difference, 1), dims.subtract(dims.subtract(b, a), 1)
    return 0 if any(dims.not_negative(item) for item in apart) else None


def _less(a: Element | None, b: Element | None) -> int | None:
    if dims.not_negative(dims.subtract(dims.subtract(b, a), 1)):
        return 1
    return 0 if dims.at_most(b, a) else None


def _negation(node: Node, facts: Facts) -> Content | None:
    content = facts.content(node.input(0))
    return content and tuple(dims.subtract(0, item) for item in content)


def _where(node: Node, facts: Facts) -> Content | None:
    columns = [facts.content(value) for value in node.inputs]
    known = [column for column in columns if column is not None]
    if len(known) != 3:
        return None
    return tuple(
        x if x == y else None if take is None else x if take else y
        for take, x, y in zip(*_spread(known), strict=True)
    )


def _filled(node: Node, facts: Facts) -> Content | None:
    shape, value = facts.integers(node.input(0)), node.attribute("value")
    if shape is None or len(shape) > 1 or not isinstance(value, Tensor):
        return None
    count = shape[0] if shape else 1
    return (int(value.numpy().reshape(-1)[0]),) * count if count <= LARGEST else None


def _expand(node: Node, facts: Facts) -> Content | None:
    content, shape = facts.content(node.input(0)), facts.integers(node.input(1))
    if content is None or shape is None or len(shape) > 1:
        return None
    if not shape or shape[0] == 1 or shape[0] > LARGEST:
        return content if not shape or shape[0] == 1 else None
    return content * shape[0] if len(content) == 1 else content


def _range(node: Node, facts: Facts) -> Content | None:
    bounds = [facts.integers(value) for value in node.inputs]
    if not all(bound and len(bound) == 1 for bound in bounds):
        return None
    found = range(*(bound[0] for bound in bounds if bound))
    return tuple(found) if len(found) <= LARGEST else None


def _product(node: Node, facts: Facts) -> Content | None:
    content = facts.content(node.input(0))
    return None if content is None else (dims.product(content),)


_RULES: dict[str, Rule] = {
    "Shape": _shape,
    "Size": _size,
    "Identity": _same,
    "Reshape": _same,
    "Squeeze": _same,
    "Unsqueeze": _same,
    "Cast": _cast,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Add": _pointwise(dims.add),
    "Sub": _pointwise(dims.subtract),
    "Mul": _pointwise(dims.multiply),
    "Div": _pointwise(_quotient),
    "Min": _pointwise(dims.minimum),
    "Max": _pointwise(_larger),
    "Equal": _pointwise(_equal),
    "Less": _pointwise(_less),
    "Neg": _negation,
    "Where": _where,
    "ConstantOfShape": _filled,
    "Expand": _expand,
    "Range": _range,
    "ReduceProd": _product,
}
