"""Operators that move elements without computing: shapes, order, parts and repetition."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from runtime_ep_coreml.guards import constant, floating, ranks
from runtime_ep_coreml.lowering.broadcast import filled_out, repeated
from runtime_ep_coreml.narrowing import never_zero
from runtime_ep_coreml.scope import Handle, Refused, Scope
from runtime_ep_coreml.table import lowers


@lowers("Reshape", since=5)
def reshape(at: Scope) -> Handle:
    """Another shape, which may keep sizes (0) and leave one open (-1)."""
    x = at.x()
    wanted = at.known(1)
    if wanted is None:
        if at.attr("allowzero", 0):
            raise Refused("allowzero with a shape known at run time is not supported")
        return at.op("reshape", x=x, shape=_without_zeros(at, x))
    target = [int(size) for size in wanted]
    if at.attr("allowzero", 0) and 0 in target:
        raise Refused("a value has no elements")
    sizes = [
        at.size(x, axis) if size == 0 else size for axis, size in enumerate(target)
    ]
    have = at.sizes(x)
    if -1 in target and None not in have and all(isinstance(s, int) for s in sizes):
        rest = prod(size for size in sizes if size != -1)
        sizes[target.index(-1)] = prod(have) // max(rest, 1)  # type: ignore[arg-type]
    return at.into(x, sizes)


def _without_zeros(at: Scope, x: Handle) -> Handle:
    """Return a shape known at run time with the sizes that its zeros keep.

    MIL counts the axes of zeros from the last one, ONNX from the first.
    """
    value, shape = at.node.input(1), at.x(1)
    if never_zero(value):
        return shape
    (count,) = at.sizes(shape)
    if count is None:
        raise Refused("the number of sizes must be known")
    have = [at.size(x, axis) for axis in range(min(at.rank(x), count))]
    kept = at.join(have + [0] * (count - len(have)))
    zeros = at.cast(at.op("equal", x=shape, y=np.int32(0)), "int32")
    return at.op("add", x=shape, y=at.op("mul", x=zeros, y=kept))


@lowers("Flatten")
def flatten(at: Scope) -> Handle:
    """Two axes: those before an axis, and the rest."""
    x = at.x()
    axis, rank = int(at.attr("axis", 1)), at.rank(x)
    axis = axis + rank if axis < 0 else axis
    if rank < 2:
        return at.reshape(x, [1, -1] if axis == 0 else [-1, 1])
    have = at.sizes(x)
    if None not in have:
        return at.reshape(x, [prod(have[:axis]), prod(have[axis:])])  # type: ignore[arg-type]
    return at.op("flatten2d", x=x, axis=axis)


@lowers("Squeeze", guards=(constant(1),), since=13)
def squeeze(at: Scope) -> Handle:
    """Without axes of size one."""
    x = at.x()
    axes = at.integers(1)
    if axes is None:
        axes = [i for i, size in enumerate(at.fixed(x)) if size == 1]
    axes = sorted(axis % at.rank(x) for axis in axes)
    return at.op("squeeze", x=x, axes=axes) if axes else at.op("identity", x=x)


@lowers("Unsqueeze", guards=(constant(1),), since=13)
def unsqueeze(at: Scope) -> Handle:
    """With more axes of size one."""
    x, axes = at.x(), at.integers(1) or []
    rank = at.rank(x) + len(axes)
    if not axes:
        return at.op("identity", x=x)
    if at.rank(x) == 0:
        return at.reshape(x, [1] * rank)
    return at.op("expand_dims", x=x, axes=sorted(axis % rank for axis in axes))


@lowers("Transpose")
def transpose(at: Scope) -> Handle:
    """Axes in another order."""
    x = at.x()
    perm = at.attr("perm") or list(range(at.rank(x)))[::-1]
    moved = at.transpose(x, perm)
    return moved if moved is not x else at.op("identity", x=x)


@lowers("Concat", since=4)
def concat(at: Scope) -> Handle:
    """One after the other along an axis."""
    values = [at.x(index) for index in _with_elements(at)]
    if not values:
        raise Refused("a value has no elements")
    axis = at.axis(values[0], 0)
    if len(values) == 1:
        return at.op("identity", x=values[0])
    return at.op("concat", values=values, axis=axis)


def _with_elements(at: Scope) -> list[int]:
    """Return which inputs have elements: the others are constants that add nothing."""
    known = [at.known(index) for index in range(len(at.node.inputs))]
    return [index for index, array in enumerate(known) if array is None or array.size]


@lowers("Split", guards=(constant(1),), since=13)
def split(at: Scope) -> Any:
    """Parts along an axis, of given sizes or as equal as can be."""
    x, count = at.x(), len(at.node.outputs)
    axis = at.axis(x, 0)
    lengths = at.integers(1)
    if lengths is None:
        size = at.sizes(x)[axis]
        if size is None:
            raise Refused("the size that is split must be known")
        part = -(-size // count)
        lengths = [part] * (count - 1) + [size - part * (count - 1)]
    if min(lengths) < 1:
        raise Refused("a value has no elements")
    if count == 1:
        return at.op("identity", x=x)
    return at.op("split", x=x, split_sizes=lengths, axis=axis)


@lowers("Slice", guards=(constant(3, 4),), since=10)
def slice_(at: Scope) -> Handle:
    """Parts of axes, by steps, also backwards."""
    x = at.x()
    rank = at.rank(x)
    starts, ends = at.known(1), at.known(2)
    axes, steps = at.integers(3), at.integers(4)
    if starts is None or ends is None:
        return _slice_at_run_time(at, x, axes, steps)
    axes = [axis % rank for axis in axes] if axes else list(range(len(starts)))
    fixed: dict[int, tuple[int, int, int]] = {}
    clamped: dict[int, tuple[Any, Any, int]] = {}
    for axis, start, stop, step in zip(
        axes, starts, ends, steps or [1] * len(axes), strict=True
    ):
        size = at.sizes(x)[axis]
        part = (int(start), int(stop), step)
        if step < 0:
            x, part = _mirrored(at, x, axis, size, part)
        if size is not None:
            part = slice(*part).indices(size)
            if part[1] <= part[0]:
                raise Refused("a value has no elements")
            fixed[axis] = part
        else:
            first, last = (_clamped(at, x, axis, bound) for bound in part[:2])
            clamped[axis] = (first, last, part[2])
    made = _sliced(at, x, fixed) if fixed else x
    made = _sliced(at, made, clamped) if clamped else made
    return made if axes else at.op("identity", x=x)


WHOLE = 2**31 - 1
"""The end of every axis."""


def _sliced(at: Scope, x: Handle, parts: dict[int, tuple[Any, Any, int]]) -> Handle:
    """Return parts of some axes, whose bounds are ints, or vectors of one."""
    rank, sizes = at.rank(x), at.sizes(x)
    begin: list[Any] = [0] * rank
    end: list[Any] = [0] * rank
    stride, open_begin, open_end = [1] * rank, [True] * rank, [True] * rank
    for axis, (first, last, by) in parts.items():
        stride[axis] = by
        if not isinstance(first, int) or first != 0:
            begin[axis], open_begin[axis] = first, False
        if not isinstance(last, int) or last not in (WHOLE, sizes[axis]):
            end[axis], open_end[axis] = last, False
    return at.op(
        "slice_by_index", x=x, begin=at.join(begin), end=at.join(end), stride=stride,
        begin_mask=open_begin, end_mask=open_end,
    )  # fmt: skip


def _clamped(at: Scope, x: Handle, axis: int, bound: Any) -> Any:
    """Return a bound within an axis: what lies outside, ONNX cuts off and MIL leaves open.

    ``bound`` is an int or a vector of one, and so is what is returned.
    """
    size = at.size(x, axis)
    if isinstance(bound, int):
        if isinstance(size, int):
            return slice(bound, None).indices(size)[0]
        if bound in (-1, 0, 1) or bound >= WHOLE:
            return bound
        if bound >= 0:
            return at.op("minimum", x=size, y=np.int32(bound))
        from_end = at.op("add", x=size, y=np.int32(max(bound, -WHOLE)))
        return at.op("maximum", x=from_end, y=np.int32(0))
    size = np.int32(size) if isinstance(size, int) else size
    behind = at.cast(at.op("less", x=bound, y=np.int32(0)), "int32")
    counted = at.op("add", x=bound, y=at.op("mul", x=behind, y=size))
    at_least_none = at.op("maximum", x=counted, y=np.int32(0))
    return at.op("minimum", x=at_least_none, y=size)


def _mirrored(
    at: Scope, x: Handle, axis: int, size: int | None, part: tuple[int, int, int]
) -> tuple[Handle, tuple[int, int, int]]:
    """Return a value reversed along an axis, and the same part of it forwards."""
    start, stop, step = part
    if size is None:
        if start not in (-1, *range(2**31 - 1, 2**31 + 1)) or stop > -(2**31) + 1:
            raise Refused("a part backwards of a size known at run time only")
        size_range = (0, 2**31 - 1, -step)
    else:
        first, last, _ = slice(start, stop, step).indices(size)
        size_range = (size - 1 - first, size - 1 - last, -step)
    return at.op("reverse", x=x, axes=[axis]), size_range


def _slice_at_run_time(
    at: Scope, x: Handle, axes: list[int] | None, steps: list[int] | None
) -> Handle:
    """Slice with bounds that are inputs."""
    rank = at.rank(x)
    starts, ends = at.known(1), at.known(2)
    value = at.node.input(1 if starts is None else 2)
    count = (value.shape or (None,))[0] if value is not None else None
    if not isinstance(count, int) or any(step != 1 for step in steps or ()):
        raise Refused("how many axes are sliced, and steps of 1, must be known")
    places = [axis % rank for axis in axes] if axes else list(range(count))
    begin, end = _bounds(at, 1, starts, count), _bounds(at, 2, ends, count)
    parts = {
        axis: (_clamped(at, x, axis, first), _clamped(at, x, axis, last), 1)
        for axis, first, last in zip(places, begin, end, strict=True)
    }
    return _sliced(at, x, parts)


def _bounds(at: Scope, index: int, known: Any, count: int) -> list[Any]:
    """Return bounds as ints, or as vectors of one where they are no constants."""
    if known is not None:
        return [int(number) for number in known]
    vector = at.x(index)
    return [
        at.op("slice_by_index", x=vector, begin=[place], end=[place + 1])
        for place in range(count)
    ]


@lowers("Expand")
def expand(at: Scope) -> Handle:
    """Repeated to the shape that it broadcasts to with a given one."""
    x, wanted = at.x(), at.known(1)
    if wanted is None:
        return filled_out(at, x, at.x(1))
    target = tuple(int(size) for size in wanted)
    have = at.sizes(x)
    if None in have:
        if not target:
            return at.op("identity", x=x)
        return filled_out(at, x, at.constant(np.array(target, np.int32)))
    made = repeated(at, x, np.broadcast_shapes(have, target))  # type: ignore[arg-type]
    return made if made is not x else at.op("identity", x=x)


@lowers("Tile", since=6)
def tile(at: Scope) -> Handle:
    """Repeated along each axis."""
    x, repeats = at.x(), at.integers(1) if at.known(1) is not None else None
    if repeats is None:
        return at.op("tile", x=x, reps=at.x(1))
    if min(repeats, default=1) < 1:
        raise Refused("a value has no elements")
    if not repeats:
        return at.op("identity", x=x)
    return at.op("tile", x=x, reps=np.array(repeats, np.int32))


PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


@lowers("Pad", guards=(floating, constant(1, 2, 3)), since=11)
def pad(at: Scope) -> Handle:
    """More elements around: a number, a mirror image or the last one; less by minus."""
    x = at.x()
    rank, pads = at.rank(x), at.integers(1) or []
    axes = at.integers(3) or list(range(rank))
    mode = at.attr("mode", "constant")
    if mode not in PAD_MODES:
        raise Refused(f"mode={mode!r} is not supported")
    around = np.zeros((rank, 2), np.int32)
    for place, axis in enumerate(axes):
        around[axis % rank] = pads[place], pads[place + len(axes)]
    if (around < 0).any():
        if mode != "constant":
            raise Refused("pads below zero are supported for constants only")
        x, around = _cut(at, x, around)
    if mode != "constant" and around[:-2].any():
        raise Refused(f"mode={mode!r} is supported along the last two axes only")
    if not around.any():
        return at.op("identity", x=x)
    number = at.known(2)
    filler = at.like(x, 0 if number is None else number.reshape(-1)[0])
    if mode != "constant":
        around = around[-2:]
        _check_mirror(at, x, around, mode)
    return at.op(
        "pad", x=x, pad=around.reshape(-1), mode=PAD_MODES[mode], constant_val=filler
    )


def _check_mirror(at: Scope, x: Handle, around: Any, mode: str) -> None:
    """Refuse more elements than an axis has to mirror or repeat, as MIL has it."""
    for size, pads in zip(at.sizes(x)[-len(around) :], around, strict=True):
        if not pads.any():
            continue
        if size is None or pads.max() > size - (mode == "reflect"):
            raise Refused(f"mode={mode!r} is supported within the size of an axis only")


def _cut(at: Scope, x: Handle, around: Any) -> tuple[Handle, Any]:
    """Return a value without what pads below zero take away, and the other pads."""
    less, rank = np.minimum(around, 0), len(around)
    for axis, (begin, end) in enumerate(less):
        size = at.sizes(x)[axis]
        if size is not None and size + begin + end < 1:
            raise Refused("a value has no elements")
    x = at.op(
        "slice_by_index", x=x, begin=-less[:, 0], end=less[:, 1],
        begin_mask=[False] * rank, end_mask=[bool(end == 0) for end in less[:, 1]],
    )  # fmt: skip
    return x, np.maximum(around, 0)


@lowers("DepthToSpace", guards=(floating, ranks(4, 4)))
def depth_to_space(at: Scope) -> Handle:
    """Channels become pixels."""
    x, block = at.x(), at.attr("blocksize")
    if at.attr("mode", "DCR") == "CRD":
        return at.op("pixel_shuffle", x=x, upscale_factor=block)
    return at.op("depth_to_space", x=x, block_size=block)


@lowers("SpaceToDepth", guards=(floating, ranks(4, 4)))
def space_to_depth(at: Scope) -> Handle:
    """Pixels become channels."""
    if at.attr("mode", "DCR") != "DCR":
        return at.op("pixel_unshuffle", x=at.x(), downscale_factor=at.attr("blocksize"))
    return at.op("space_to_depth", x=at.x(), block_size=at.attr("blocksize"))


@lowers("ReverseSequence", guards=(ranks(2),))
def reverse_sequence(at: Scope) -> Handle:
    """Each sequence backwards up to its length."""
    return at.op(
        "reverse_sequence", x=at.x(), lengths=at.x(1),
        seq_axis=at.attr("time_axis", 0), batch_axis=at.attr("batch_axis", 1),
    )  # fmt: skip


@lowers("Trilu", since=14)
def trilu(at: Scope) -> Handle:
    """The upper or lower triangle of matrices, zero elsewhere."""
    x = at.x()
    diagonal = int(at.need(1)) if at.has(1) else 0
    upper = bool(at.attr("upper", 1))
    shape = at.sizes(x)
    rows, columns = shape[-2:]
    if rows is not None and columns is not None:
        last = diagonal - 1 if upper else diagonal
        tri = np.tri(rows, columns, k=last, dtype=bool)
        return _masked(at, x, ~tri if upper else tri)
    if upper and diagonal <= 0:
        return at.op("band_part", x=x, lower=-diagonal, upper=-1)
    if not upper and diagonal >= 0:
        return at.op("band_part", x=x, lower=-1, upper=diagonal)
    raise Refused("a triangle off the diagonal needs known sizes")


def _masked(at: Scope, x: Handle, mask: Any) -> Handle:
    if at.kind(x) == "bool":
        return at.op("logical_and", x=x, y=at.constant(mask))
    shape = at.fixed(x)
    keep = repeated(at, at.constant(mask), shape)
    zeros = at.constant(np.zeros(shape), like=x)
    return at.op("select", cond=keep, a=x, b=zeros)
