"""Which convolutions are of int8, and what their sums stand for.

Where a zero point is not 0, images are padded by it beforehand: a library pads by 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from runtime.graph import Node

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import movement
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.operations import Convolution, Spec
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.quantized import constant_of
from runtime_ep_cuda.steps import whole
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.steps.whole_chain import Ending
from runtime_ep_cuda.steps.whole_columns import Columns
from runtime_ep_cuda.steps.whole_sources import (
    INT8,
    Source,
    Weights,
    as_int8,
    source_of,
    weights_of,
)
from runtime_ep_cuda.steps.windows import Window, channels_last, window_of
from runtime_ep_cuda.tensor import Tensor

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Bytes convolved by constant bytes, and a bias for each channel in real numbers."""

    x: Source
    w: Weights
    bias: Array | None = None
    ending: Ending | None = None


def images_of(group: Group) -> Images | None:
    """Return the operands of a Conv of dequantized bytes."""
    node = anchor_of(group)
    x, w = source_of(node.inputs[0], group.before), weights_of(node.inputs[1], 0)
    bias, value = None, node.input(2)
    if value is not None:
        array = constant_of(value)
        if array is None:
            return None
        bias = array.astype(np.float64)
    return None if x is None or w is None else Images(x, w, bias)


def convolved(planner: Planner, group: Group) -> bool:
    """Plan a Conv of dequantized bytes by whole numbers, if that goes."""
    node = anchor_of(group)
    found = images_of(group)
    if found is None:
        return False
    work = work_of(planner, node, found)
    return work is not None and whole.done(planner, group, work)


def work_of(planner: Planner, node: Node, images: Images) -> whole.Work | None:
    """Return a convolution as work for `whole`, or ``None`` where it is not exact so."""
    if not images.w.fits(0):
        return None
    x, zero = as_int8(planner, images.x)
    wide = planner.shape(images.w.value)
    groups = node.attribute("group", 1)
    if x.rank != len(wide) or x.rank < 3 or x.shape[1] != wide[1] * groups:
        told = f"{list(x.shape)} is not convolved by {list(wide)}"
        raise Unplannable(f"{told} in {groups} groups")
    window = window_of(node, x.shape[2:], wide[2:])
    shape = (x.shape[0], wide[0], *window.sizes)
    if 0 in shape or 0 in x.shape or wide[0] % groups:
        return None
    order = channels_last(x.rank)
    x, window = _bordered(planner, x, window, zero)
    filters = planner.weight(
        images.w.value,
        ("int8", order, images.w.key),
        lambda _: images.w.centred(0).transpose(order),
        INT8,
    ).transposed(sorted(range(x.rank), key=order.__getitem__))
    y = planner.new(INT8, shape, order)
    operation = Convolution(
        Spec.of(x), Spec.of(filters), Spec.of(y), window.pads_begin, window.pads_end,
        window.strides, window.dilations, groups,
    )  # fmt: skip
    laid = (1, -1, *(1,) * (x.rank - 2))
    vectors = Columns(planner, images.w, 0, laid, images.x.scale, zero, images.bias)
    return whole.Work(
        operation, (x, filters), shape, order, lambda tensor: tensor,
        vectors.factor, vectors.offset, images.ending,
    )  # fmt: skip


def _bordered(
    planner: Planner, x: Tensor, window: Window, zero: int
) -> tuple[Tensor, Window]:
    """Return images with channels innermost, with borders of their own if need be."""
    order = channels_last(x.rank)
    if not zero or not any((*window.pads_begin, *window.pads_end)):
        return planner.dense(x, order), window
    begins, ends = (0, 0, *window.pads_begin), (0, 0, *window.pads_end)
    shape = [n + a + b for n, a, b in zip(x.shape, begins, ends, strict=True)]
    made = planner.new(INT8, shape, order)
    planner.launch(movement.pad(x, made, begins, "constant", zero))
    none = (0,) * (x.rank - 2)
    return made, replace(window, pads_begin=none, pads_end=none)
