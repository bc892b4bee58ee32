"""Reductions along any axes: the axes become one, the last or one in the middle.

Axes of an image are reduced where they lie, as windows that hold all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import (
    columns,
    copies,
    pixels,
    reduction,
    rows,
    short_rows,
)
from runtime_ep_cpu.codegen.expression import Expression
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import FLOATS, element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps import pooling
from runtime_ep_cpu.native.steps.table import arguments, rows_per_chunk
from runtime_ep_cpu.native.steps.view import axis_of, reshaped

OPERATIONS = {
    "ReduceSum": "sum", "ReduceMean": "mean", "ReduceMax": "max", "ReduceMin": "min",
    "ReduceProd": "prod", "ReduceL1": "l1", "ReduceL2": "l2",
    "ReduceSumSquare": "sum_square", "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp", "ArgMax": "arg_max", "ArgMin": "arg_min",
    "GlobalAveragePool": "mean", "GlobalMaxPool": "max", "GlobalLpPool": "lp",
}  # fmt: skip

GLOBAL = ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
"""Operators that reduce all axes but the first two."""

_CHUNK = 16 * 1024
"""Elements of a chunk."""
_PIECE = 32 * 1024
"""Elements of an image that are reduced by themselves, where there are few results."""
_ENOUGH = 3
"""Results, of many channels each, that threads can share."""


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
        if operation == "lp":
            operation = f"l{self._node.attribute('p', 2):.0f}"
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
        self._pooled = self._windows(operation, given)
        self._short = self._short_rows(operation, given)
        self.specs: Sequence[Spec] = (
            self._along,
            self._down,
            *self._pooled,
            *self._short,
            *copies.specs(SIZES[given]),
        )

    def _short_rows(self, operation: str, given: str) -> tuple[Spec, ...]:
        """Return the kernel for short rows, if the last axis is known to be short."""
        shape = self._input.shape or ()
        longest = shape[-1] if shape else None
        if (
            given != "float"
            or operation not in short_rows.OPERATIONS
            or self._node.attribute("select_last_index", 0)
            or not isinstance(longest, int)
            or longest > short_rows.LONGEST
        ):
            return ()
        return (short_rows.spec(operation),)

    def _windows(self, operation: str, given: str) -> tuple[Spec, ...]:
        """Return the kernels that reduce an image: at once, in pieces, and those."""
        shape = self._input.shape
        least = 3 if self._node.op_type in GLOBAL else 4
        if (
            given not in FLOATS
            or operation not in reduction.FOLLOWING
            or operation == "log_sum_exp"
            or shape is None
            or not least <= len(shape) <= 5
        ):
            return ()
        first, second = reduction.FOLLOWING[operation]
        return (
            pooling.spec(operation, given),
            pooling.spec(first, given, result="float"),
            pooling.spec(second, "float", result=given),
        )

    def _axes(self, planner: Planner, rank: int) -> list[int]:
        node = self._node
        if node.op_type in GLOBAL:
            return list(range(2, rank))
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
        if self._pooled and min(axes) >= 2 and source.strides[1] == 1:
            self._image(planner, source, axes, kept)
            return
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

    def _image(
        self, planner: Planner, source: Layout, axes: list[int], kept: list[int]
    ) -> None:
        """Plan windows over an image, in pieces where there are few channels."""
        sizes = source.shape[2:]
        shape = [1 if i in axes else dim for i, dim in enumerate(source.shape)]
        if all(dim == 1 for dim in shape[2:]):
            out = planner.allocate(self._result, shape, self._element)
        else:
            out = image(planner, self._result, shape, self._element, [source])
        if not self._node.attribute("keepdims", 1):
            planner.give(self._result, out.transposed(kept))
        at_once, first, second = self._pooled
        ends = [pooling.whole if i in axes else pooling.single for i in _spatial(shape)]
        axis = max(axes, key=source.shape.__getitem__)
        pieces = min(source.shape[axis], source.size // _PIECE)
        shared = pixels.most_parts(shape[1]) * prod(shape) // shape[1]
        if pieces < 2 or shared > _ENOUGH:
            windows = [end(size) for end, size in zip(ends, sizes, strict=True)]
            pooling.pool(planner, at_once, source, [out], windows)
            return
        windows = [
            pooling.whole(size, pieces) if i == axis else end(size)
            for i, end, size in zip(_spatial(shape), ends, sizes, strict=True)
        ]
        shape[axis] = len(windows[axis - 2].first)
        parts = image(planner, None, shape, "float", [source])
        pooling.pool(planner, first, source, [parts], windows)
        count = prod(source.shape[i] for i in axes)
        windows = [pooling.single(size) for size in shape[2:]]
        windows[axis - 2] = pooling.whole(shape[axis])._replace(divisors=[count])
        pooling.pool(planner, second, parts, [out], windows)

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
        if self._short and self._shortly(planner, turned, out, count):
            return
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

    def _shortly(
        self, planner: Planner, turned: Layout, out: Layout, count: int
    ) -> bool:
        """Plan short rows, some a vector, if there are some and no copy is needed."""
        rows_ = out.size
        table = turned.reshaped((rows_, count))
        lanes = planner.target.lanes
        if not (
            count <= short_rows.LONGEST
            and rows_ >= lanes // 2
            and table is not None
            and out.is_contiguous
        ):
            return False
        each = rows_per_chunk(rows_, lanes, 4 * count)
        chosen = planner.table(range(count))
        fields: list[Argument] = [
            *arguments(table, chosen, count, count, count), out, each
        ]  # fmt: skip
        planner.step(
            self._short[0],
            fields,
            -(-rows_ // each),
            [table],
            [out],
            8 * lanes * (count + 1),
            4.0 * table.size,
        )
        return True

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


def _spatial(shape: Sequence[int]) -> range:
    """Return the axes of an image behind its channels."""
    return range(2, len(shape))
