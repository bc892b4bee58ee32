"""TopK and running sums: work along one axis in an order."""

from __future__ import annotations

from runtime.graph import Node

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import topk as kernels
from runtime_ep_cuda.codegen.scan import cumulate
from runtime_ep_cuda.dtypes import BOOL, INT64, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.rows import read
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of, axis_of
from runtime_ep_cuda.tensor import Buffer, Tensor


def _of_numbers(node: Node) -> str:
    kind = dtype_of(node.inputs[0])
    return f"{node.op_type} of booleans is not supported" if kind == BOOL else ""


@plans("TopK", refuse=_of_numbers, known=(1,), since=11)
def topk(planner: Planner, group: Group) -> None:
    """TopK: the best elements along an axis, and where they were."""
    node = anchor_of(group)
    x = planner.tensor(node.inputs[0])
    axis = axis_of(node.attribute("axis", -1), x.rank)
    k = (planner.numbers(node.inputs[1]) or [0])[0]
    if not 0 <= k <= x.shape[axis]:
        raise Unplannable(f"{k} elements are not chosen among {x.shape[axis]}")
    if reason := kernels.topk_refused(x.shape[axis], k, x.dtype):
        raise Unplannable(reason)
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    values = planner.result(node.outputs[0], shape)
    if values.dtype != x.dtype:
        x = planner.copy(x, dtype=values.dtype)
    places = planner.result(node.outputs[1], shape)
    if places.dtype != INT64:
        raise Unplannable("places are 64-bit integers")
    size = kernels.topk_scratch(x, k, axis)
    scratch = Tensor.dense(Buffer(size), "uint8", (size,)) if size else None
    planner.launch(
        kernels.topk(
            x,
            values,
            places,
            axis,
            largest=bool(node.attribute("largest", 1)),
            in_order=bool(node.attribute("sorted", 1)),
            scratch=scratch,
        )
    )


@plans("CumSum", "CumProd", refuse=_of_numbers, known=(1,), before=True)
def cumulative(planner: Planner, group: Group) -> None:
    """CumSum and CumProd, from either end, with or without the element itself."""
    node = anchor_of(group)
    before, operands, shape = read(planner, group)
    axis = axis_of((planner.numbers(node.inputs[1]) or [0])[0], len(shape))
    y = planner.result(node.outputs[0], shape)
    planner.launch(
        cumulate(
            before,
            operands,
            y,
            axis,
            product=node.op_type == "CumProd",
            exclusive=bool(node.attribute("exclusive", 0)),
            reverse=bool(node.attribute("reverse", 0)),
        )
    )
