"""What integers a value may hold at least and at most, reasoned from what makes it."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor, prod
from typing import Any

import numpy as np
from runtime.graph import Node, Tensor, Value

from runtime_ep_coreml.scope import LIMITS, WORDS
from runtime_ep_coreml.table import TABLE

Span = tuple[int, int]
"""The least and the largest number."""

HALF: Span = (-(2**30), 2**30 - 1)
"""Numbers of which any two have a sum and a difference within 32 bits."""

BOOLEAN, INT32, INT64 = 9, 6, 7
FLOATS = (1, 10)
DEEPEST = 200
"""Producers in a row up to which a value is reasoned about."""


class TooDeep(Exception):
    """Raised where more producers follow each other than are looked at."""


def fits(span: Span | None, within: Span = WORDS) -> bool:
    """Whether a span is known and lies within another."""
    return span is not None and within[0] <= span[0] and span[1] <= within[1]


def is_empty(value: Value | None) -> bool:
    """Whether a value is known to have no elements."""
    return _count(value) == 0


def is_shape(value: Value | None, depth: int = 40) -> bool:
    """Whether a value is computed from sizes and constants alone."""
    if value is None or value.is_constant:
        return True
    node = value.producer
    if node is None or node.bodies or not depth:
        return False
    if node.op_type in ("Shape", "Size"):
        return True
    return bool(node.inputs) and all(is_shape(v, depth - 1) for v in node.inputs)


class Spans:
    """The spans of values, each reasoned about once.

    ``outside`` is what an integer of 64 bits may be that comes from outside of the program:
    an input of the model, or the result of a node that is refused because it may not fit.
    """

    def __init__(self, outside: Span) -> None:
        self._outside = outside
        self._known: dict[Value, Span | None] = {}
        self._depth = 0

    def of(self, value: Value | None) -> Span | None:
        """Return the span of a value; ``None`` where nothing is known."""
        if value is None:
            return None
        if value not in self._known:
            self._known[value] = self._found(value)
        return self._known[value]

    def made(self, value: Value) -> Span | None:
        """Return the span of what the producer makes, whether it fits or not."""
        node = value.producer
        if node is None or node.domain or node.op_type not in TABLE:
            return None
        rules = RULES if value is node.outputs[0] else OTHERS
        rule = rules.get(node.op_type)
        if rule is None:
            return None
        self._depth += 1
        try:
            if self._depth > DEEPEST:
                raise TooDeep
            return rule(node, self)
        finally:
            self._depth -= 1

    def _found(self, value: Value) -> Span | None:
        if value.is_constant:
            return _of_array(value.constant())
        kind = value.dtype
        if kind == BOOLEAN:
            return 0, 1
        if kind in LIMITS:
            return LIMITS[kind]
        made = self.made(value)
        if kind == INT64:
            return made if fits(made) else HALF if is_shape(value) else self._outside
        if kind == INT32:
            return made if fits(made) else WORDS
        return made


def _of_array(array: Any) -> Span | None:
    if array is None or not array.size or array.dtype.kind not in "iubf":
        return None
    low, high = array.min(), array.max()
    if not np.isfinite(low) or not np.isfinite(high):
        return None
    return floor(low), ceil(high)


# how spans follow from each other

Rule = Callable[[Node, Spans], "Span | None"]
RULES: dict[str, Rule] = {}
"""For each operator that may make integers of 64 bits, what its first output holds."""

OTHERS: dict[str, Rule] = {}
"""What the other outputs hold."""


def _rule(*operators: str) -> Callable[[Rule], Rule]:
    def enter(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(operators, rule))
        return rule

    return enter


def _hull(*spans: Span | None) -> Span | None:
    """Return the least span around others, of which all must be known."""
    known = [span for span in spans if span is not None]
    if not known or len(known) < len(spans):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _corners(
    x: Span | None, y: Span | None, of: Callable[[int, int], int]
) -> Span | None:
    """Return the span of a function that is largest and least at the ends of spans."""
    if x is None or y is None:
        return None
    found = [of(a, b) for a in x for b in y]
    return min(found), max(found)


def _largest(span: Span) -> int:
    return max(abs(span[0]), abs(span[1]))


def _count(value: Value | None) -> int | None:
    """Return the number of elements, where it is known."""
    shape = None if value is None else value.shape
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        return None
    return int(prod(shape))


def _among(*indices: int) -> Rule:
    return lambda node, spans: _hull(*(spans.of(node.input(i)) for i in indices))


for _name in (
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Split", "Slice",
    "Expand", "Tile", "ReverseSequence", "Gather", "GatherElements", "GatherND",
    "ReduceMax", "ReduceMin", "Floor", "Ceil", "Round", "Dropout",
):  # fmt: skip
    RULES[_name] = _among(0)
RULES["Where"] = _among(1, 2)
RULES["OneHot"] = _among(2)


@_rule("Concat", "Max", "Min")
def _of_all(node: Node, spans: Spans) -> Span | None:
    return _hull(*(spans.of(value) for value in node.inputs if not is_empty(value)))


@_rule("Trilu")
def _or_zero(node: Node, spans: Spans) -> Span | None:
    return _hull(spans.of(node.input(0)), (0, 0))


@_rule("Clip")
def _clipped(node: Node, spans: Spans) -> Span | None:
    x, low, high = (spans.of(node.input(index)) for index in range(3))
    if low is None or high is None:
        return _hull(*(spans.of(value) for value in node.inputs if value is not None))
    if x is None:
        return min(low[0], high[0]), high[1]
    return min(max(x[0], low[0]), high[0]), min(max(x[1], low[1]), high[1])


@_rule("Add")
def _sum(node: Node, spans: Spans) -> Span | None:
    return _corners(*_both(node, spans), lambda a, b: a + b)


@_rule("Sub")
def _difference(node: Node, spans: Spans) -> Span | None:
    return _corners(*_both(node, spans), lambda a, b: a - b)


@_rule("Mul")
def _product(node: Node, spans: Spans) -> Span | None:
    return _corners(*_both(node, spans), lambda a, b: a * b)


def _both(node: Node, spans: Spans) -> tuple[Span | None, Span | None]:
    return spans.of(node.input(0)), spans.of(node.input(1))


@_rule("Div")
def _quotient(node: Node, spans: Spans) -> Span | None:
    """No larger than the dividend; magnitudes of both are made on the way."""
    x, y = _both(node, spans)
    if x is None or y is None:
        return None
    if node.outputs[0].dtype in FLOATS:
        return None if y[0] < 1 else (-_largest(x), _largest(x))
    if x[0] >= 0 and y[0] > 0:
        return x[0] // y[1], x[1] // y[0]
    return (-_largest(x), _largest(x)) if fits((0, _largest(y))) else None


@_rule("Mod")
def _rest(node: Node, spans: Spans) -> Span | None:
    """Smaller than the divisor; with ``fmod`` magnitudes are made on the way."""
    x, y = _both(node, spans)
    if y is None or x is None:
        return None
    if node.attribute("fmod", 0):
        return _hull((-_largest(y), _largest(y)), (-_largest(x), _largest(x)))
    return min(y[0], 0), max(y[1], 0)


@_rule("Abs")
def _magnitude(node: Node, spans: Spans) -> Span | None:
    x = spans.of(node.input(0))
    return None if x is None else (0, _largest(x))


@_rule("Neg")
def _negative(node: Node, spans: Spans) -> Span | None:
    x = spans.of(node.input(0))
    return None if x is None else (-x[1], -x[0])


@_rule("Sign")
def _sign(node: Node, spans: Spans) -> Span | None:
    return -1, 1


@_rule("EyeLike", "Sigmoid", "HardSigmoid", "Softmax", "Hardmax")
def _unit(node: Node, spans: Spans) -> Span | None:
    return 0, 1


@_rule("Cast")
def _cast(node: Node, spans: Spans) -> Span | None:
    """Floats are rounded on the way, so that a little is added; others must be known."""
    found = spans.of(node.input(0))
    value = node.input(0)
    if found is None or value is None or value.dtype not in FLOATS:
        return found
    return found[0] - abs(found[0]) // 64, found[1] + abs(found[1]) // 64


# sums of many


def _each(node: Node) -> int | None:
    """Return how many elements of the first input make one of the output."""
    given, made = _count(node.input(0)), _count(node.outputs[0])
    return None if not given or not made else given // made


@_rule("ReduceSum")
def _total(node: Node, spans: Spans) -> Span | None:
    return _times(spans.of(node.input(0)), _each(node))


def _times(span: Span | None, count: int | None) -> Span | None:
    if span is None or count is None:
        return None
    return _hull(span, (span[0] * count, span[1] * count))


@_rule("ReduceL1")
def _magnitudes(node: Node, spans: Spans) -> Span | None:
    x, count = spans.of(node.input(0)), _each(node)
    return None if x is None or count is None else (0, _largest(x) * count)


@_rule("ReduceSumSquare")
def _squares(node: Node, spans: Spans) -> Span | None:
    x, count = spans.of(node.input(0)), _each(node)
    return None if x is None or count is None else (0, _largest(x) ** 2 * count)


@_rule("ReduceProd")
def _products(node: Node, spans: Spans) -> Span | None:
    x, count = spans.of(node.input(0)), _each(node)
    if x is None or count is None or count > 62:
        return None
    most = max(_largest(x), 1) ** count
    return (0 if x[0] >= 0 else -most), most


@_rule("CumSum")
def _running(node: Node, spans: Spans) -> Span | None:
    x, axis = spans.of(node.input(0)), node.input(1)
    shape = node.input(0).shape if node.input(0) is not None else None  # type: ignore[union-attr]
    if x is None or shape is None or axis is None or not axis.is_constant:
        return None
    size = shape[int(axis.constant().reshape(-1)[0])]  # type: ignore[union-attr]
    if not isinstance(size, int):
        return None
    return _hull((0, 0), _times(x, size))


@_rule("ScatterElements", "ScatterND")
def _scattered(node: Node, spans: Spans) -> Span | None:
    """Each update is added once at most to each place; products are not followed."""
    data, updates = spans.of(node.input(0)), spans.of(node.input(2))
    mode = node.attribute("reduction", "none")
    if mode == "mul":
        return None
    if mode != "add":
        return _hull(data, updates)
    added = _hull((0, 0), _times(updates, _count(node.input(2))))
    return _corners(data, added, lambda a, b: a + b)


# sizes and places


def _sizes(value: Value | None) -> Span:
    """Return the sizes of a value; what is not known has less than 2³⁰ elements."""
    shape = (value.shape if value is not None else None) or (None,)
    known = [dim for dim in shape if isinstance(dim, int)]
    if len(known) < len(shape):
        return 0, HALF[1]
    return min(known), max(known)


@_rule("Shape")
def _shape(node: Node, spans: Spans) -> Span | None:
    return _sizes(node.input(0))


@_rule("Size")
def _size(node: Node, spans: Spans) -> Span | None:
    count = _count(node.input(0))
    return (0, HALF[1]) if count is None else (count, count)


@_rule("ArgMax", "ArgMin", "NonZero")
def _place(node: Node, spans: Spans) -> Span | None:
    return 0, _sizes(node.input(0))[1]


RULES["TopK"] = _among(0)
OTHERS["TopK"] = _place
OTHERS["Split"] = _among(0)


@_rule("Range")
def _range(node: Node, spans: Spans) -> Span | None:
    """Numbers between both ends, whose difference is made on the way."""
    start, end = _both(node, spans)
    return _hull(start, end, _corners(end, start, lambda a, b: a - b))


@_rule("Constant", "ConstantOfShape")
def _attribute(node: Node, spans: Spans) -> Span | None:
    given = next(iter(node.attributes.values()), None)
    if given is None:
        return 0, 0
    found = given.value
    return _of_array(found.numpy() if isinstance(found, Tensor) else np.asarray(found))
