"""QLinear… of com.microsoft that are formulas: of bytes, to bytes, floats in between."""

from __future__ import annotations

from runtime.graph import Node

from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.dtypes import FLOAT, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner, broadcast
from runtime_ep_cuda.quantized import quantize
from runtime_ep_cuda.steps.elementwise import likely_order
from runtime_ep_cuda.steps.quantize import Steps
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.steps.whole_sources import BYTES, single

MS = "com.microsoft"

_FORMULAS = {
    "QLinearAdd": ("add", 2),
    "QLinearMul": ("multiply", 2),
    "QLinearSigmoid": ("sigmoid", 1),
    "QLinearLeakyRelu": ("leaky_relu", 1),
}
"""Operators as formulas, with how many tensors they are of."""


def _refuses(node: Node) -> str:
    count = _FORMULAS[node.op_type][1]
    kinds = {dtype_of(node.input(3 * i)) for i in range(count)}
    if not kinds | {dtype_of(node.outputs[0])} <= BYTES:
        return f"{node.op_type} of these element types is not supported"
    for place in range(count + 1):
        scale, zero = node.input(3 * place + 1), node.input(3 * place + 2)
        if place == count:
            scale, zero = node.input(3 * count), node.input(3 * count + 1)
        if single(scale) is None or (zero is not None and single(zero) is None):
            return f"scales of {node.op_type} that are no constants are not supported"
    return ""


@plans(*_FORMULAS, domain=MS, refuse=_refuses)
def quantized_formula(planner: Planner, group: Group) -> None:
    """Dequantize, compute and quantize in one kernel."""
    node = anchor_of(group)
    name, count = _FORMULAS[node.op_type]
    operands = [planner.tensor(node.input(3 * i)) for i in range(count)]
    steps = Steps(count)
    values = [_widened(steps, node, i) for i in range(count)]
    attributes = {}
    if node.attribute("alpha") is not None:
        attributes["alpha"] = node.attribute("alpha")
    made = steps(name, values, **attributes)
    scale = steps.number(single(node.input(3 * count)) or 0.0)
    zero = steps.number(single(node.input(3 * count + 1)) or 0.0)
    value = node.outputs[0]
    kind = planner.storage(value)
    ended = quantize(steps, made, scale, zero, FLOAT, kind)
    shape = broadcast([operand.shape for operand in operands])
    order = planner.order_for(value, likely_order(operands, shape))
    y = planner.result(value, shape, order)
    wide = [operand.broadcast(shape) for operand in operands]
    planner.launch(elementwise(steps.result(ended), wide, [y]))


def _widened(steps: Steps, node: Node, place: int) -> int:
    """Return the number of what an operand stands for."""
    wide = steps("convert", (place,), type="float32")
    zero = steps.number(single(node.input(3 * place + 2)) or 0.0)
    scale = steps.number(single(node.input(3 * place + 1)) or 0.0)
    return steps("multiply", (steps("subtract", (wide, zero)), scale))
