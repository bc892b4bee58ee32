"""Convolutions that are products: patches that do not overlap, and one dimension.

The result is made with channels last and looked at in ONNX's order; whoever follows with
a Transpose gets it for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from runtime.graph import Node, Tensor, Value

from runtime_ep_cpu.codegen import copies
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import Layout, Unplannable
from runtime_ep_cpu.native.packing import Request
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.native.steps.epilogue import Addend, epilogue_of
from runtime_ep_cpu.native.steps.matrix import Matrix
from runtime_ep_cpu.native.steps.view import reshaped


def is_product(node: Node) -> bool:
    """Whether a convolution is a product of rows of its input by its filters."""
    filters = node.input(1)
    if filters is None or not filters.is_constant or node.attribute("group", 1) != 1:
        return False
    if any(element_of(v) != "float" for v in (*node.inputs, *node.outputs) if v):
        return False
    bias = node.input(2)
    if bias is not None and not bias.is_constant:
        return False
    kernel = (filters.shape or ())[2:]
    if not kernel or not all(isinstance(size, int) for size in kernel):
        return False
    if _of(node, "dilations", 1, kernel) != (1,) * len(kernel):
        return False
    return len(kernel) == 1 or _takes_patches(node, kernel)


def _takes_patches(node: Node, kernel: Sequence[Any]) -> bool:
    pads = node.attribute("pads") or ()
    placed = node.attribute("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    return placed and not any(pads) and _of(node, "strides", 1, kernel) == (*kernel,)


def _of(node: Node, name: str, usual: int, kernel: Sequence[Any]) -> tuple[int, ...]:
    return tuple(node.attribute(name) or (usual,) * len(kernel))


class ConvolutionStep:
    """Conv as a product, with element-wise work of one operand behind it."""

    def __init__(self, group: Group, target: Target) -> None:
        if group.anchor is None:
            raise ValueError("a convolution has an anchor")
        self._node = node = group.anchor
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        filters: Value = node.inputs[1]  # type: ignore[assignment]
        array = filters.constant()
        if array is None:
            raise ValueError("filters are constant")
        self._kernel = array.shape[2:]
        self._filters, channels = array.shape[:2]
        if self._in_one_dimension:
            array = array.transpose((0, 2, 1))
        matrix = np.ascontiguousarray(array).reshape(self._filters, -1)
        self._weights = Value(filters.name, None, Tensor.of(matrix))
        self._channels = channels
        addend = Addend(node.input(2))
        self._epilogue = epilogue_of(
            node.outputs[0], group.after, self._filters, addend
        )
        operands = [element_of(v) or "float" for v in self._epilogue.operands]
        elements = ("float", "float")
        self._matrix = Matrix(
            target, self._filters, elements, self._epilogue, operands, packed=True
        )
        self.specs: Sequence[Spec] = (*self._matrix.specs, *copies.specs(4))
        self.packed = Request(
            self._weights, self._matrix.vectors, True, "float", self._matrix.width
        )

    @property
    def _in_one_dimension(self) -> bool:
        return len(self._kernel) == 1

    def plan(self, planner: Planner) -> None:
        """Plan the product of windows by filters."""
        x = planner.layout(self._x)
        if len(x.shape) != len(self._kernel) + 2 or x.shape[1] != self._channels:
            raise Unplannable(f"{x.shape} does not fit the filters")
        windows = self._windows(planner, x)
        batch, places = x.shape[0], windows.shape[1:-1]
        rows = prod(places)
        depth = windows.shape[-1]
        a = (
            windows
            if len(places) == 1
            else reshaped(planner, windows, (batch, rows, depth))
        )
        result = self._epilogue.result
        made = planner.allocate(
            None, (batch, rows, self._filters), self._epilogue.element
        )
        whole = reshaped(planner, made, (batch, *places, self._filters))
        last = len(places) + 1
        planner.give(result, whole.transposed((0, last, *range(1, last))))
        a, out = self._flat(a, made)
        b = planner.layout(self._weights).transposed((1, 0))
        panels, starts = self._matrix.panels(planner, b, out.shape[:-2], self.packed)
        operands = [
            self._scalar(planner, value, out.shape) for value in self._epilogue.operands
        ]
        self._matrix.multiply(planner, a, panels, starts, out, operands)

    def _flat(self, a: Layout, out: Layout) -> tuple[Layout, Layout]:
        """Take the batch as rows, where rows follow each other without a gap."""
        batch, rows, depth = a.shape
        one = a.reshaped((batch * rows, depth))
        if one is None:
            return a, out
        other = out.reshaped((batch * rows, self._filters))
        return (a, out) if other is None else (one, other)

    def _scalar(self, planner: Planner, value: Value, shape: Sequence[int]) -> Layout:
        layout = planner.layout(value)
        if layout.size != 1:
            raise Unplannable(f"{value.name!r} is no single number")
        return layout.with_dims(shape, (0,) * len(shape))

    def _windows(self, planner: Planner, x: Layout) -> Layout:
        """Return [batch, places…, window]: what each filter is multiplied with."""
        return (self._strip if self._in_one_dimension else self._patches)(planner, x)

    def _patches(self, planner: Planner, x: Layout) -> Layout:
        batch, channels, *sizes = x.shape
        counts = [size // k for size, k in zip(sizes, self._kernel, strict=True)]
        if 0 in counts:
            raise Unplannable(f"{x.shape} is smaller than a patch")
        cut = [n * k for n, k in zip(counts, self._kernel, strict=True)]
        x = x.with_dims((batch, channels, *cut), x.strides)
        shape: list[int] = [batch, channels]
        strides = list(x.strides[:2])
        for n, k, stride in zip(counts, self._kernel, x.strides[2:], strict=True):
            shape += (n, k)
            strides += (stride * k, stride)
        rank = len(counts)
        order = [
            0,
            *(2 + 2 * i for i in range(rank)),
            1,
            *(3 + 2 * i for i in range(rank)),
        ]
        apart = x.with_dims(shape, strides).transposed(order)
        copied = planner.allocate(None, apart.shape, "float")
        planner.copy(apart, copied)
        depth = channels * prod(self._kernel)
        return reshaped(planner, copied, (batch, *counts, depth))

    def _strip(self, planner: Planner, x: Layout) -> Layout:
        """Return overlapping windows of the input with channels last and its padding."""
        batch, channels, size = x.shape
        (kernel,) = self._kernel
        (stride,) = _of(self._node, "strides", 1, self._kernel)
        before, after = self._padding(size, kernel, stride)
        length = size + before + after
        count = (length - kernel) // stride + 1
        if count < 1:
            raise Unplannable(f"{x.shape} is smaller than a filter")
        turned = planner.allocate(None, (batch, length, channels), "float")
        steps = turned.strides
        for start, width in ((0, before), (before + size, after)):
            if width:
                zero = planner.bias(None, 1).with_dims(
                    (batch, width, channels), (0, 0, 0)
                )
                planner.copy(
                    zero,
                    turned.with_dims((batch, width, channels), steps, start * channels),
                )
        inside = turned.with_dims((batch, size, channels), steps, before * channels)
        planner.copy(x.transposed((0, 2, 1)), inside)
        return turned.with_dims(
            (batch, count, kernel * channels),
            (length * channels, stride * channels, 1),
        )

    def _padding(self, size: int, kernel: int, stride: int) -> tuple[int, int]:
        mode = self._node.attribute("auto_pad", "NOTSET")
        if mode == "NOTSET":
            before, after = self._node.attribute("pads") or (0, 0)
            if before < 0 or after < 0:
                raise Unplannable("a padding is negative")
            return before, after
        if mode == "VALID":
            return 0, 0
        whole = max(0, (-(-size // stride) - 1) * stride + kernel - size)
        less = whole // 2
        return (less, whole - less) if mode == "SAME_UPPER" else (whole - less, less)
