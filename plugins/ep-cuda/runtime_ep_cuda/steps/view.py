"""Nodes that only look at their input otherwise: strides, and a copy where it must be."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from runtime.graph import Node

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner, broadcast
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.tensor import Tensor


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from the front."""
    if not -rank <= axis < max(rank, 1):
        raise Unplannable(f"axis {axis} is none of {rank}")
    return axis + rank if axis < 0 else axis


def anchor_of(group: Group) -> Node:
    """Return a group's anchor."""
    if group.anchor is None:
        raise ValueError("the group has no anchor")
    return group.anchor


def _given(planner: Planner, group: Group) -> tuple[Node, Tensor]:
    node = anchor_of(group)
    return node, planner.tensor(node.inputs[0])


@plans("Reshape", known=(1,), since=5, moves=True)
def reshape(planner: Planner, group: Group) -> None:
    """Reshape: 0 keeps a size unless ``allowzero``, -1 is what is left."""
    node, x = _given(planner, group)
    wanted = planner.numbers(node.inputs[1]) or []
    zero = not node.attribute("allowzero", 0)
    if zero and any(d == 0 and i >= x.rank for i, d in enumerate(wanted)):
        raise Unplannable(f"{wanted} keeps a size that {list(x.shape)} does not have")
    shape = [x.shape[i] if d == 0 and zero else d for i, d in enumerate(wanted)]
    if -1 in shape:
        rest = prod(d for d in shape if d != -1)
        shape[shape.index(-1)] = x.size // rest if rest else 0
    planner.define(node.outputs[0], planner.reshape(x, shape))


@plans("Flatten", moves=True)
def flatten(planner: Planner, group: Group) -> None:
    """Flatten: the sizes before an axis, and those from it on, each as one."""
    node, x = _given(planner, group)
    axis = node.attribute("axis", 1)
    axis = axis + x.rank if axis < 0 else axis
    shape = (prod(x.shape[:axis]), prod(x.shape[axis:]))
    planner.define(node.outputs[0], planner.reshape(x, shape))


@plans("Squeeze", known=(1,), since=13, moves=True)
def squeeze(planner: Planner, group: Group) -> None:
    """Squeeze: axes of one element go."""
    node, x = _given(planner, group)
    axes = planner.numbers(node.input(1))
    if axes is None:
        gone = {axis for axis, dim in enumerate(x.shape) if dim == 1}
    else:
        gone = {axis_of(axis, x.rank) for axis in axes}
    if any(x.shape[axis] != 1 for axis in gone):
        raise Unplannable(f"{list(x.shape)} has more than one element along {axes}")
    kept = [axis for axis in range(x.rank) if axis not in gone]
    planner.define(node.outputs[0], x.transposed(kept))


@plans("Unsqueeze", known=(1,), since=13, moves=True)
def unsqueeze(planner: Planner, group: Group) -> None:
    """Unsqueeze: axes of one element come."""
    node, x = _given(planner, group)
    axes = planner.numbers(node.input(1)) or []
    rank = x.rank + len(axes)
    new = {axis_of(axis, rank) for axis in axes}
    if len(new) != len(axes):
        raise Unplannable(f"axes {axes} repeat")
    kept = [axis for axis in range(rank) if axis not in new]
    ahead = x.broadcast((1,) * len(new) + x.shape)
    planner.define(node.outputs[0], ahead.transposed(_inverse([*sorted(new), *kept])))


def _inverse(order: Sequence[int]) -> list[int]:
    """Return where each axis stands in an order."""
    return sorted(range(len(order)), key=order.__getitem__)


@plans("Transpose", moves=True)
def transpose(planner: Planner, group: Group) -> None:
    """Transpose: the same memory, its axes in another order."""
    node, x = _given(planner, group)
    order = node.attribute("perm") or tuple(reversed(range(x.rank)))
    if sorted(order) != list(range(x.rank)):
        raise Unplannable(f"{order} does not permute {x.rank} axes")
    planner.define(node.outputs[0], x.transposed(order))


@plans("Slice", known=(1, 2, 3, 4), since=10, moves=True)
def slice_(planner: Planner, group: Group) -> None:
    """Slice: an offset and longer, perhaps negative, strides."""
    node, x = _given(planner, group)
    starts, ends, axes, steps = (planner.numbers(node.input(i)) for i in (1, 2, 3, 4))
    starts, ends = starts or [], ends or []
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis_of(axis, x.rank)
        if step == 0:
            raise Unplannable("a step is 0")
        dim = x.shape[place]
        stop = end if step > 0 or end >= -dim else None
        first, last, _ = slice(start, stop, step).indices(dim)
        x = x.sliced(place, first, len(range(first, last, step)), step)
    planner.define(node.outputs[0], x)


@plans("Split", known=(1,), since=13)
def split(planner: Planner, group: Group) -> None:
    """Split: several views of one tensor."""
    node, x = _given(planner, group)
    axis = axis_of(node.attribute("axis", 0), x.rank)
    size = x.shape[axis]
    sizes = planner.numbers(node.input(1))
    if not sizes:
        count = node.attribute("num_outputs", len(node.outputs))
        each = -(-size // count)
        sizes = [min(each, max(size - each * i, 0)) for i in range(count)]
    if sum(sizes) != size or len(sizes) < len(node.outputs):
        raise Unplannable(f"{size} elements are not split into {sizes}")
    start = 0
    for value, part in zip(node.outputs, sizes, strict=False):
        planner.define(value, x.sliced(axis, start, part))
        start += part


@plans("Expand", known=(1,), moves=True)
def expand(planner: Planner, group: Group) -> None:
    """Expand: strides of 0."""
    node, x = _given(planner, group)
    wanted = tuple(planner.numbers(node.inputs[1]) or ())
    planner.define(node.outputs[0], x.broadcast(broadcast([x.shape, wanted])))


@plans("DepthToSpace", since=11, moves=True)
def depth_to_space(planner: Planner, group: Group) -> None:
    """DepthToSpace: six axes, permuted, and four again."""
    node, x = _given(planner, group)
    b, (n, c, h, w) = node.attribute("blocksize"), _image(x)
    if c % (b * b):
        raise Unplannable(f"{c} channels are not blocks of {b} by {b}")
    if node.attribute("mode", "DCR") == "DCR":
        parts = planner.reshape(x, (n, b, b, c // (b * b), h, w))
        seen = parts.transposed((0, 3, 4, 1, 5, 2))
    else:
        parts = planner.reshape(x, (n, c // (b * b), b, b, h, w))
        seen = parts.transposed((0, 1, 4, 2, 5, 3))
    shape = (n, c // (b * b), h * b, w * b)
    planner.define(node.outputs[0], planner.reshape(seen, shape))


@plans("SpaceToDepth", moves=True)
def space_to_depth(planner: Planner, group: Group) -> None:
    """SpaceToDepth: the way back."""
    node, x = _given(planner, group)
    b, (n, c, h, w) = node.attribute("blocksize"), _image(x)
    if h % b or w % b:
        raise Unplannable(f"{h} by {w} pixels are not blocks of {b} by {b}")
    parts = planner.reshape(x, (n, c, h // b, b, w // b, b))
    mode = node.attribute("mode", "DCR")
    seen = parts.transposed((0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4))
    shape = (n, c * b * b, h // b, w // b)
    planner.define(node.outputs[0], planner.reshape(seen, shape))


def _image(x: Tensor) -> tuple[int, int, int, int]:
    if x.rank != 4:
        raise Unplannable(f"{list(x.shape)} is no batch of images")
    n, c, h, w = x.shape
    return n, c, h, w
