"""BatchNormalization: a scale and an offset for each channel, worked out beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.graph import Node

from runtime_ep_cuda.actions import Array, Unplannable
from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import Expression, Instruction
from runtime_ep_cuda.dtypes import DOUBLE, FLOAT, FLOATS, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.elementwise import finish, likely_order, value_after
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of

_AFFINE = Expression(
    3, (Instruction("multiply", (0, 1)), Instruction("add", (3, 2))), (4,)
)


_LARGEST = 6e4
"""What a half can be, nearly."""


def _refuses(node: Node) -> str:
    if node.attribute("training_mode", 0):
        return "training is not supported"
    if any(v.name or v.uses for v in node.outputs[1:]):
        return "running statistics are not written"
    if not all(value is not None and value.is_constant for value in node.inputs[1:5]):
        return "statistics that are no constants are not supported"
    return (
        "" if dtype_of(node.inputs[0]) in FLOATS else "element types are not supported"
    )


def factor_and_offset(node: Node) -> tuple[Array, Array]:
    """Return what a BatchNormalization multiplies each channel with, and what it adds."""
    values = [value for value in node.inputs[1:5] if value is not None]
    scale, bias, mean, variance = (
        np.asarray(value.constant(), np.float64) for value in values
    )
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + float(node.attribute("epsilon", 1e-5)))
        return factor, bias - mean * factor


def _goes_into(anchor: Node, node: Node) -> bool:
    """Whether a convolution's weights can do it, and stay finite in halves, too."""
    weights = anchor.inputs[1:]
    if anchor.op_type != "Conv" or anchor.domain:
        return False
    if not all(value is None or value.is_constant for value in weights):
        return False
    filters = np.asarray(weights[0].constant(), np.float32)  # type: ignore[union-attr]
    factor, _ = factor_and_offset(node)
    if factor.shape != filters.shape[:1]:
        return False
    largest = np.abs(filters).max(initial=0) * np.abs(factor).max(initial=0)
    return bool(largest <= _LARGEST)


@plans("BatchNormalization", refuse=_refuses, since=9, after=True, scales=_goes_into)
def batch_normalization(planner: Planner, group: Group) -> None:
    """BatchNormalization at inference, where no convolution before it takes it along."""
    node = anchor_of(group)
    x, scale = planner.tensor(node.inputs[0]), node.inputs[1]
    if x.rank < 2 or scale is None:
        raise Unplannable(f"{list(x.shape)} has no channels")
    factor, offset = factor_and_offset(node)
    wide = DOUBLE if x.dtype == DOUBLE else FLOAT
    forms = (("factor", factor), ("offset", offset))
    columns = (x.shape[1], *(1,) * (x.rank - 2))

    def made(array: Any) -> Any:
        return lambda _: array.reshape(columns)

    a, b = (planner.weight(scale, form, made(array), wide) for form, array in forms)
    value = value_after(group, 0)
    order = planner.order_for(value, likely_order([x], x.shape))
    y = planner.result(value, x.shape, order)
    planner.launch(elementwise(_AFFINE, [x, a, b], [y]))
    finish(planner, group)
