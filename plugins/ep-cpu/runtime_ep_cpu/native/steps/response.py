"""LRN: each element over a power of the squares in the channels around it.

The input is copied to where it has channels of zeros before and after it. Then the
channels around each one are operands like any: that copy, looked at from other places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import image, like_image
from runtime_ep_cpu.native.layout import Layout, of_array
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.native.steps.elementwise import ElementwiseStep

MOST = 8
"""Channels that may be summed: each is an operand, which needs a register."""


def is_supported(node: Node) -> bool:
    """Whether few channels of float32 are summed."""
    x = node.input(0)
    size = node.attribute("size", 0)
    ranked = x is not None and len(x.shape or ()) >= 3
    return ranked and element_of(x) == "float" and 1 <= size <= MOST


class ResponseStep(ElementwiseStep):
    """``X · (bias + alpha / size · sum of squares) ** -beta``."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a normalization has an anchor")
        node = group.anchor
        self._results = group.results
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        self._size = int(node.attribute("size"))
        self._before = (self._size - 1) // 2
        self._prepare(_expression(node, self._size, self._before))
        self.specs: Sequence[Spec] = (*self.specs, *copies.specs(4))

    def _given(self, planner: Planner) -> list[Layout]:
        """Return the channels around each one, as so many operands."""
        x = planner.layout(self._x)
        batch, channels, *sizes = x.shape
        shape = (batch, channels + self._size - 1, *sizes)
        if like_image(planner, x.shape, [x]):
            whole = image(planner, None, shape, "float", [x])
        else:
            whole = planner.allocate(None, shape, "float")
        zero = of_array(np.zeros((), np.float32))
        for first, count in (
            (0, self._before),
            (self._before + channels, self._size - 1 - self._before),
        ):
            if count:
                part = _channels(whole, first, count)
                planner.copy(zero.broadcast(part.shape), part, [x])
        planner.copy(x, _channels(whole, self._before, channels))
        return [_channels(whole, i, channels) for i in range(self._size)]


def _channels(whole: Layout, first: int, count: int) -> Layout:
    shape = (whole.shape[0], count, *whole.shape[2:])
    return whole.with_dims(
        shape, whole.strides, whole.offset + first * whole.strides[1]
    )


def _expression(node: Node, size: int, own: int) -> Expression:
    """Return the expression over so many channels, of which ``own`` is the middle."""
    steps: list[Instruction] = []

    def apply(name: str, *inputs: int, **attributes: Any) -> int:
        steps.append(Instruction(name, inputs, tuple(sorted(attributes.items()))))
        return size + len(steps) - 1

    def number(value: float) -> int:
        return apply("constant", type="float", value=float(np.float32(value)))

    total = apply("multiply", 0, 0)
    for channel in range(1, size):
        total = apply("add", total, apply("multiply", channel, channel))
    factor = node.attribute("alpha", 9.999999747378752e-05) / size
    scaled = apply("multiply", total, number(factor))
    y = apply("add", scaled, number(node.attribute("bias", 1.0)))
    beta = float(node.attribute("beta", 0.75))
    if beta == 0.75:
        root = apply("sqrt", y)
        y = apply("multiply", root, apply("sqrt", root))
        y = apply("reciprocal", y)
    else:
        y = apply("pow", y, number(-beta))
    made = apply("multiply", y, own)
    return Expression(("float",) * size, tuple(steps), ((made, "float"),))
