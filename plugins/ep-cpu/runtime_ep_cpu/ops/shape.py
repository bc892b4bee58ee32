"""Operators that describe, reinterpret, join and cut tensors, most as views."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from runtime.kernels import Call, KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops import _fill, _pad, _rearrange
from runtime_ep_cpu.ops._axes import axes_of, axis_of, broadcast_shape, ints, scalar

table = KernelTable()
for part in (_fill, _pad, _rearrange):
    table.include(part.table)


@table("Identity", since=1, traits=("moves",))
def identity(x, /):
    """Identity: any value, sequences and optionals included."""
    return x


@table("Shape", since=1, traits=("moves",))
def shape_1(data, /):
    """Shape before opset 15: every dim."""
    return np.array(data.shape, np.int64)


@table("Shape", since=15, traits=("moves",))
def shape(data, /, *, start=0, end=None):
    """Shape: the dims from start to end, both clamped as Python clamps a slice."""
    return np.array(data.shape[start:end], np.int64)


@table("Size", since=1, traits=("moves",))
def size(data, /):
    """Size: the number of elements."""
    return np.array(data.size, np.int64)


@table("Reshape", since=1, traits=("moves",))
def reshape_1(data, /, *, shape=None, consumed_inputs=None):
    """Reshape of opset 1: the shape is an attribute."""
    return _reshaped(data, ints(() if shape is None else shape), False)


@table("Reshape", since=5, traits=("moves",))
def reshape_5(data, shape, /):
    """Reshape before opset 14: a 0 always keeps the input's dim."""
    return _reshaped(data, ints(shape), False)


@table("Reshape", since=14, traits=("moves",))
def reshape(data, shape, /, *, allowzero=0):
    """Reshape: with allowzero a 0 is a size, not "keep the input's dim"."""
    return _reshaped(data, ints(shape), bool(allowzero))


def _reshaped(data: Any, wanted: list[int], zero_is_size: bool) -> Any:
    if zero_is_size and 0 in wanted and -1 in wanted:
        raise ValueError(f"with allowzero, 0 and -1 exclude each other in {wanted}")
    if min(wanted, default=0) < -1 or wanted.count(-1) > 1:
        raise ValueError(f"{wanted} is no shape: one dim may be -1, none below")
    dims = wanted.copy()
    if not zero_is_size:
        for index, dim in enumerate(wanted):
            if dim == 0 and index >= data.ndim:
                raise ValueError(
                    f"dim {index} of {wanted} is 0, but the input has rank {data.ndim}"
                )
            dims[index] = data.shape[index] if dim == 0 else dim
    known = math.prod(dim for dim in dims if dim != -1)
    if -1 in dims and known:
        dims[dims.index(-1)] = data.size // known
    if -1 in dims or math.prod(dims) != data.size:
        raise ValueError(
            f"{data.size} elements of shape {list(data.shape)} do not fit {wanted}"
        )
    return data.reshape(dims)


@table("Flatten", since=1, traits=("moves",))
def flatten(x, /, *, axis=1):
    """Flatten: a matrix of the dims before and from an axis, which may be the rank.

    Negative axes came in opset 11.
    """
    if not -x.ndim <= axis <= x.ndim:
        raise ValueError(f"axis {axis} is not one of a tensor of rank {x.ndim}")
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@table("Squeeze", since=1, traits=("moves",))
def squeeze_1(data, /, *, axes=None):
    """Squeeze before opset 13: the axes are an attribute; negative ones from 11."""
    return squeeze(data, axes)


@table("Squeeze", since=13, traits=("moves",))
def squeeze(data, axes=None, /):
    """Squeeze: drop dims of size 1; all of them only when no axes are given."""
    if axes is None:
        return data.reshape([dim for dim in data.shape if dim != 1])
    dropped = axes_of(ints(axes), data.ndim)
    for axis in dropped:
        if data.shape[axis] != 1:
            raise ValueError(
                f"axis {axis} of the shape {list(data.shape)} is not of size 1"
            )
    return data.reshape([d for i, d in enumerate(data.shape) if i not in dropped])


@table("Unsqueeze", since=1, traits=("moves",))
def unsqueeze_1(data, /, *, axes):
    """Unsqueeze before opset 13: the axes are an attribute; negative ones from 11."""
    return unsqueeze(data, axes)


@table("Unsqueeze", since=13, traits=("moves",))
def unsqueeze(data, axes, /):
    """Unsqueeze: insert dims of size 1 at axes of the result."""
    axes = ints(axes if isinstance(axes, tuple) or axes.ndim else axes.reshape(1))
    rank = data.ndim + len(axes)
    added = axes_of(axes, rank)
    old = iter(data.shape)
    return data.reshape([1 if i in added else next(old) for i in range(rank)])


@table("Transpose", since=1, traits=("moves",))
def transpose(data, /, *, perm=None):
    """Transpose: a view with permuted axes, reversed when no perm is given."""
    if perm is None:
        return data.T
    if sorted(perm) != list(range(data.ndim)):
        raise ValueError(
            f"perm {list(perm)} is no permutation of the axes of rank {data.ndim}"
        )
    return data.transpose(perm)


@table("Concat", since=1, traits=("moves",))
def concat_1(*inputs, axis=None):
    """Concat of opset 1: the axis is 1 unless given."""
    return concat(*inputs, axis=1 if axis is None else axis)


@table("Concat", since=4, traits=("moves",))
def concat(*inputs, axis):
    """Concat: join along an axis; negative axes came in opset 11."""
    axis = axis_of(axis, inputs[0].ndim)
    if len(inputs) == 1:
        return inputs[0]
    return namespace_of(*inputs).concatenate(inputs, axis=axis)


