"""RotaryEmbedding: heads turned by their positions."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.graph import Node

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import rotary as kernels
from runtime_ep_cuda.dtypes import FLOATS, INT32, INT64, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.tensor import Tensor

MS = "com.microsoft"


def _refuses(node: Node, places: Sequence[int] = (0, 1, 2)) -> str:
    types = {dtype_of(node.input(place)) for place in places}
    if len(types) != 1 or not types <= FLOATS:
        return "turning these element types is not supported"
    return ""


@plans("RotaryEmbedding", refuse=_refuses, since=23)
def rotary_embedding(planner: Planner, group: Group) -> None:
    """RotaryEmbedding of ai.onnx; inputs of three axes have their heads side by side."""
    node = anchor_of(group)
    x, cos, sin = (planner.tensor(value) for value in node.inputs[:3])
    value = node.input(3)
    positions = None if value is None else planner.tensor(value)
    turned = node.attribute("rotary_embedding_dim", 0)
    count = node.attribute("num_heads", 0)
    _turn(planner, node, (x, cos, sin), positions, turned, count)


def _refuses_contrib(node: Node) -> str:
    if node.attribute("is_packed_batching", 0):
        return "packed batches are not supported"
    if dtype_of(node.input(1)) not in (INT32, INT64):
        return "positions that are no integers are not supported"
    return _refuses(node, (0, 2, 3))


@plans("RotaryEmbedding", domain=MS, refuse=_refuses_contrib)
def rotary_embedding_of_microsoft(planner: Planner, group: Group) -> None:
    """RotaryEmbedding of com.microsoft; a head is as the caches unless it is said."""
    node = anchor_of(group)
    x, positions, cos, sin = (planner.tensor(value) for value in node.inputs[:4])
    width = 2 * cos.shape[-1] if cos.rank == 2 else 0
    count = node.attribute("num_heads", 0) or x.shape[-1] // max(1, width)
    turned = node.attribute("rotary_embedding_dim", 0) or width
    length = x.shape[2 if x.rank == 4 else 1]
    fits = positions.shape in ((1,), (x.shape[0], length))
    if turned != width or not fits:
        raise Unplannable(
            f"positions {list(positions.shape)} and caches {list(cos.shape)} do not "
            f"turn {turned} elements of {list(x.shape)}"
        )
    _turn(planner, node, (x, cos, sin), positions, turned, count)


def _turn(
    planner: Planner,
    node: Node,
    parts: tuple[Tensor, Tensor, Tensor],
    positions: Tensor | None,
    turned: int,
    count: int,
) -> None:
    """Turn inputs of four axes, or of three with so many heads side by side."""
    x, cos, sin = parts
    flat = x.rank == 3
    if x.rank not in (3, 4) or (flat and (not count or x.shape[2] % count)):
        raise Unplannable(f"{list(x.shape)} does not divide into {count} heads")
    y = planner.result(node.outputs[0], x.shape)
    x, cos, sin = (planner.typed(tensor, y.dtype) for tensor in (x, cos, sin))
    seen = (kernels.heads(x, count), kernels.heads(y, count)) if flat else (x, y)
    interleaved = bool(node.attribute("interleaved", 0))
    planner.launch(
        kernels.rotary(
            seen[0], cos, sin, seen[1], positions,
            interleaved=interleaved, turned=turned,
        )
    )  # fmt: skip
