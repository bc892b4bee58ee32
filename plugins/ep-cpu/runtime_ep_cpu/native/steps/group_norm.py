"""GroupNormalization and InstanceNormalization over images, in three steps.

Moments of each row of pixels, then mean and factor of each channel, then, element by
element, what is normalised and what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import FLOATS, ROUNDED, element_of, express
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable, of_array
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.elementwise import (
    ElementwiseStep,
    widened,
    widening_specs,
)
from runtime_ep_cpu.native.steps.pixels import readable, rows_of, without_channels
from runtime_ep_cpu.native.steps.rows import bits_of

OPERATORS = ("GroupNormalization", "InstanceNormalization")

_MOMENTS = Spec.of("channel_moments")
_SCALES = Spec.of("group_scales")
_CHUNK = 16 * 1024
"""Elements of a chunk."""


def is_supported(node: Node) -> bool:
    """Whether a node normalises floats of at least one axis behind the channels.

    They are computed in float32. Where there is a scale per group it must be constant.
    """
    x, scale, bias = node.inputs[:3]
    if any(element_of(value) not in FLOATS for value in (x, scale, bias)):
        return False
    if node.attribute("stash_type", 1) != 1:
        return False
    if x is None or len(x.shape or ()) < 3 or node.attribute("consumed_inputs"):
        return False
    if _is_per_group(node):
        return all(v is not None and v.constant() is not None for v in (scale, bias))
    return True


def _is_per_group(node: Node) -> bool:
    return node.op_type == "GroupNormalization" and node.version < 21


class GroupNormStep(ElementwiseStep):
    """``after((X - mean) · factor + bias)``."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a normalization has an anchor")
        self._node = node = group.anchor
        self._results = group.results
        self._x, self._scale, self._bias = node.inputs[:3]
        after, others = express(group.after, group.results, [node.outputs[0]])
        self._operands = others[1:]
        self._repeated: dict[Value, np.ndarray[Any, Any]] = {}
        self._epsilon = bits_of(float(node.attribute("epsilon", 9.999999747378752e-06)))
        self._prepare(_normalizing(after, element_of(node.outputs[0]) or "float"))
        given = (element_of(v) or "float" for v in (self._x, self._scale, self._bias))
        reading = (
            (*widening_specs(element), *copies.specs(SIZES[element]))
            for element in sorted(set(given))
        )
        self.specs: Sequence[Spec] = (
            *self.specs, _MOMENTS, _SCALES, *copies.specs(4), *chain(*reading)
        )  # fmt: skip

    def _given(self, planner: Planner) -> list[Layout]:
        """Add the first two steps; return where the operands of the third lie."""
        if self._x is None:
            raise Unplannable("there is nothing to normalize")
        x = planner.layout(self._x)
        batch, channels, *sizes = x.shape
        groups = self._node.attribute("num_groups", channels)
        if not sizes or groups < 1 or channels % groups:
            raise Unplannable(f"{x.shape} does not divide into {groups} groups")
        scale, bias = (
            self._row(planner, value, channels) for value in (self._scale, self._bias)
        )
        x = readable(planner, x, ((0, 0),) * len(sizes))
        shape = (batch, channels, *(1,) * len(sizes))
        mean, factor = self._statistics(planner, x, groups, scale)
        strides = (channels, 1, *(0,) * len(sizes))
        first = [x, *(layout.with_dims(shape, strides) for layout in (mean, factor))]
        first.append(bias.with_dims(shape[1:], strides[1:]))
        return [*first, *map(planner.layout, self._operands)]

    def _row(self, planner: Planner, value: Value | None, channels: int) -> Layout:
        """Return one number per channel."""
        if value is None:
            raise Unplannable("scale and bias are given")
        if _is_per_group(self._node):
            array = self._repeated.get(value)
            if array is None:
                each = channels // max(1, planner.layout(value).size)
                array = np.repeat(planner.contents(value), each).astype(np.float32)
                self._repeated[value] = array
            layout = of_array(array)
        else:
            layout = planner.layout(value)
            if layout.element != "float":
                layout = widened(planner, layout)
            layout = planner.contiguous(layout)
        if layout.shape != (channels,):
            raise Unplannable(
                f"{layout.shape} is not one number for {channels} channels"
            )
        return layout

    def _statistics(
        self, planner: Planner, x: Layout, groups: int, scale: Layout
    ) -> tuple[Layout, Layout]:
        """Add the first two steps; return mean and factor, ``[batch, channels]``."""
        batch, channels, *_ = x.shape
        place = without_channels(x)
        rows = rows_of([place], apart=1)
        table = planner.table(rows.table(rows.pixels))
        moments = planner.allocate(None, (rows.count, 2, channels), "float")
        block = max(1, _CHUNK // (rows.longest * channels))
        arguments: list[Argument] = [
            x, place.strides[-1], table, rows.count, block, channels, moments
        ]  # fmt: skip
        chunks = -(-rows.count // block)
        planner.step(_MOMENTS, arguments, chunks, [x], [moments], work=2.0 * x.size)
        mean, factor = (
            planner.allocate(None, (batch, channels), "float") for _ in range(2)
        )
        each = channels // groups
        arguments = [
            moments, table, rows.count // batch, x.size // (batch * channels), channels,
            each, groups, scale, self._epsilon, mean, factor,
        ]  # fmt: skip
        planner.step(
            _SCALES,
            arguments,
            batch * groups,
            [moments, scale],
            [mean, factor],
            scratch=each * 8,
            work=2.0 * moments.size,
        )
        return mean, factor


def _normalizing(after: Expression, element: str) -> Expression:
    """Return an expression whose first operand is made of four: X, mean, factor, bias.

    It is rounded to an element type where something follows.
    """
    given, extra = len(after.operands), 3
    count = given + extra
    first = [
        Instruction("subtract", (0, 1)),
        Instruction("multiply", (count, 2)),
        Instruction("add", (count + 1, 3)),
    ]
    if element in ROUNDED and after.instructions:
        for number, type in ((2, element), (3, "float")):
            first.append(Instruction("convert", (count + number,), (("type", type),)))

    def moved(number: int) -> int:
        if number <= 0:
            return count + len(first) - 1 if number == 0 else number
        return number + extra if number < given else number + extra + len(first)

    then = (
        Instruction(name, tuple(map(moved, inputs)), attributes)
        for name, inputs, attributes in after.instructions
    )
    results = tuple((moved(number), element) for number, element in after.results)
    return Expression(
        (*("float",) * (extra + 1), *after.operands[1:]), (*first, *then), results
    )
