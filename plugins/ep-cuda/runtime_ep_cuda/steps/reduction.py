"""Reductions over axes, and the pools that are reductions over a whole image."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.graph import Node

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen.arg import arg_extreme
from runtime_ep_cuda.codegen.expression import Expression
from runtime_ep_cuda.codegen.reduction import reduce, reduction_scratch
from runtime_ep_cuda.dtypes import BOOL, FLOATS, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.elementwise import finish, value_after
from runtime_ep_cuda.steps.rows import read, written
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of, axis_of
from runtime_ep_cuda.tensor import Buffer, Tensor

_OPERATIONS = {
    "ReduceSum": "sum", "ReduceMean": "mean", "ReduceMax": "max", "ReduceMin": "min",
    "ReduceProd": "prod", "ReduceL1": "l1", "ReduceL2": "l2", "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp", "ReduceSumSquare": "sum_square",
}  # fmt: skip


def _of_numbers(node: Node) -> str:
    dtype = dtype_of(node.inputs[0])
    return "reductions of booleans are not supported" if dtype == BOOL else ""


@plans(*_OPERATIONS, refuse=_of_numbers, known=(1,), since=18, before=True, after=True)
def reduction(planner: Planner, group: Group) -> None:
    """Reduce over the axes given, over all where none are."""
    node = anchor_of(group)
    before, operands, shape = read(planner, group)
    axes = planner.numbers(node.input(1))
    if not axes:
        axes = (
            [] if node.attribute("noop_with_empty_axes", 0) else list(range(len(shape)))
        )
    places = sorted({axis_of(axis, len(shape)) for axis in axes})
    keep = bool(node.attribute("keepdims", 1))
    reduced(
        planner, group, _OPERATIONS[node.op_type], before, operands, shape, places, keep
    )


def reduced(
    planner: Planner,
    group: Group,
    operation: str,
    before: Expression,
    operands: Sequence[Tensor],
    shape: tuple[int, ...],
    axes: Sequence[int],
    keep: bool,
) -> None:
    """Plan a reduction, with what follows it where that has the result's shape."""
    if keep:
        short = tuple(1 if axis in axes else dim for axis, dim in enumerate(shape))
    else:
        short = tuple(dim for axis, dim in enumerate(shape) if axis not in axes)
    after, further, done = written(planner, group, short)
    y = planner.result(value_after(group, done), short)
    planner.launch(
        reduce(
            operation,
            before,
            operands,
            y,
            shape,
            axes,
            after=after,
            further=further,
            scratch=_scratch(operands, y, shape, axes),
        )
    )
    finish(planner, group, done)


def _image(node: Node) -> str:
    if dtype_of(node.inputs[0]) not in FLOATS:
        return "pools of anything but floats are not supported"
    return ""


@plans("GlobalAveragePool", "GlobalMaxPool", refuse=_image, before=True, after=True)
def global_pool(planner: Planner, group: Group) -> None:
    """The mean or the largest of all pixels."""
    before, operands, shape = read(planner, group)
    average = anchor_of(group).op_type == "GlobalAveragePool"
    axes = list(range(2, len(shape)))
    word = "mean" if average else "max"
    reduced(planner, group, word, before, operands, shape, axes, True)


def _norm(node: Node) -> str:
    if node.attribute("p", 2) not in (1, 2):
        return "norms of other powers than 1 and 2 are not supported"
    return _image(node)


@plans("GlobalLpPool", refuse=_norm, since=2, before=True, after=True)
def global_lp_pool(planner: Planner, group: Group) -> None:
    """The norm of all pixels."""
    before, operands, shape = read(planner, group)
    word = f"l{anchor_of(group).attribute('p', 2)}"
    axes = list(range(2, len(shape)))
    reduced(planner, group, word, before, operands, shape, axes, True)


@plans("ArgMax", "ArgMin", refuse=_of_numbers, since=11, before=True)
def arg_max(planner: Planner, group: Group) -> None:
    """Where the largest or smallest element lies; the first, unless the last is wanted."""
    node = anchor_of(group)
    before, operands, shape = read(planner, group)
    axis = axis_of(node.attribute("axis", 0), len(shape))
    full = (*shape[:axis], 1, *shape[axis + 1 :])
    keep = bool(node.attribute("keepdims", 1))
    y = planner.result(
        node.outputs[0], full if keep else (*shape[:axis], *shape[axis + 1 :])
    )
    if not shape[axis]:
        raise Unplannable(f"there is no largest of {list(shape)} along axis {axis}")
    planner.launch(
        arg_extreme(
            before,
            operands,
            y,
            shape,
            axis,
            largest=node.op_type == "ArgMax",
            last=bool(node.attribute("select_last_index", 0)),
            scratch=_scratch(operands, y, shape, [axis]),
        )
    )


def _scratch(
    operands: Sequence[Tensor], y: Tensor, shape: Sequence[int], axes: Sequence[int]
) -> Tensor | None:
    size = reduction_scratch(operands, y, shape, axes) if y.size else 0
    return Tensor.dense(Buffer(size), "uint8", (size,)) if size else None
