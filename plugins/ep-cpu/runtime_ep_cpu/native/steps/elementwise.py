"""Element-wise groups without an anchor: one expression over a broadcast space."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from runtime.graph import Value

from runtime_ep_cpu.codegen import copies, cost, elementwise
from runtime_ep_cpu.codegen.expression import Expression
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of, express
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import image, like_image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable, contiguous_strides
from runtime_ep_cpu.native.planner import Planner


class ElementwiseStep:
    """What some element-wise nodes compute, in one pass."""

    def __init__(self, group: Group) -> None:
        self._results = group.results
        expression, self._operands = express(group.after, group.results)
        self._prepare(expression)

    def _prepare(self, expression: Expression) -> None:
        """Choose the kernel of an expression over the operands.

        Results that are images may have to be copied to where they are delivered.
        """
        self._spec = elementwise.spec(expression)
        self._each = cost.chunk_elements(expression)
        self._cost = cost.cycles(expression) / 16
        moved = {
            SIZES[element_of(value) or "float"]
            for value in self._results
            if len(value.shape or ()) > 2
        }
        copying = (spec for size in sorted(moved) for spec in copies.specs(size))
        self.specs: Sequence[Spec] = (self._spec, *copying)

    def _given(self, planner: Planner) -> list[Layout]:
        """Return where the operands lie."""
        return [planner.layout(value) for value in self._operands]

    def plan(self, planner: Planner) -> None:
        """Plan the expression over the operands' common shape."""
        operands = self._given(planner)
        shape = common_shape(*(operand.shape for operand in operands))
        if like_image(planner, shape, operands):
            results = [
                image(planner, value, shape, element_of(value) or "", operands)
                for value in self._results
            ]
        else:
            results = [result_layout(planner, value, shape) for value in self._results]
        spread = [operand.broadcast(shape) for operand in operands]
        _add(planner, self._spec, self._each, shape, results, spread, self._cost)


def common_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that all broadcast to; raises `Unplannable` where none is."""
    several = set(shapes) - {()}
    if len(several) < 2:
        return several.pop() if several else ()
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError as error:
        raise Unplannable(str(error)) from error


def result_layout(planner: Planner, value: Value, shape: Sequence[int]) -> Layout:
    """Allocate a result, with gaps between its rows where they help its readers."""
    element = element_of(value) or ""
    if not shape:
        return planner.allocate(value, shape, element)
    pitch = planner.pitch(value, shape, SIZES[element])
    strides = None
    if pitch != shape[-1]:
        whole = contiguous_strides(shape)
        strides = (*(stride // shape[-1] * pitch for stride in whole[:-1]), 1)
    return planner.allocate(value, shape, element, strides)


def _add(
    planner: Planner,
    spec: Spec,
    each: int,
    shape: Sequence[int],
    results: Sequence[Layout],
    operands: Sequence[Layout],
    cycles: float,
) -> None:
    order = _order(results[0])
    if order is not None:
        shape = [shape[axis] for axis in order]
    first, rest = (
        [_ordered(v.strides, order) for v in vs] for vs in (results, operands)
    )
    try:
        made = elementwise.plan(each, shape, first, rest)
    except ValueError as error:
        raise Unplannable(str(error)) from error
    planner.step(
        spec,
        [*results, *operands, *made.numbers],
        made.chunks,
        operands,
        results,
        made.scratch,
        cycles * results[0].size * 16,
    )


def _order(result: Layout) -> Sequence[int] | None:
    """Return the axes in the order in which they lie in memory, if not as they are."""
    strides = result.strides
    if all(a >= b for a, b in pairwise(strides)):
        return None
    return sorted(range(len(strides)), key=lambda axis: -strides[axis])


def _ordered(strides: Sequence[int], order: Sequence[int] | None) -> Sequence[int]:
    return strides if order is None else [strides[axis] for axis in order]


def _widening(element: str) -> Expression:
    return Expression((element,), (), ((0, "float"),))


def widening_specs(element: str) -> tuple[Spec, ...]:
    """Return the kernels `widened` may need."""
    return () if element == "float" else (elementwise.spec(_widening(element)),)


def widened(planner: Planner, layout: Layout) -> Layout:
    """Return half precision as contiguous float32."""
    made = planner.allocate(None, layout.shape, "float")
    widen(planner, layout, made)
    return made


def widen(planner: Planner, layout: Layout, into: Layout) -> None:
    """Copy half precision to where float32 of the same shape lies."""
    expression = _widening(layout.element)
    _add(
        planner,
        elementwise.spec(expression),
        cost.chunk_elements(expression),
        layout.shape,
        [into],
        [layout],
        1.0,
    )
