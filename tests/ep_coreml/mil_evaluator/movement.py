"""MIL's operations that move elements, in NumPy: shapes, order, parts, indices, new values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mil_evaluator.registry import ints, operation

# movement


@operation("reshape")
def reshape(x, shape):
    """Since iOS 17 a zero keeps the size of the axis as far from the last one."""
    sizes = ints(shape)
    have = (1,) * max(len(sizes) - x.ndim, 0) + x.shape
    have = have[len(have) - len(sizes) :]
    return np.reshape(x, [h if n == 0 else n for n, h in zip(sizes, have, strict=True)])


@operation("transpose")
def transpose(x, perm):
    return np.transpose(x, ints(perm))


@operation("expand_dims")
def expand_dims(x, axes):
    return np.expand_dims(x, tuple(ints(axes)))


@operation("squeeze")
def squeeze(x, axes=None):
    return np.squeeze(x, None if axes is None else tuple(ints(axes)))


@operation("flatten2d")
def flatten2d(x, axis=1):
    axis = int(axis)
    return np.reshape(x, (int(np.prod(x.shape[:axis])), -1))


@operation("concat")
def concat(values, axis, interleave=False):
    if not interleave:
        return np.concatenate([np.atleast_1d(v) for v in values], int(axis))
    axis = int(axis) % values[0].ndim
    shape = list(values[0].shape)
    shape[axis] *= len(values)
    return np.stack(values, axis + 1).reshape(shape)


@operation("stack")
def stack(values, axis):
    return np.stack(values if isinstance(values, list) else [values], int(axis))


@operation("split")
def split(x, axis, num_splits=None, split_sizes=None):
    if split_sizes is None:
        return tuple(np.split(x, int(num_splits), int(axis)))
    return tuple(np.split(x, np.cumsum(ints(split_sizes))[:-1], int(axis)))


@operation("tile")
def tile(x, reps):
    return np.tile(x, ints(reps))


@operation("reverse")
def reverse(x, axes=None):
    return np.flip(x, None if axes is None else tuple(ints(axes)))


@operation("reverse_sequence")
def reverse_sequence(x, lengths, seq_axis=0, batch_axis=0):
    moved = np.moveaxis(x, (int(batch_axis), int(seq_axis)), (0, 1)).copy()
    assert 0 <= min(ints(lengths)) <= max(ints(lengths)) <= x.shape[int(seq_axis)]
    for row, length in zip(moved, ints(lengths), strict=True):
        row[:length] = row[:length][::-1].copy()
    return np.moveaxis(moved, (0, 1), (int(batch_axis), int(seq_axis)))


@operation("slice_by_index")
def slice_by_index(
    x, begin, end, stride=None, begin_mask=None, end_mask=None, squeeze_mask=None
):
    parts: list[Any] = []
    for axis in range(x.ndim):
        first, last = ints(begin)[axis], ints(end)[axis]
        if squeeze_mask is not None and squeeze_mask[axis]:
            parts.append(first)
            continue
        open_begin = begin_mask is not None and begin_mask[axis]
        open_end = end_mask is not None and end_mask[axis]
        step = 1 if stride is None else ints(stride)[axis]
        size = x.shape[axis]
        for open_, bound in ((open_begin, first), (open_end, last)):
            assert open_ or -size <= bound <= size, f"the bound {bound} of size {size}"
        parts.append(
            slice(None if open_begin else first, None if open_end else last, step)
        )
    made = x[tuple(parts)]
    assert made.size, "a part without elements"
    return made


@operation("slice_by_size")
def slice_by_size(x, begin, size):
    parts = [
        slice(b, x.shape[i] if n == -1 else b + n)
        for i, (b, n) in enumerate(zip(ints(begin), ints(size), strict=True))
    ]
    return x[tuple(parts)]


@operation("pad")
def pad(x, pad, mode="constant", constant_val=0.0):
    around = np.reshape(ints(pad), (-1, 2)).tolist()
    around = [[0, 0]] * (x.ndim - len(around)) + around
    if mode == "constant":
        return np.pad(x, around, constant_values=constant_val)
    less = 1 if mode == "reflect" else 0
    assert all(max(p) <= n - less for p, n in zip(around, x.shape, strict=True))
    return np.pad(x, around, "reflect" if mode == "reflect" else "edge")


@operation("band_part")
def band_part(x, lower=-1, upper=-1):
    rows, columns = np.indices(x.shape[-2:])
    keep = np.ones(x.shape[-2:], bool)
    if lower >= 0:
        keep &= rows - columns <= int(lower)
    if upper >= 0:
        keep &= columns - rows <= int(upper)
    return np.where(keep, x, x.dtype.type(0))


@operation("depth_to_space")
def depth_to_space(x, block_size):
    n, c, h, w = x.shape
    b = int(block_size)
    y = x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    return y.reshape(n, c // b**2, h * b, w * b)


@operation("space_to_depth")
def space_to_depth(x, block_size):
    n, c, h, w = x.shape
    b = int(block_size)
    y = x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * b**2, h // b, w // b)


@operation("pixel_shuffle")
def pixel_shuffle(x, upscale_factor):
    n, c, h, w = x.shape
    b = int(upscale_factor)
    y = x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return y.reshape(n, c // b**2, h * b, w * b)


@operation("pixel_unshuffle")
def pixel_unshuffle(x, downscale_factor):
    n, c, h, w = x.shape
    b = int(downscale_factor)
    y = x.reshape(n, c, h // b, b, w // b, b).transpose(0, 1, 3, 5, 2, 4)
    return y.reshape(n, c * b**2, h // b, w // b)


# indices


def _inside(indices, size):
    """Since iOS 17 indices are counted from the front: a negative one is out of bounds."""
    assert np.size(indices) == 0 or (np.min(indices) >= 0 and np.max(indices) < size)
    return np.asarray(indices, np.int64)


def _tuples(indices, shape):
    """Return tuples of indices, the last axis, as one array of indices for each axis."""
    columns = np.moveaxis(indices, -1, 0)
    return tuple(_inside(c, n) for c, n in zip(columns, shape, strict=False))


@operation("gather")
def gather(x, indices, axis=0, batch_dims=0, validate_indices=False):
    assert int(batch_dims) == 0
    return np.take(x, _inside(indices, x.shape[int(axis)]), axis=int(axis))


@operation("gather_along_axis")
def gather_along_axis(x, indices, axis=0, validate_indices=False):
    return np.take_along_axis(x, _inside(indices, x.shape[int(axis)]), int(axis))


@operation("gather_nd")
def gather_nd(x, indices, batch_dims=0, validate_indices=False):
    batch = int(batch_dims)
    if not batch:
        return x[_tuples(indices, x.shape)]
    lead = x.shape[:batch]
    flat = x.reshape(-1, *x.shape[batch:])
    rows = indices.reshape(-1, *indices.shape[batch:])
    made = [gather_nd(one, row) for one, row in zip(flat, rows, strict=True)]
    return np.stack(made).reshape(*lead, *made[0].shape)


COMBINE = {
    "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum,
    "sub": np.subtract, "div": np.divide,
}  # fmt: skip


def _combined(data, places, updates, mode):
    """In which order several updates of one place are made, MIL does not say."""
    made = data.copy()
    if mode == "update":
        made[places] = updates
        assert np.array_equal(made[places], updates, equal_nan=True)
    else:
        COMBINE[str(mode)].at(made, places, updates)
    return made


@operation("scatter_along_axis")
def scatter_along_axis(
    data, indices, updates, axis=0, mode="add", validate_indices=False
):
    places = list(np.indices(indices.shape))
    places[int(axis)] = _inside(indices, data.shape[int(axis)])
    return _combined(data, tuple(places), updates, mode)


@operation("scatter_nd")
def scatter_nd(data, indices, updates, mode="add", validate_indices=False):
    return _combined(data, _tuples(indices, data.shape), updates, mode)


@operation("non_zero")
def non_zero(x):
    return np.stack(np.nonzero(x), axis=1).astype(np.int32)


# creation


@operation("fill")
def fill(shape, value=0.0):
    return np.full(ints(shape), value)


@operation("fill_like")
def fill_like(ref_tensor, value=0.0):
    return np.full(np.shape(ref_tensor), value)


@operation("range_1d")
def range_1d(end, start, step):
    first, last, by = (np.asarray(v).item() for v in (start, end, step))
    count = max(math.ceil((last - first) / by), 0)
    return (first + by * np.arange(count)).astype(np.asarray(start).dtype)
