"""BatchNormalization by constant statistics: a factor and an offset for each channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.graph import Node, Tensor, Value

from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.native.express import element_of, express
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.steps.elementwise import ElementwiseStep


def is_supported(node: Node) -> bool:
    """Whether a node does not train, and its statistics are constants in float32."""
    x, *statistics = node.inputs[:5]
    if node.version < 7 or node.attribute("training_mode", 0):
        return False
    if any(output.name and output.uses for output in node.outputs[1:]):
        return False
    if not node.attribute("spatial", 1) or x is None or len(x.shape or ()) < 2:
        return False
    arrays = [value.constant() for value in statistics if value is not None]
    if element_of(x) != "float" or len(arrays) != 4:
        return False
    return all(a is not None and a.ndim == 1 and a.dtype == np.float32 for a in arrays)


class AffineStep(ElementwiseStep):
    """``after(X · factor + offset)``, element by element."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a normalization has an anchor")
        self._results = group.results
        normalized = group.anchor.outputs[0]
        after, others = express(group.after, group.results, [normalized])
        self._operands = (*_operands(group.anchor), *others[1:])
        self._prepare(_normalizing(after))


def _operands(node: Node) -> tuple[Value, Value, Value]:
    """Return what is normalized, the factors and the offsets."""
    x: Value = node.inputs[0]  # type: ignore[assignment]
    scale, bias, mean, variance = (_row(value) for value in node.inputs[1:5])
    epsilon = np.float32(node.attribute("epsilon", 9.999999747378752e-06))
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + epsilon)
        offset = bias - mean * factor
    shape = (-1, *(1,) * (len(x.shape or ()) - 2))
    made = (
        Value(f"{node.name}_{word}", None, Tensor.of(row.reshape(shape)))
        for word, row in (("factor", factor), ("offset", offset))
    )
    return (x, *made)  # type: ignore[return-value]


def _row(value: Value | None) -> np.ndarray[Any, Any]:
    array = None if value is None else value.constant()
    if array is None:
        raise ValueError("statistics are constant")
    return array


def _normalizing(after: Expression) -> Expression:
    """Return an expression whose first operand is made of three."""
    count = len(after.operands) + 2
    first = (Instruction("multiply", (0, 1)), Instruction("add", (count, 2)))

    def moved(number: int) -> int:
        if number <= 0:
            return count + 1 if number == 0 else number
        return number + 2 if number < len(after.operands) else number + 4

    then = (
        Instruction(name, tuple(map(moved, inputs)), attributes)
        for name, inputs, attributes in after.instructions
    )
    results = tuple((moved(number), element) for number, element in after.results)
    return Expression(
        ("float", "float", "float", *after.operands[1:]), (*first, *then), results
    )
