"""Normalizations of images by groups of channels, or of vectors by their length."""

from __future__ import annotations

from runtime.graph import Node

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import group_norm as kernels
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.elementwise import finish, likely_order, value_after
from runtime_ep_cuda.steps.product import of_floats
from runtime_ep_cuda.steps.rows import written
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of, axis_of
from runtime_ep_cuda.tensor import Buffer, Tensor


@plans("GroupNormalization", refuse=of_floats, since=18, after=True)
def group_normalization(planner: Planner, group: Group) -> None:
    """GroupNormalization; since opset 21 with weights per channel."""
    _normalize(planner, group, anchor_of(group).attribute("num_groups"))


@plans("InstanceNormalization", refuse=of_floats, since=6, after=True)
def instance_normalization(planner: Planner, group: Group) -> None:
    """InstanceNormalization: each channel is a group of its own."""
    _normalize(planner, group, 0)


def _normalize(planner: Planner, group: Group, groups: int) -> None:
    node = anchor_of(group)
    x, scale, bias = (planner.tensor(value) for value in node.inputs)
    if x.rank < 2 or not x.size or x.shape[1] % (groups or 1):
        raise Unplannable(f"{list(x.shape)} is not normalized in {groups} groups")
    groups = groups or x.shape[1]
    after, further, done = written(planner, group, x.shape)
    value = value_after(group, done)
    order = planner.order_for(value, likely_order([x], x.shape))
    y = planner.result(value, x.shape, order)
    size = kernels.group_norm_scratch(x, y, groups)
    planner.launch(
        kernels.group_norm(
            x,
            scale,
            bias,
            y,
            groups,
            node.attribute("epsilon", 1e-5),
            after=after,
            further=further,
            scratch=Tensor.dense(Buffer(size), "uint8", (size,)) if size else None,
        )
    )
    finish(planner, group, done)


def _of_length(node: Node) -> str:
    if node.attribute("p", 2) not in (1, 2):
        return "norms of other powers than 1 and 2 are not supported"
    return of_floats(node)


@plans("LpNormalization", refuse=_of_length)
def lp_normalization(planner: Planner, group: Group) -> None:
    """LpNormalization: vectors along an axis over their length."""
    node = anchor_of(group)
    x = planner.tensor(node.inputs[0])
    axis = axis_of(node.attribute("axis", -1), x.rank)
    y = planner.result(node.outputs[0], x.shape)
    planner.launch(kernels.lp_norm(x, y, axis, node.attribute("p", 2)))


@plans("MeanVarianceNormalization", refuse=of_floats)
def mean_variance_normalization(planner: Planner, group: Group) -> None:
    """MeanVarianceNormalization over some axes, by the deviation and a billionth."""
    node = anchor_of(group)
    x = planner.tensor(node.inputs[0])
    axes = [axis_of(a, x.rank) for a in node.attribute("axes") or (0, 2, 3)]
    y = planner.result(node.outputs[0], x.shape)
    planner.launch(kernels.mean_variance_norm(x, y, axes))
