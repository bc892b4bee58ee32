"""Nodes that only look at their input otherwise: a layout, or a copy where it must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.graph import Node

from runtime_ep_cpu.codegen import copies
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Planner


class ViewStep:
    """Reshape, Transpose, Slice, Split and their like."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a view has an anchor")
        self._node = group.anchor
        size = SIZES[element_of(self._node.outputs[0]) or "float"]
        turned = self._node.op_type == "Slice"
        self.specs: Sequence[Spec] = copies.specs(size, turned)
        self._view = _VIEWS[self._node.op_type]

    def plan(self, planner: Planner) -> None:
        """Lay the results over the input's memory."""
        node = self._node
        source = planner.layout(node.inputs[0])  # type: ignore[arg-type]
        found = self._view(planner, node, source)
        for value, layout in zip(node.outputs, found, strict=False):
            planner.give(value, layout)


def reshaped(planner: Planner, layout: Layout, shape: Sequence[int]) -> Layout:
    """Return a layout in another shape of as many elements, copied where it must be."""
    found = layout.reshaped(shape)
    if found is None:
        found = _as_image(planner, layout, tuple(shape))
    if found is None:
        found = planner.contiguous(layout).reshaped(shape)
    if found is None:
        raise Unplannable(f"{layout.shape} cannot be reshaped to {tuple(shape)}")
    return found


