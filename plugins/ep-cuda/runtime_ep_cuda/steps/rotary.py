"""RotaryEmbedding of ai.onnx: heads turned by their positions."""

from __future__ import annotations

from runtime.graph import Node

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import rotary as kernels
from runtime_ep_cuda.dtypes import FLOATS, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of


def _refuses(node: Node) -> str:
    types = {dtype_of(node.input(place)) for place in range(3)}
    if len(types) != 1 or not types <= FLOATS:
        return "turning these element types is not supported"
    return ""


@plans("RotaryEmbedding", refuse=_refuses, since=23)
def rotary_embedding(planner: Planner, group: Group) -> None:
    """RotaryEmbedding; inputs of three axes have their heads side by side."""
    node = anchor_of(group)
    x, cos, sin = (planner.tensor(value) for value in node.inputs[:3])
    value = node.input(3)
    positions = None if value is None else planner.tensor(value)
    flat, count = x.rank == 3, node.attribute("num_heads", 0)
    if flat and (not count or x.shape[2] % count):
        raise Unplannable(f"{list(x.shape)} does not divide into {count} heads")
    y = planner.result(node.outputs[0], x.shape)
    x, cos, sin = (planner.typed(tensor, y.dtype) for tensor in (x, cos, sin))
    seen = (kernels.heads(x, count), kernels.heads(y, count)) if flat else (x, y)
    turned = node.attribute("rotary_embedding_dim", 0)
    interleaved = bool(node.attribute("interleaved", 0))
    planner.launch(
        kernels.rotary(
            seen[0], cos, sin, seen[1], positions,
            interleaved=interleaved, turned=turned,
        )
    )  # fmt: skip
