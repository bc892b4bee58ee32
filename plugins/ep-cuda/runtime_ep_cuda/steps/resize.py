"""Resize: tables of pixels and weights made while planning, and one kernel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from runtime.graph import Node
from runtime_ep_cpu.ops import resize as rules
from runtime_ep_cpu.ops._interpolation import Axis, Method

from runtime_ep_cuda.actions import Array, Unplannable
from runtime_ep_cuda.codegen import resize as kernels
from runtime_ep_cuda.dtypes import BOOL, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.elementwise import likely_order
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.tensor import Tensor


def _refuses(node: Node) -> str:
    mode = node.attribute("mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        return f"mode {mode!r} is not supported"
    weighted = mode != "nearest" and dtype_of(node.inputs[0]) == BOOL
    return "booleans are not weighted" if weighted else ""


@plans("Resize", refuse=_refuses, known=(1, 2, 3), since=11)
def resize(planner: Planner, group: Group) -> None:
    """Resize along any axes, by factors or to sizes."""
    node = anchor_of(group)
    x, method = planner.tensor(node.inputs[0]), _method(node)
    try:
        plan = _axes(planner, node, x, method.crops)
        shape = list(x.shape)
        for axis in plan:
            shape[axis.axis] = axis.size
        if not x.size:
            raise Unplannable(f"{list(x.shape)} has no pixels")
        taps = kernels.taps_of(plan, method, x.dtype)
    except ValueError as error:
        raise Unplannable(str(error)) from error
    value = node.outputs[0]
    if not taps and planner.storage(value) == x.dtype:
        planner.define(value, x)
        return
    order = planner.order_for(value, likely_order([x], x.shape))
    y = planner.result(value, shape, order)
    if any(each.weights is None for each in taps):
        x = planner.typed(x, y.dtype)
    tables = [kernels.Table(t.axis, *_on_device(planner, t)) for t in taps]
    planner.launch(kernels.resize(x, y, tables, method.extrapolation, method.antialias))


def _on_device(planner: Planner, taps: kernels.Taps) -> tuple[Tensor, Tensor | None]:
    indices = planner.constant(taps.indices)
    weights = None if taps.weights is None else planner.constant(taps.weights)
    return indices, weights


def _method(node: Node) -> Method:
    """Return what is the same for all axes, defaults as the standard has them."""
    return Method(
        node.attribute("mode", "nearest"),
        node.attribute("coordinate_transformation_mode", "half_pixel"),
        node.attribute("nearest_mode", "round_prefer_floor"),
        node.attribute("cubic_coeff_a", -0.75),
        bool(node.attribute("exclude_outside", 0)),
        bool(node.attribute("antialias", 0)),
        float(node.attribute("extrapolation_value", 0.0)),
    )


def _axes(planner: Planner, node: Node, x: Tensor, crops: bool) -> Sequence[Axis]:
    """Return the plan of every axis that is resized."""
    axes = rules.chosen_axes(node.attribute("axes"), x.rank)
    roi, scales, sizes = (_contents(planner, node, place) for place in (1, 2, 3))
    if not crops:
        roi = None
    elif roi is None:
        raise Unplannable("tf_crop_and_resize needs the input roi")
    if (scales is None) == (sizes is None):
        raise Unplannable("Resize needs either scales or sizes, and not both")
    if sizes is None:
        return rules.by_scales(x.ghost(), scales, axes, roi)
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    return rules.by_sizes(x.ghost(), sizes, axes, roi, policy)


def _contents(planner: Planner, node: Node, place: int) -> Array | None:
    """Return a known input, ``None`` where it is absent or empty."""
    value = node.input(place)
    if value is None:
        return None
    array = planner.known(value)
    if array is None:
        raise Unplannable(f"{value.name!r} is known on the device only")
    return np.asarray(array) if array.size else None
