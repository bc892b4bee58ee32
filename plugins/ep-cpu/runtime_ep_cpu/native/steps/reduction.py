"""Reductions along any axes: the axes become one, the last or one in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import columns, copies, rows
from runtime_ep_cpu.codegen.expression import Expression
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.view import axis_of, reshaped

OPERATIONS = {
    "ReduceSum": "sum", "ReduceMean": "mean", "ReduceMax": "max", "ReduceMin": "min",
    "ReduceProd": "prod", "ReduceL1": "l1", "ReduceL2": "l2",
    "ReduceSumSquare": "sum_square", "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp", "ArgMax": "arg_max", "ArgMin": "arg_min",
}  # fmt: skip

_CHUNK = 16 * 1024
"""Elements of a chunk."""


class ReductionStep:
    """ReduceSum and its like, ArgMax and ArgMin."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a reduction has an anchor")
        self._node: Node = group.anchor
        self._input: Value = self._node.inputs[0]  # type: ignore[assignment]
        self._result = self._node.outputs[0]
        self._element = element_of(self._result) or "float"
        given = element_of(self._input) or "float"
        operation = OPERATIONS[self._node.op_type]
        self._is_position = operation.startswith("arg_")
        found = "i64" if self._is_position else _computed(given)
        parameters = {
            "operation": operation,
            "prologue": Expression((given,), (), ((0, given),)),
            "epilogue": Expression((found,), (), ((0, self._element),)),
            "last": bool(self._node.attribute("select_last_index", 0)),
        }
        self._along = Spec.of("reduce_last", **parameters)
        self._down = Spec.of("reduce_middle", **parameters)
        self.specs: Sequence[Spec] = (
            self._along,
            self._down,
            *copies.specs(SIZES[given]),
        )

    def _axes(self, planner: Planner, rank: int) -> list[int]:
        node = self._node
        if self._is_position:
            return [axis_of(node.attribute("axis", 0), rank)]
        axes = node.attribute("axes")
        if axes is None:
            axes = planner.numbers(node.input(1))
        if not axes:
            return [] if node.attribute("noop_with_empty_axes", 0) else [*range(rank)]
        return sorted({axis_of(axis, rank) for axis in axes})

    def plan(self, planner: Planner) -> None:
        """Plan the reduction along the axes."""
        source = planner.layout(self._input)
        shape = source.shape
        axes = self._axes(planner, len(shape))
        if not axes:
            raise Unplannable("nothing is reduced")
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        whole = tuple(1 if i in axes else dim for i, dim in enumerate(shape))
        thin = tuple(shape[axis] for axis in kept)
        keeps = bool(self._node.attribute("keepdims", 1))
        out = planner.allocate(self._result, whole if keeps else thin, self._element)
        flat = out.reshaped(thin)
        if flat is None:
            raise Unplannable(f"{whole} does not become {thin}")
        count = prod(shape[axis] for axis in axes)
        together = axes == list(range(axes[0], axes[0] + len(axes)))
        behind = prod(shape[axes[-1] + 1 :])
        if together and behind > 1 and source.strides[-1] == 1:
            self._middle(planner, source, flat, axes, count)
        else:
            self._last(planner, source, flat, kept, axes, count)

    def _last(
        self,
        planner: Planner,
        source: Layout,
        out: Layout,
        kept: list[int],
        axes: list[int],
        count: int,
    ) -> None:
        turned = source.transposed([*kept, *axes])
        turned = reshaped(planner, turned, (*out.shape, count))
        try:
            made = rows.plan(
                _CHUNK,
                turned.shape,
                [(*out.strides, 0)],
                [turned.strides],
                (count, 0),
            )
        except ValueError as error:
            raise Unplannable(str(error)) from error
        self._add(planner, self._along, turned, out, made)

    def _middle(
        self,
        planner: Planner,
        source: Layout,
        out: Layout,
        axes: list[int],
        count: int,
    ) -> None:
        axis = axes[0]
        lead, rest = source.shape[:axis], source.shape[axes[-1] + 1 :]
        source = reshaped(planner, source, (*lead, count, *rest))
        strides = (*out.strides[:axis], 0, *out.strides[axis:])
        try:
            made = self._columns(source, axis, strides)
        except ValueError:
            source = planner.contiguous(source)
            try:
                made = self._columns(source, axis, strides)
            except ValueError as error:
                raise Unplannable(str(error)) from error
        self._add(planner, self._down, source, out, made)

    def _columns(self, source: Layout, axis: int, strides: Sequence[int]) -> rows.Rows:
        return columns.plan(_CHUNK, source.shape, axis, [strides], [source.strides])

    def _add(
        self,
        planner: Planner,
        spec: Spec,
        source: Layout,
        out: Layout,
        made: rows.Rows,
    ) -> None:
        arguments: list[Argument] = [out, source, *made.numbers]
        planner.step(
            spec,
            arguments,
            made.chunks,
            [source],
            [out],
            made.scratch,
            2.0 * source.size,
        )


def _computed(element: str) -> str:
    return "float" if element in ("half", "bfloat") else element
