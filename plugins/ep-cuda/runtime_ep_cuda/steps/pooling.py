"""Pools: windows that slide over images, wherever their channels lie."""

from __future__ import annotations

from runtime.graph import Node

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import pooling
from runtime_ep_cuda.dtypes import FLOATS, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.elementwise import likely_order
from runtime_ep_cuda.steps.rows import used
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.steps.windows import Window, window_of
from runtime_ep_cuda.tensor import Tensor


def _of_images(node: Node) -> str:
    x = node.inputs[0]
    rank = len(x.shape) if x is not None and x.shape is not None else 0
    return "" if 3 <= rank <= 5 else f"a pool over {rank} axes is not supported"


def _of_floats(node: Node) -> str:
    if dtype_of(node.inputs[0]) not in FLOATS:
        return "means and norms of integers are not supported"
    return _of_images(node)


def _given(planner: Planner, group: Group) -> tuple[Node, Tensor, Window, Tensor]:
    """Return the node, its image, the window, and where the result goes."""
    node = anchor_of(group)
    x = planner.tensor(node.inputs[0])
    window = window_of(node, x.shape[2:], node.attribute("kernel_shape"))
    shape = (*x.shape[:2], *window.sizes)
    if not x.size:
        raise Unplannable(f"a pool over {list(x.shape)} has no elements")
    value = node.outputs[0]
    order = planner.order_for(value, likely_order([x], x.shape))
    return node, x, window, planner.result(value, shape, order)


@plans("MaxPool", refuse=_of_images, moves=True)
def max_pool(planner: Planner, group: Group) -> None:
    """MaxPool, with the places of the largest where somebody reads them."""
    node, x, window, y = _given(planner, group)
    value = used(node, 1)
    indices = None if value is None else planner.result(value, y.shape)
    order = node.attribute("storage_order", 0)
    planner.launch(pooling.max_pool(x, y, window, indices, order))


@plans("AveragePool", refuse=_of_floats, since=7)
def average_pool(planner: Planner, group: Group) -> None:
    """AveragePool, with or without the padding."""
    node, x, window, y = _given(planner, group)
    padded = bool(node.attribute("count_include_pad", 0))
    planner.launch(pooling.average_pool(x, y, window, padded))


@plans("LpPool", refuse=_of_floats, since=2)
def lp_pool(planner: Planner, group: Group) -> None:
    """LpPool."""
    node, x, window, y = _given(planner, group)
    planner.launch(pooling.lp_pool(x, y, window, node.attribute("p", 2)))
