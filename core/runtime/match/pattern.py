"""The vocabulary of patterns: what a value may be, told by what produced it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from types import EllipsisType

import numpy as np

from runtime.graph import Node, Value
from runtime.match.attempt import Attempt, Then, say

COMMUTATIVE = frozenset(
    ("Add", "Mul", "And", "Or", "Xor", "Equal", "Max", "Min", "Sum", "Mean")
)
"""Operators whose two inputs a pattern may name in either order."""


class Pattern:
    """What a value has to be; the base of the vocabulary."""

    __slots__ = ()

    def matches(self, value: Value | None, attempt: Attempt, then: Then) -> bool:
        """Whether a value fits and so does ``then``, everything still to be matched."""
        raise NotImplementedError

    def operators(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Yield the operators a match must have, with distances from its last node.

        The distances are upper bounds; that of the last node comes first.
        """
        return iter(())


class Any(Pattern):
    """Any value at all, captured by name; the same name means the same value."""

    __slots__ = ("name", "where")

    def __init__(
        self, name: str = "", where: Callable[[Value], bool] | None = None
    ) -> None:
        self.name = name
        self.where = where

    def matches(self, value: Value | None, attempt: Attempt, then: Then) -> bool:
        """See `Pattern.matches`."""
        if value is None or (self.where is not None and not self.where(value)):
            return attempt.fail(
                lambda: f"{say(value)} is not what {self.name!r} may be"
            )
        return attempt.bind(self.name, value, then)


class Constant(Pattern):
    """A value known before any run; ``where`` may judge its array."""

    __slots__ = ("name", "where")

    def __init__(
        self, name: str = "", where: Callable[[np.ndarray], bool] | None = None
    ) -> None:
        self.name = name
        self.where = where

    def matches(self, value: Value | None, attempt: Attempt, then: Then) -> bool:
        """See `Pattern.matches`."""
        array = value.constant() if value is not None else None
        if value is None or array is None:
            return attempt.fail(lambda: f"{say(value)} is not constant")
        if self.where is not None and not self.where(array):
            return attempt.fail(lambda: f"constant {say(value)} is another one")
        return attempt.bind(self.name, value, then)


class Scalar(Constant):
    """A constant of one element close to a number, as close as its type can say."""

    __slots__ = ("number",)

    def __init__(self, number: float, name: str = "") -> None:
        super().__init__(name, self._is_close)
        self.number = number

    def _is_close(self, array: np.ndarray) -> bool:
        return close(scalar(array), self.number, array.dtype)


def scalar(array: np.ndarray | None) -> float | None:
    """Return the one element of a numeric array, else ``None``."""
    if array is None or array.size != 1 or array.dtype.kind in "OUSc":
        return None
    return float(array.reshape(())[()])


def close(found: float | None, wanted: float, dtype: np.dtype) -> bool:
    """Whether a number is another one, written in some element type."""
    if found is None:
        return False
    bits = 8 * dtype.itemsize
    tolerance = (
        1e-6 if bits >= 32 else 2e-3 if bits == 16 and dtype.kind == "f" else 8e-3
    )
    return abs(found - wanted) <= tolerance * abs(wanted)


