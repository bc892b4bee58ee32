"""An Einsum of two operands becomes a product: MatMul, or Mul where nothing is summed.

Cases, for equations without an ellipsis whose operands name each axis once:

1. Axes that both have and the result has not are summed: operands are transposed to
   ``(shared…, own…, summed…)`` and ``(shared…, summed…, own…)`` and multiplied as matrices.
   Several axes are joined only where their sizes are known.
2. Where there are none, each is transposed and gets the axes it lacks, and Mul does the rest.

What one operand alone has and the result has not stays an Einsum, as do sums over axes
that may be of one element in one operand and of more in the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from runtime.graph import Graph, Node, Value
from runtime.passes.edit import Draft, substitute, sweep
from runtime.passes.scope import FLOATS, Scope
from runtime.valuetypes import Dim


def run(graph: Graph, scope: Scope) -> int:
    """Expand every Einsum of one graph that can be; return how many."""
    changes = 0
    for node in tuple(graph):
        if node.op_type != "Einsum" or node.domain or len(node.inputs) != 2:
            continue
        equation = _parsed(node, scope)
        if equation is None:
            continue
        draft = Draft(scope, node)
        write = _product if equation.summed else _multiple
        result = write(equation, draft)
        draft.like(result, node.outputs[0])
        substitute(node.outputs[0], result)
        sweep((node,))
        changes += 1
    return changes


class _Operand(NamedTuple):
    """A value, what its axes are called, and their sizes."""

    value: Value
    axes: str
    sizes: dict[str, Dim]


class _Equation(NamedTuple):
    """An equation taken apart: which axes are shared, of one operand, and summed."""

    left: _Operand
    right: _Operand
    result: str
    shared: str
    own: tuple[str, str]
    summed: str


def _parsed(node: Node, scope: Scope) -> _Equation | None:
    """Return the equation of a node, if it is one of the cases."""
    text: str = node.attribute("equation", "")
    terms, arrow, result = text.replace(" ", "").partition("->")
    named = terms.split(",")
    if "." in text or len(named) != 2:
        return None
    if not arrow:
        letters = sorted(set("".join(named)))
        result = "".join(c for c in letters if "".join(named).count(c) == 1)
    operands = [
        _operand(value, axes, scope)
        for value, axes in zip(node.inputs, named, strict=True)
    ]
    left, right = operands
    if left is None or right is None or len(set(result)) != len(result):
        return None
    both = [c for c in left.axes if c in right.axes]
    shared = "".join(c for c in result if c in both)
    summed = "".join(c for c in both if c not in result)
    own = tuple("".join(c for c in o.axes if c not in both) for o in (left, right))
    if set(shared + own[0] + own[1]) != set(result):
        return None
    found = _Equation(left, right, result, shared, (own[0], own[1]), summed)
    return found if not summed or _may_join(found) else None


def _operand(value: Value | None, axes: str, scope: Scope) -> _Operand | None:
    shape = None if value is None else scope.facts.shape(value)
    if value is None or shape is None or value.dtype not in FLOATS:
        return None
    if len(shape) != len(axes) or len(set(axes)) != len(axes):
        return None
    return _Operand(value, axes, dict(zip(axes, shape, strict=True)))


def _groups(equation: _Equation) -> tuple[list[str], list[str], list[str]]:
    """Return the axes that become one each: of the left, the right and the result.

    They follow the shared ones, on the left also its own where none are shared.
    """
    first, last = equation.own
    rows = [first] if equation.shared else []
    return [*rows, equation.summed], [equation.summed, last], [*rows, last]


def _may_join(equation: _Equation) -> bool:
    """Whether sums are over as many in both, and what is joined is of known size."""
    left, right = equation.left.sizes, equation.right.sizes
    if any(left[c] != right[c] or left[c] is None for c in equation.summed):
        return False
    every = zip(_groups(equation), (left, right, {**right, **left}), strict=True)
    return all(
        _is_plain(groups)
        or all(isinstance(sizes[c], int) and sizes[c] for c in "".join(groups))
        for groups, sizes in every
    )


def _is_plain(groups: Sequence[str]) -> bool:
    return all(len(axes) == 1 for axes in groups)


def _product(equation: _Equation, draft: Draft) -> Value:
    """Write the operands as matrices, their product, and the order of the result."""
    shared, (first, last), summed = equation.shared, equation.own, equation.summed
    left, right, made = _groups(equation)
    kept = len(shared) if shared else len(first)
    a = _transposed(
        draft, equation.left.value, equation.left.axes, shared + first + summed
    )
    b = _transposed(
        draft, equation.right.value, equation.right.axes, shared + summed + last
    )
    sizes = {**equation.right.sizes, **equation.left.sizes}
    if not _is_plain(left):
        a = _reshaped(draft, a, kept, [_size(axes, sizes) for axes in left])
    if not _is_plain(right):
        b = _reshaped(draft, b, len(shared), [_size(axes, sizes) for axes in right])
    found = draft.call("MatMul", a, b)
    if not _is_plain(made):
        found = _reshaped(draft, found, kept, [_size(c, sizes) for c in "".join(made)])
    return _transposed(draft, found, shared + first + last, equation.result)


def _multiple(equation: _Equation, draft: Draft) -> Value:
    """Write the operands with all axes of the result, and Mul."""
    parts = []
    for operand in (equation.left, equation.right):
        order = "".join(c for c in equation.result if c in operand.axes)
        part = _transposed(draft, operand.value, operand.axes, order)
        absent = [i for i, c in enumerate(equation.result) if c not in operand.axes]
        if absent:
            axes = draft.constant(np.array(absent, np.int64), "axes")
            part = draft.call("Unsqueeze", part, axes)
        parts.append(part)
    return draft.call("Mul", *parts)


def _size(axes: str, sizes: dict[str, Dim]) -> int:
    """Return how many elements some axes have, whose sizes are known."""
    return prod(size for size in (sizes[c] for c in axes) if isinstance(size, int))


def _reshaped(draft: Draft, value: Value, kept: int, sizes: Sequence[int]) -> Value:
    """Reshape what follows the first axes, which stay."""
    shape = np.array([0] * kept + list(sizes), np.int64)
    return draft.call("Reshape", value, draft.constant(shape, "shape"))


def _transposed(draft: Draft, value: Value, axes: str, order: str) -> Value:
    if axes == order:
        return value
    return draft.call("Transpose", value, perm=tuple(map(axes.index, order)))
