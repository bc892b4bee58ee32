"""Quantization that is no part of an expression: scales along an axis, ranges found."""

from __future__ import annotations

from typing import Any

from runtime.graph import Node

from runtime_ep_cuda import quantized
from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import SAME, Expression, Instruction
from runtime_ep_cuda.codegen.reduction import reduce, reduction_scratch
from runtime_ep_cuda.dtypes import FLOAT, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.elementwise import likely_order
from runtime_ep_cuda.steps.rows import used
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of, axis_of
from runtime_ep_cuda.tensor import Buffer, Tensor

MS = "com.microsoft"


class Steps:
    """Instructions in the making, over so many operands."""

    def __init__(self, operands: int) -> None:
        self.operands = operands
        self.instructions: list[Instruction] = []

    def __call__(self, operation: str, inputs: Any = (), **attributes: Any) -> int:
        """Append an instruction; return the number of its result."""
        pairs = tuple(sorted(attributes.items()))
        self.instructions.append(Instruction(operation, tuple(inputs), pairs))
        return self.operands + len(self.instructions) - 1

    def number(self, value: float) -> int:
        """Append a constant of float32."""
        return self("constant", (), type="float32", value=float(value))

    def result(self, *numbers: int) -> Expression:
        """Return all of it as an expression."""
        return Expression(self.operands, tuple(self.instructions), numbers)


@plans("QuantizeLinear", "DequantizeLinear", refuse=quantized.refusal, since=10)
@plans("QuantizeLinear", "DequantizeLinear", domain=MS, refuse=quantized.refusal)
def quantize_along_an_axis(planner: Planner, group: Group) -> None:
    """QuantizeLinear and DequantizeLinear with a scale for each slice along an axis."""
    node = anchor_of(group)
    x = planner.tensor(node.inputs[0])
    held = [value for value in node.inputs[1:3] if not quantized.is_embedded(value)]
    columns = [_column(planner.tensor(value), node, x) for value in held]
    steps = Steps(1 + len(columns))
    made = quantized.write(steps, node, 0, range(1, 1 + len(columns)))
    value = node.outputs[0]
    order = planner.order_for(value, likely_order([x], x.shape))
    y = planner.result(value, x.shape, order)
    planner.launch(elementwise(steps.result(made), [x, *columns], [y]))


def _column(values: Tensor, node: Node, x: Tensor) -> Tensor:
    """Return one number a slice, seen with x's shape."""
    if values.size == 1:
        one = values.reshaped((1,) * x.rank)
        return values if one is None else one.broadcast(x.shape)
    axis = axis_of(quantized.axis_of(node, x.rank), x.rank)
    if values.shape != (x.shape[axis],):
        raise Unplannable(
            f"scales of {list(values.shape)} do not fit axis {axis} of {list(x.shape)}"
        )
    index = tuple(slice(None) if a == axis else None for a in range(x.rank))
    return values.like(values.ghost()[index], 0).broadcast(x.shape)


def _single(node: Node) -> str:
    if dtype_of(node.inputs[0]) != FLOAT:
        return "what is not float32 is not quantized by its range"
    return ""


@plans("DynamicQuantizeLinear", refuse=_single, since=11)
def dynamic_quantize_linear(planner: Planner, group: Group) -> None:
    """DynamicQuantizeLinear: to uint8 by the range, which is made to include 0."""
    node = anchor_of(group)
    x = planner.tensor(node.inputs[0])
    if not x.size:
        raise Unplannable("nothing has no range")
    low, high = (_extreme(planner, x, word) for word in ("min", "max"))
    y = planner.result(
        node.outputs[0], x.shape, planner.order_for(node.outputs[0], x.order)
    )
    scale, zero = (
        planner.new(dtype, ()) if value is None else planner.result(value, ())
        for value, dtype in ((used(node, 1), FLOAT), (used(node, 2), y.dtype))
    )
    planner.launch(elementwise(_range(), [low, high], [scale, zero]))
    steps = Steps(3)
    shift = steps("convert", (2,), type="float32")
    made = quantized.quantize(steps, 0, 1, shift, FLOAT, y.dtype)
    wide = [t.broadcast(x.shape) for t in (scale, zero)]
    planner.launch(elementwise(steps.result(made), [x, *wide], [y]))


def _extreme(planner: Planner, x: Tensor, word: str) -> Tensor:
    made = planner.new(FLOAT, ())
    axes = range(x.rank)
    size = reduction_scratch([x], made, x.shape, axes)
    scratch = Tensor.dense(Buffer(size), "uint8", (size,)) if size else None
    planner.launch(reduce(word, SAME, [x], made, x.shape, axes, scratch=scratch))
    return made


def _range() -> Expression:
    """Return the scale and the zero point of a least and a largest number."""
    steps = Steps(2)
    nought, most = steps.number(0), steps.number(255)
    low, high = steps("minimum", (0, nought)), steps("maximum", (1, nought))
    width = steps("divide", (steps("subtract", (high, low)), most))
    flat = steps("equal", (width, nought))
    scale = steps("where", (flat, steps.number(1), width))
    place = steps("rint", (steps("divide", (steps("negative", (low,)), scale)),))
    inside = steps("minimum", (steps("maximum", (place, nought)), most))
    lost = steps("is_nan", (place,))
    shift = steps("where", (lost, nought, inside))
    return steps.result(scale, steps("convert", (shift,), type="uint8"))
