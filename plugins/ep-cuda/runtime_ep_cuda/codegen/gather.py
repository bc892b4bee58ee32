"""Gather, GatherElements and GatherND: elements and rows chosen by indices.

Negative indices count from the end. A kernel cannot raise an error: where an index is
outside all the same, the result is zero, as onnxruntime's CUDA provider has it.
"""

from __future__ import annotations

from dataclasses import replace

from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.movement import raw
from runtime_ep_cuda.codegen.places import Walk
from runtime_ep_cuda.tensor import Tensor


def gather(x: Tensor, indices: Tensor, y: Tensor, axis: int) -> list[Launch]:
    """Gather: y (before, indices, after) of x (before, axis, after).

    ::

        for (b, i, a) in parallel over y, a in vectors: y[b, i, a] = x[b, indices[i], a]

    Embeddings are the same: their rows are what is walked in vectors of 16 bytes. y may
    have another element type.
    """
    before, after = axis, x.rank - axis - 1
    _expect(y, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))
    if y.size == 0:
        return []
    x, y = _plain(x, y)
    strides = (*x.strides[:before], *(0,) * indices.rank, *x.strides[axis + 1 :])
    rows = replace(x, shape=y.shape, strides=strides)
    steps = (*(0,) * before, *indices.strides, *(0,) * after)
    chosen = replace(indices, shape=y.shape, strides=steps)
    walk = Walk(
        [("indices", chosen), ("x", rows), ("y", y)], most=16, jumps={"x": x},
        still="indices",
    )  # fmt: skip
    draft = walk.draft
    draft.line(f"rt_i64 at = *{walk.place('indices')};")
    _in_range(walk, "at", "dim", x.shape[axis])
    step = draft.offset("step", x.strides[axis])
    draft.line("const bool inside = at >= 0 && at < dim;")
    return [_picked(walk, "gather", f"offset(at) * {step}")]


def gather_elements(x: Tensor, indices: Tensor, y: Tensor, axis: int) -> list[Launch]:
    """GatherElements: the index of each element says where along the axis it is from."""
    _expect(y, indices.shape)
    if y.size == 0:
        return []
    x, y = _plain(x, y)
    strides = (*x.strides[:axis], 0, *x.strides[axis + 1 :])
    lines = replace(x, shape=y.shape, strides=strides)
    walk = Walk([("indices", indices), ("x", lines), ("y", y)], jumps={"x": x})
    draft = walk.draft
    draft.line(f"rt_i64 at = *{walk.place('indices')};")
    _in_range(walk, "at", "dim", x.shape[axis])
    step = draft.offset("step", x.strides[axis])
    draft.line("const bool inside = at >= 0 && at < dim;")
    return [_picked(walk, "gather_elements", f"offset(at) * {step}")]


def gather_nd(
    x: Tensor, indices: Tensor, y: Tensor, batch_dims: int = 0
) -> list[Launch]:
    """GatherND: tuples of indices choose slices; the first axes may be a batch."""
    count = indices.shape[-1]
    outer = indices.rank - 1 - batch_dims
    rest = x.shape[batch_dims + count :]
    _expect(y, (*indices.shape[:-1], *rest))
    if y.size == 0:
        return []
    x, y = _plain(x, y)
    strides = (*x.strides[:batch_dims], *(0,) * outer, *x.strides[batch_dims + count :])
    slices = replace(x, shape=y.shape, strides=strides)
    steps = (*indices.strides[:-1], *(0,) * len(rest))
    tuples = replace(indices, shape=y.shape, strides=steps)
    walk = Walk(
        [("indices", tuples), ("x", slices), ("y", y)], most=16,
        jumps={"x": x, "indices": indices}, still="indices",
    )  # fmt: skip
    there = tuple_place(walk, x, batch_dims, count, indices.strides[-1])
    return [_picked(walk, f"gather_nd_{count}", there)]


def tuple_place(walk: Walk, x: Tensor, first: int, count: int, stride: int) -> str:
    """Append the reading of a tuple of indices of axes from ``first`` on.

    Returns the offset it leads to; ``inside`` tells whether every index is in range.
    """
    draft = walk.draft
    draft.line(f"const auto tuple = {walk.place('indices')};", "bool inside = true;")
    along = draft.offset("tuple_step", stride)
    terms = []
    for t in range(count):
        axis = first + t
        draft.line(f"rt_i64 at{t} = tuple[{t} * {along}];")
        _in_range(walk, f"at{t}", f"dim{t}", x.shape[axis])
        draft.line(f"inside = inside && at{t} >= 0 && at{t} < dim{t};")
        terms.append(f"offset(at{t}) * {draft.offset(f'step{t}', x.strides[axis])}")
    return " + ".join(terms) or "0"


def _in_range(walk: Walk, at: str, dim: str, length: int) -> None:
    walk.draft.number("i64", dim, length)
    walk.draft.line(f"if ({at} < 0) {at} += {dim};")


def _plain(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return (raw(x), raw(y)) if x.dtype == y.dtype else (x, y)


def _expect(y: Tensor, shape: tuple[int, ...]) -> None:
    if y.shape != shape:
        raise ValueError(f"the result has the shape {shape}, found {y.shape}")


def _picked(walk: Walk, name: str, there: str) -> Launch:
    """Append the copy of what the index leads to, or of zeros, and return the launch."""
    draft, tensors = walk.draft, walk.tensors
    source, target = element(tensors["x"].dtype), element(tensors["y"].dtype)
    draft.line(f"rt_pack<{source.memory}, {walk.width}> v = {{}};", "if (inside) {")
    walk.load("x", "v", f"({walk.place('x')} + {there})")
    draft.line("}")
    if source == target:
        walk.store("v", walk.place("y"))
    else:
        walk.pack("y", "w")
        draft.line(
            "#pragma unroll",
            f"for (int k = 0; k < {walk.width}; ++k)",
            f"rt_put(w.at[k], rt_cast<{target.computed}>(rt_wide(v.at[k])));",
        )
        walk.store("w", walk.place("y"))
    return walk.launch(name)