@table("Split", since=1, traits=("moves",))
def split_1(x, lengths=None, /, *, axis=None, split=None, call: Call):
    """Split of opset 1: lengths from the attribute or, in the data's type, an input."""
    lengths = split if lengths is None else lengths
    return _split(x, _lengths(x, lengths, axis or 0, call), axis or 0)


@table("Split", since=2, traits=("moves",))
def split_2(x, /, *, axis=0, split=None, call: Call):
    """Split before opset 13: lengths from the attribute, else equal parts."""
    return _split(x, _lengths(x, split, axis, call), axis)


@table("Split", since=13, traits=("moves",))
def split_13(x, split=None, /, *, axis=0, call: Call):
    """Split before opset 18: lengths from an input, else equal parts."""
    return _split(x, _lengths(x, split, axis, call), axis)


@table("Split", since=18, traits=("moves",))
def split(x, split=None, /, *, axis=0, num_outputs=None, call: Call):
    """Split: lengths from an input, or num_outputs parts of which the last are smaller.

    With neither given, as converted models have it, the parts are equal.
    """
    if num_outputs is None:
        return _split(x, _lengths(x, split, axis, call), axis)
    if split is not None:
        raise ValueError("lengths and num_outputs exclude each other")
    if num_outputs < 1 or num_outputs != len(call.node.outputs):
        raise ValueError(
            f"num_outputs is {num_outputs}, but the node has {len(call.node.outputs)}"
        )
    whole = x.shape[axis_of(axis, x.ndim)]
    part = -(-whole // num_outputs)
    cuts = [min(part * index, whole) for index in range(num_outputs + 1)]
    return _split(x, np.diff(cuts).tolist(), axis)


def _lengths(x: Any, given: Any, axis: int, call: Call) -> list[int]:
    """Return a part's length for each of the node's outputs."""
    count = len(call.node.outputs)
    whole = x.shape[axis_of(axis, x.ndim)]
    if given is None:
        if whole % count:
            raise ValueError(f"{whole} elements do not split into {count} equal parts")
        return [whole // count] * count
    lengths = ints(given)
    if len(lengths) != count:
        raise ValueError(f"the lengths {lengths} are given for {count} outputs")
    return lengths


def _split(x: Any, lengths: list[int], axis: int) -> tuple[Any, ...]:
    axis = axis_of(axis, x.ndim)
    if min(lengths, default=0) < 0 or sum(lengths) != x.shape[axis]:
        raise ValueError(
            f"the lengths {lengths} do not add up to {x.shape[axis]}, axis {axis}"
        )
    before = (slice(None),) * axis
    ends = np.cumsum(lengths).tolist()
    return tuple(
        x[(*before, slice(end - length, end))]
        for end, length in zip(ends, lengths, strict=True)
    )


@table("Slice", since=1, traits=("moves",))
def slice_1(data, /, *, starts, ends, axes=None):
    """Slice before opset 10: everything is an attribute and steps are 1."""
    return slice_10(data, starts, ends, axes)


@table("Slice", since=10, traits=("moves",))
def slice_10(data, starts, ends, axes=None, steps=None, /):
    """Slice: a view; starts and ends are clamped by the standard's rules.

    They differ from Python's in that a backward slice never starts before element 0.
    """
    starts, ends = ints(starts), ints(ends)
    axes = range(len(starts)) if axes is None else ints(axes)
    steps = [1] * len(starts) if steps is None else ints(steps)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ValueError(
            f"starts, ends, axes and steps have {len(starts)}, {len(ends)}, "
            f"{len(axes)} and {len(steps)} elements"
        )
    cuts = [slice(None)] * data.ndim
    ranges = zip(axes_of(axes, data.ndim), starts, ends, steps, strict=True)
    for axis, start, end, step in ranges:
        cuts[axis] = _cut(start, end, step, data.shape[axis])
    return data[(*cuts, ...)]


def _cut(start: int, end: int, step: int, dim: int) -> slice:
    if step == 0:
        raise ValueError("a step must not be 0")
    if dim == 0:
        return slice(None)
    start = start + dim if start < 0 else start
    end = end + dim if end < 0 else end
    if step > 0:
        return slice(min(max(start, 0), dim), min(max(end, 0), dim), step)
    start, end = min(max(start, 0), dim - 1), min(max(end, -1), dim - 1)
    return slice(start, None if end < 0 else end, step)


@table("Expand", since=8, traits=("moves",))
def expand(x, shape, /):
    """Expand: broadcast both ways, as a read-only view without a copy."""
    result = broadcast_shape(x.shape, ints(shape))
    check_size(result, x.dtype)
    return namespace_of(x).broadcast_to(x, result)


@table("Tile", since=1, traits=("moves",))
def tile_1(x, tiles, axis, /):
    """Tile of opset 1: repeat along one axis; both numbers are in the data's type."""
    repeats = [1] * x.ndim
    repeats[axis_of(int(scalar(axis, "axis")), x.ndim)] = int(scalar(tiles, "tiles"))
    return tile(x, repeats)


@table("Tile", since=6, traits=("moves",))
def tile(x, repeats, /):
    """Tile: repeat the whole tensor along every axis."""
    repeats = ints(repeats)
    if len(repeats) != x.ndim or min(repeats, default=0) < 0:
        raise ValueError(f"repeats {repeats} do not fit a tensor of rank {x.ndim}")
    result = [n * dim for n, dim in zip(repeats, x.shape, strict=True)]
    check_size(result, x.dtype)
    if all(n == 1 for n in repeats):
        return x
    apart = [size for dim in x.shape for size in (1, dim)]
    repeated = [s for n, dim in zip(repeats, x.shape, strict=True) for s in (n, dim)]
    xp = namespace_of(x)
    return xp.broadcast_to(x.reshape(apart), repeated).reshape(result)