def _as_image(
    planner: Planner, layout: Layout, shape: tuple[int, ...]
) -> Layout | None:
    """Return a copy that is an image like that which a layout looks at, if it can be.

    So channels of an image that are shuffled are an image again.
    """
    border = planner.borders.get(layout.buffer)
    if border is None or len(shape) != len(border.inside.shape):
        return None
    sizes = border.inside.shape[2:]
    if shape[2:] != sizes or layout.shape[-len(sizes) :] != sizes:
        return None
    made = image(planner, None, shape, layout.element, [layout])
    parted = made.reshaped(layout.shape)
    if parted is None:
        return None
    planner.copy(layout, parted)
    return made


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from the front."""
    if not -rank <= axis < max(rank, 1):
        raise Unplannable(f"axis {axis} is none of {rank}")
    return axis + rank if axis < 0 else axis


def _reshape(planner: Planner, node: Node, source: Layout) -> list[Layout]:
    old = node.version < 5
    wanted = node.attribute("shape", ()) if old else planner.numbers(node.input(1))
    wanted = wanted or []
    keep_zeros = bool(node.attribute("allowzero", 0))
    shape = []
    for index, dim in enumerate(wanted):
        if dim == 0 and not keep_zeros:
            if index >= len(source.shape):
                raise Unplannable(f"dim {index} is none of {source.shape}")
            dim = source.shape[index]
        shape.append(dim)
    if shape.count(-1) > 1 or any(dim < -1 or dim == 0 for dim in shape):
        raise Unplannable(f"{wanted} is no shape for native code")
    if -1 in shape:
        rest = 1
        for dim in shape:
            rest *= dim if dim != -1 else 1
        if source.size % rest:
            raise Unplannable(f"{source.shape} does not fit {wanted}")
        shape[shape.index(-1)] = source.size // rest
    count = 1
    for dim in shape:
        count *= dim
    if count != source.size:
        raise Unplannable(f"{source.shape} does not fit {wanted}")
    return [reshaped(planner, source, shape)]


def _flatten(planner: Planner, node: Node, source: Layout) -> list[Layout]:
    rank = len(source.shape)
    axis = node.attribute("axis", 1)
    axis = axis + rank if axis < 0 else axis
    if not 0 <= axis <= rank:
        raise Unplannable(f"axis {axis} is none of {rank}")
    first = 1
    for dim in source.shape[:axis]:
        first *= dim
    return [reshaped(planner, source, (first, source.size // first))]


def _axes(planner: Planner, node: Node) -> list[int] | None:
    given = node.attribute("axes")
    return list(given) if given is not None else planner.numbers(node.input(1))


def _squeeze(planner: Planner, node: Node, source: Layout) -> list[Layout]:
    axes = _axes(planner, node)
    rank = len(source.shape)
    if axes is None:
        gone = {axis for axis, dim in enumerate(source.shape) if dim == 1}
    else:
        gone = {axis_of(axis, rank) for axis in axes}
    if any(source.shape[axis] != 1 for axis in gone):
        raise Unplannable(f"{source.shape} has more than one element along {axes}")
    kept = [axis for axis in range(rank) if axis not in gone]
    return [source.transposed(kept)]


def _unsqueeze(planner: Planner, node: Node, source: Layout) -> list[Layout]:
    axes = _axes(planner, node) or []
    rank = len(source.shape) + len(axes)
    new = {axis_of(axis, rank) for axis in axes}
    if len(new) != len(axes):
        raise Unplannable(f"axes {axes} repeat")
    old = iter(zip(source.shape, source.strides, strict=True))
    dims = [(1, 1) if axis in new else next(old) for axis in range(rank)]
    return [source.with_dims([d for d, _ in dims], [s for _, s in dims])]


def _transpose(planner: Planner, node: Node, source: Layout) -> list[Layout]:
    rank = len(source.shape)
    order = node.attribute("perm") or tuple(reversed(range(rank)))
    if sorted(order) != list(range(rank)):
        raise Unplannable(f"{order} does not permute {rank} axes")
    return [source.transposed(order)]


def _identity(planner: Planner, node: Node, source: Layout) -> list[Layout]:
    return [source]


def _slice(planner: Planner, node: Node, source: Layout) -> list[Layout]:
    if node.version < 10:
        starts, ends = node.attribute("starts"), node.attribute("ends")
        axes, steps = node.attribute("axes"), None
    else:
        starts, ends = (planner.numbers(node.input(i)) or [] for i in (1, 2))
        axes, steps = planner.numbers(node.input(3)), planner.numbers(node.input(4))
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    shape, strides = list(source.shape), list(source.strides)
    offset = source.offset
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis_of(axis, len(shape))
        if step == 0:
            raise Unplannable("a step is 0")
        first, last, _ = slice(
            start, end if step > 0 or end >= -shape[place] else None, step
        ).indices(shape[place])
        count = len(range(first, last, step))
        if not count:
            raise Unplannable("a slice is empty")
        offset += first * strides[place]
        shape[place] = count
        strides[place] *= step
    return [source.with_dims(shape, strides, offset)]


def _expand(planner: Planner, node: Node, source: Layout) -> list[Layout]:
    wanted = planner.numbers(node.input(1)) or []
    rank = max(len(wanted), len(source.shape))
    have = (1,) * (rank - len(source.shape)) + source.shape
    want = [1] * (rank - len(wanted)) + wanted
    shape = []
    for a, b in zip(have, want, strict=True):
        if (a != b and a != 1 and b != 1) or b < 1:
            raise Unplannable(f"{source.shape} does not broadcast to {wanted}")
        shape.append(max(a, b))
    return [source.broadcast(shape)]


def _split(planner: Planner, node: Node, source: Layout) -> list[Layout]:
    axis = axis_of(node.attribute("axis", 0), len(source.shape))
    size = source.shape[axis]
    sizes = node.attribute("split") or planner.numbers(node.input(1))
    if not sizes:
        count = node.attribute("num_outputs", len(node.outputs))
        each = -(-size // count)
        sizes = [each] * (count - 1) + [size - each * (count - 1)]
    if sum(sizes) != size or min(sizes) < 1 or len(sizes) < len(node.outputs):
        raise Unplannable(f"{size} elements are not split into {sizes}")
    found = []
    start = 0
    for part in sizes:
        shape = list(source.shape)
        shape[axis] = part
        offset = source.offset + start * source.strides[axis]
        found.append(source.with_dims(shape, source.strides, offset))
        start += part
    return found


_VIEWS: dict[str, Callable[[Planner, Node, Layout], list[Layout]]] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Identity": _identity,
    "Cast": _identity,
    "Slice": _slice,
    "Expand": _expand,
    "Split": _split,
}
