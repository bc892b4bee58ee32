"""Elements and slices chosen by indices, and written where indices say."""

from __future__ import annotations

from runtime.graph import Node

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import gather as reading
from runtime_ep_cuda.codegen import movement
from runtime_ep_cuda.codegen import scatter as writing
from runtime_ep_cuda.dtypes import INT32, INT64, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of, axis_of
from runtime_ep_cuda.tensor import Tensor


def _by_integers(node: Node) -> str:
    if dtype_of(node.input(1)) in (INT32, INT64):
        return ""
    return "indices of these types are not supported"


@plans("Gather", refuse=_by_integers, moves=True)
def gather(planner: Planner, group: Group) -> None:
    """Gather: slices along an axis; a known single index is a view."""
    node = anchor_of(group)
    x, index = planner.tensor(node.inputs[0]), node.inputs[1]
    axis = axis_of(node.attribute("axis", 0), x.rank)
    known = planner.known(index)
    if known is not None and known.size == 1 and not known.shape:
        place = int(known)
        place += x.shape[axis] if place < 0 else 0
        if not 0 <= place < x.shape[axis]:
            raise Unplannable(f"index {int(known)} is none of {x.shape[axis]}")
        part = x.sliced(axis, place, 1)
        kept = [other for other in range(x.rank) if other != axis]
        planner.define(node.outputs[0], part.transposed(kept))
        return
    indices = planner.tensor(index)
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    y = planner.result(node.outputs[0], shape)
    planner.launch(reading.gather(x, indices, y, axis))


@plans("GatherElements", refuse=_by_integers)
def gather_elements(planner: Planner, group: Group) -> None:
    """GatherElements: one element for each index."""
    node = anchor_of(group)
    x, indices = (planner.tensor(value) for value in node.inputs)
    axis = axis_of(node.attribute("axis", 0), x.rank)
    y = planner.result(node.outputs[0], indices.shape)
    planner.launch(reading.gather_elements(x, indices, y, axis))


@plans("GatherND", refuse=_by_integers)
def gather_nd(planner: Planner, group: Group) -> None:
    """GatherND: slices chosen by tuples of indices."""
    node = anchor_of(group)
    x, indices = (planner.tensor(value) for value in node.inputs)
    batch = node.attribute("batch_dims", 0)
    if not indices.rank or batch + indices.shape[-1] > x.rank:
        raise Unplannable(f"{list(indices.shape)} are no indices of {list(x.shape)}")
    shape = (*indices.shape[:-1], *x.shape[batch + indices.shape[-1] :])
    y = planner.result(node.outputs[0], shape)
    planner.launch(reading.gather_nd(x, indices, y, batch))


@plans("ScatterElements", refuse=_by_integers, since=11)
def scatter_elements(planner: Planner, group: Group) -> None:
    """ScatterElements: a copy, and one element for each index."""
    node = anchor_of(group)
    x, indices, updates, y = _scattered(planner, node)
    axis = axis_of(node.attribute("axis", 0), x.rank)
    planner.launch(
        writing.scatter_elements(
            x, indices, updates, y, axis,
            node.attribute("reduction", "none"), planner.setting.deterministic,
        )
    )  # fmt: skip


@plans("ScatterND", refuse=_by_integers, since=11)
def scatter_nd(planner: Planner, group: Group) -> None:
    """ScatterND: a copy, and slices where tuples of indices say."""
    node = anchor_of(group)
    x, indices, updates, y = _scattered(planner, node)
    planner.launch(
        writing.scatter_nd(
            x, indices, updates, y,
            node.attribute("reduction", "none"), planner.setting.deterministic,
        )
    )  # fmt: skip


def _scattered(planner: Planner, node: Node) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what is scattered into, the indices, the updates and the result."""
    x, indices, updates = (planner.tensor(value) for value in node.inputs)
    y = planner.result(node.outputs[0], x.shape)
    return x, indices, planner.typed(updates, y.dtype), y


def _hot(node: Node) -> str:
    if dtype_of(node.inputs[0]) in (INT32, INT64):
        return ""
    return "indices of these types are not supported"


@plans("OneHot", refuse=_hot, known=(1,))
def one_hot(planner: Planner, group: Group) -> None:
    """OneHot: one value where the index is, the other everywhere else."""
    node = anchor_of(group)
    indices, values = planner.tensor(node.inputs[0]), planner.tensor(node.inputs[2])
    depth = (planner.numbers(node.inputs[1]) or [0])[0]
    axis = axis_of(node.attribute("axis", -1), indices.rank + 1)
    shape = (*indices.shape[:axis], depth, *indices.shape[axis:])
    y = planner.result(node.outputs[0], shape)
    planner.launch(movement.one_hot(indices, values, y, axis))


@plans("EyeLike")
def eye_like(planner: Planner, group: Group) -> None:
    """EyeLike: ones on a diagonal."""
    node = anchor_of(group)
    value = node.inputs[0]
    if value is None:
        raise Unplannable("an input is missing")
    y = planner.result(node.outputs[0], planner.shape(value))
    planner.launch(movement.eye_like(y, node.attribute("k", 0)))


@plans("Range", known=(0, 1, 2))
def range_(planner: Planner, group: Group) -> None:
    """Range: what starts, ends and steps are known gives."""
    node = anchor_of(group)
    start, limit, delta = (planner.known(value) for value in node.inputs)
    if start is None or limit is None or delta is None or not delta.any():
        raise Unplannable("a range without bounds")
    first, last, step = (array.reshape(-1)[0].item() for array in (start, limit, delta))
    count = max(int(-(-(last - first) // step)), 0)
    y = planner.result(node.outputs[0], (count,))
    planner.launch(movement.range_of(y, first, step))