class Op(Pattern):
    """An output of an operator whose inputs fit the given patterns.

    ``op_type`` may be a tuple of alternatives. Inputs beyond the given patterns must be
    absent, unless ``...`` ends the list; ``None`` is an absent input. Both orders of
    two inputs are tried where the operator allows it. A ``shared`` node may be read
    elsewhere.
    """

    __slots__ = (
        "domain",
        "inputs",
        "name",
        "op_types",
        "open",
        "output",
        "shared",
        "where",
    )

    def __init__(
        self,
        op_type: str | tuple[str, ...],
        *inputs: Pattern | EllipsisType | None,
        name: str = "",
        where: Callable[[Node], bool] | None = None,
        shared: bool = False,
        output: int = 0,
        domain: str = "",
    ) -> None:
        self.op_types = (op_type,) if isinstance(op_type, str) else op_type
        self.open = inputs[-1:] == (...,)
        self.inputs = tuple(item for item in inputs if item is not ...)
        self.name = name
        self.where = where
        self.shared = shared
        self.output = output
        self.domain = domain

    def matches(self, value: Value | None, attempt: Attempt, then: Then) -> bool:
        """See `Pattern.matches`."""
        node = value.producer if value is not None else None
        if node is None or node.op_type not in self.op_types:
            return attempt.fail(
                lambda: f"{say(value)} is not made by {' or '.join(self.op_types)}"
            )
        if node.domain != self.domain or node.outputs[self.output] is not value:
            return attempt.fail(lambda: f"{say(value)} is another output or domain")
        return self._fits(node, attempt, then)

    def _fits(self, node: Node, attempt: Attempt, then: Then) -> bool:
        if self.where is not None and not self.where(node):
            return attempt.fail(lambda: f"{node.label} has other attributes")
        count = len(self.inputs)
        if not self.open and any(item is not None for item in node.inputs[count:]):
            return attempt.fail(lambda: f"{node.label} has more inputs")

        def in_order(order: Sequence[Pattern | None]) -> bool:
            return _all(order, [node.input(i) for i in range(count)], attempt, then)

        def inside() -> bool:
            if in_order(self.inputs):
                return True
            swapped = count == 2 and node.op_type in COMMUTATIVE
            return swapped and in_order(self.inputs[::-1])

        return attempt.visit(node, self.name, self.shared, inside)

    def operators(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """See `Pattern.operators`."""
        yield self.op_types, 0
        for item in self.inputs:
            if item is not None:
                for names, distance in item.operators():
                    yield names, distance + 1


class OneOf(Pattern):
    """The first of several patterns that fits."""

    __slots__ = ("choices",)

    def __init__(self, *choices: Pattern) -> None:
        self.choices = choices

    def matches(self, value: Value | None, attempt: Attempt, then: Then) -> bool:
        """See `Pattern.matches`."""
        return any(choice.matches(value, attempt, then) for choice in self.choices)

    def operators(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """See `Pattern.operators`: any choice's end, and what all choices have."""
        needs = [list(choice.operators()) for choice in self.choices]
        if not all(needs):
            return
        yield tuple(dict.fromkeys(name for n in needs for name in n[0][0])), 0
        for names, _ in needs[0][1:]:
            distances = [
                max((d for n, d in own if n == names), default=-1) for own in needs
            ]
            if min(distances) >= 0:
                yield names, max(distances)


class Through(Pattern):
    """A pattern, or one wrapper node such as Cast or Identity around it."""

    __slots__ = ("inner", "wrapped")

    def __init__(self, wrapper: str | tuple[str, ...], inner: Pattern, name: str = ""):
        self.inner = inner
        self.wrapped = Op(wrapper, inner, ..., name=name)

    def matches(self, value: Value | None, attempt: Attempt, then: Then) -> bool:
        """See `Pattern.matches`."""
        if self.inner.matches(value, attempt, then):
            return True
        return self.wrapped.matches(value, attempt, then)

    def operators(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """See `Pattern.operators`."""
        for names, distance in self.inner.operators():
            yield names, distance + 1


class Product(Pattern):
    """A chain of Mul, Div by a constant and whole powers, read as a bag.

    ``number`` is what the constants multiply to; the factors fit in any order.
    """

    __slots__ = ("factors", "number")

    def __init__(self, number: float, *factors: Pattern) -> None:
        self.number = number
        self.factors = factors

    def matches(self, value: Value | None, attempt: Attempt, then: Then) -> bool:
        """See `Pattern.matches`."""
        if value is None or value.producer is None:
            return attempt.fail(lambda: f"{say(value)} is no product")
        bag = _Bag(value, len(self.factors))
        if len(bag.factors) != len(self.factors):
            return attempt.fail(
                lambda: (
                    f"{say(value)} has {len(bag.factors)} factors, not "
                    f"{len(self.factors)}"
                )
            )
        if not close(bag.number, self.number, bag.dtype):
            return attempt.fail(
                lambda: f"{say(value)} has the constant {bag.number}, not {self.number}"
            )

        def in_any_order() -> bool:
            orders = permutations(self.factors)
            return any(_all(order, bag.factors, attempt, then) for order in orders)

        return attempt.visit_all(bag.nodes, in_any_order)

    def operators(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """See `Pattern.operators`."""
        yield ("Mul", "Div"), 0
        for item in self.factors:
            for names, distance in item.operators():
                yield names, distance + 2 + len(self.factors)


class _Bag:
    """A product taken apart, as far as its parts are read nowhere else."""

    def __init__(self, value: Value, limit: int) -> None:
        self.number = 1.0
        self.dtype = np.dtype(np.float32)
        self.factors: list[Value] = []
        self.nodes: list[Node] = []
        self._limit = limit
        self._open(value, True)

    def _open(self, value: Value, root: bool = False) -> None:
        number = scalar(value.constant()) if value.const is not None else None
        if number is not None:
            self.number *= number
            self.dtype = value.const.numpy().dtype  # type: ignore[union-attr]
            return
        node = value.producer
        opened = node is not None and not node.domain and (root or len(value.uses) == 1)
        if opened and node is not None and self._take_apart(node):
            return
        self.factors.append(value)

    def _divide(self, value: Value, number: float) -> None:
        self.number /= number
        if value.const is not None:
            self.dtype = value.const.numpy().dtype

    def _take_apart(self, node: Node) -> bool:
        values = [value for value in node.inputs if value is not None]
        second = scalar(values[1].constant()) if len(values) == 2 else None
        match node.op_type:
            case "Mul":
                self.nodes.append(node)
                for value in values:
                    self._open(value)
            case "Div" if second:
                self.nodes.append(node)
                self._open(values[0])
                self._divide(values[1], second)
            case "Pow" if second in (2.0, 3.0):
                self.nodes.append(node)
                self.factors += values[:1] * int(second or 0)
            case _:
                return False
        return True


def _all(
    patterns: Sequence[Pattern | None],
    values: Sequence[Value | None],
    attempt: Attempt,
    then: Then,
) -> bool:
    """Match patterns with values pairwise, and then the rest."""
    if not patterns:
        return then()
    first, value = patterns[0], values[0]

    def rest() -> bool:
        return _all(patterns[1:], values[1:], attempt, then)

    if first is None:
        if value is None:
            return rest()
        return attempt.fail(lambda: f"{say(value)} should be absent")
    return first.matches(value, attempt, rest)
