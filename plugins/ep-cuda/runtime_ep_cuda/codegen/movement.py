"""Copies: permuted, converted, joined, padded, cut to triangles; and what fills tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from runtime_ep_cuda.codegen.draft import Draft
from runtime_ep_cuda.codegen.elements import FLOATS, element, is_known
from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import SAME
from runtime_ep_cuda.codegen.indices import axes_of, collapsed
from runtime_ep_cuda.codegen.joining import joined
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.places import Walk
from runtime_ep_cuda.codegen.tiles import crossing
from runtime_ep_cuda.tensor import Tensor

PAD_MODES = ("constant", "edge", "reflect", "wrap")
_RAW = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def copy(x: Tensor, y: Tensor) -> list[Launch]:
    """Copy, broadcast and permute; other element types are converted as by Cast.

    Without a conversion elements are moved as they are, of whatever type.
    """
    if x.dtype == y.dtype:
        x, y = raw(x), raw(y)
    return elementwise(SAME, [x], [y])


def raw(tensor: Tensor) -> Tensor:
    """Return a tensor whose elements are unsigned numbers of the same size."""
    return replace(tensor, dtype=np.dtype(_RAW[tensor.dtype.itemsize]))


def concat(xs: Sequence[Tensor], axis: int, y: Tensor) -> list[Launch]:
    """Join tensors along an axis; small ones of one kind by one launch."""
    parts, start = [], 0
    for x in xs:
        if x.size:
            parts.append((x, y.sliced(axis, start, x.shape[axis])))
        start += x.shape[axis]
    if start != y.shape[axis]:
        raise ValueError(f"{start} elements are joined into {y.shape[axis]}")
    together = []
    launches = []
    for source, target in parts:
        axes = collapsed(axes_of((source, target)), leading=1)
        if source.dtype == target.dtype and crossing(axes, 1) is None:
            together.append((raw(source), raw(target)))
        else:
            launches += copy(source, target)
    return launches + joined(together)


def pad(
    x: Tensor,
    y: Tensor,
    begins: Sequence[int],
    mode: str = "constant",
    value: float = 0,
) -> list[Launch]:
    """Pad: ``begins`` elements before each axis, what is missing of y's shape after it.

    ::

        for i in parallel over y:
            j = i - begins, by the mode brought back into x
            y[i] = x[j], or value where the mode is constant and j is outside

    Negative numbers cut; other modes than ``constant`` then see only what is left.
    """
    if mode not in PAD_MODES:
        raise ValueError(f"there is no pad mode {mode!r}")
    if y.size == 0:
        return []
    begins = list(begins)
    if mode != "constant":
        x, begins = _cut(x, y, begins)
    if x.size == 0:
        if mode != "constant":
            raise ValueError(f"nothing of {x.shape} is left to {mode}")
        return fill(y, value)
    return [_padded(x, y, begins, mode, value)]


def _padded(
    x: Tensor, y: Tensor, begins: Sequence[int], mode: str, value: float
) -> Launch:
    apart = [a for a in range(y.rank) if begins[a] or x.shape[a] != y.shape[a]]
    # only x's strides are walked: along axes that are not apart its shape is y's
    walk = Walk([("x", replace(x, shape=y.shape)), ("y", y)], apart, most=16)
    draft = walk.draft
    sources, inside = {}, ["true"]
    for axis in apart:
        begin = draft.offset(f"b{axis}", begins[axis])
        dim = draft.offset(f"d{axis}", x.shape[axis])
        draft.line(f"offset j{axis} = {walk.at(axis)} - {begin};")
        draft.line(*_brought_back(f"j{axis}", dim, mode))
        inside.append(f"j{axis} >= 0 && j{axis} < {dim}")
        sources[axis] = f"j{axis}"
    walk.pack("x", "v")
    if mode == "constant":
        memory = _constant(draft, "value", y, value)
        draft.line(f"for (int k = 0; k < {walk.width}; ++k) v.at[k] = {memory};")
        draft.line(f"if ({' && '.join(inside)}) {{")
    walk.load("x", "v", walk.place("x", sources))
    draft.line(*(["}"] if mode == "constant" else []))
    walk.store("v", walk.place("y"))
    return walk.launch(f"pad_{mode}_{'_'.join(map(str, apart))}")


def _cut(x: Tensor, y: Tensor, begins: list[int]) -> tuple[Tensor, list[int]]:
    for axis in range(x.rank):
        end = y.shape[axis] - x.shape[axis] - begins[axis]
        first = max(-begins[axis], 0)
        left = x.shape[axis] - first + min(end, 0)
        x = x.sliced(axis, first, max(left, 0))
    return x, [max(begin, 0) for begin in begins]


def _brought_back(j: str, dim: str, mode: str) -> list[str]:
    """Return lines that bring a coordinate into 0 … dim - 1."""
    if mode == "edge":
        return [f"{j} = {j} < 0 ? 0 : {j} < {dim} ? {j} : {dim} - 1;"]
    if mode == "wrap":
        return [f"{j} %= {dim};", f"{j} = {j} < 0 ? {j} + {dim} : {j};"]
    if mode == "reflect":
        return [
            f"{{ const offset period = {dim} > 1 ? 2 * ({dim} - 1) : 1;",
            f"{j} = ({j} < 0 ? -{j} : {j}) % period;",
            f"{j} = {j} < {dim} ? {j} : period - {j}; }}",
        ]
    return []


def _constant(draft: Draft, name: str, tensor: Tensor, value: float) -> str:
    """Append a number as a tensor's element ``<name>v``; the number is a parameter."""
    kind = element(tensor.dtype)
    number = _number(draft, name, kind.computed, value)
    draft.line(f"{kind.memory} {name}v; rt_put({name}v, {number});")
    return f"{name}v"


def _number(draft: Draft, name: str, computed: str, value: float) -> str:
    """Add a parameter that holds any number of a C type; return it in that type."""
    if computed in FLOATS:
        word, given = ("f32" if computed == "float" else "f64"), float(value)
    elif computed == "rt_u64":
        word, given = "u64", int(value)
    else:
        word, given = "i64", int(value)
    if word == "f32":
        with np.errstate(over="ignore"):
            given = float(np.float32(given))
    return f"{computed}({draft.number(word, name, given)})"


def fill(y: Tensor, value: float) -> list[Launch]:
    """Set every element to a number."""
    if y.size == 0:
        return []
    if not is_known(y.dtype):
        raw_value = np.array(value).astype(y.dtype).view(_RAW[y.dtype.itemsize])
        return fill(raw(y), int(raw_value))
    walk = Walk([("y", y)], most=16)
    memory = _constant(walk.draft, "value", y, value)
    walk.pack("y", "v")
    walk.draft.line(f"for (int k = 0; k < {walk.width}; ++k) v.at[k] = {memory};")
    walk.store("v", walk.place("y"))
    return [walk.launch("fill")]


def trilu(x: Tensor, y: Tensor, k: int = 0, upper: bool = True) -> list[Launch]:
    """Keep the part of matrices above or below a diagonal, zeros elsewhere."""
    if y.size == 0:
        return []
    rows, columns = y.rank - 2, y.rank - 1
    walk = Walk([("x", raw(x)), ("y", raw(y))], (rows, columns))
    draft = walk.draft
    draft.number("i64", "k", max(-(2**62), min(2**62, int(k))))
    sign = ">=" if upper else "<="
    source, target = walk.place("x"), walk.place("y")
    draft.line(
        f"const rt_i64 above = rt_i64({walk.at(columns)}) - rt_i64({walk.at(rows)});",
        f"*{target} = above {sign} k ? *{source} : 0;",
    )
    return [walk.launch("trilu_upper" if upper else "trilu_lower")]


def eye_like(y: Tensor, k: int = 0) -> list[Launch]:
    """Write ones on a diagonal, zeros elsewhere."""
    if y.size == 0:
        return []
    walk = Walk([("y", y)], (0, 1))
    walk.draft.number("i64", "k", k)
    computed = element(y.dtype).computed
    target = walk.place("y")
    walk.draft.line(
        f"const bool there = rt_i64({walk.at(1)}) - rt_i64({walk.at(0)}) == k;",
        f"rt_put(*{target}, {computed}(there ? 1 : 0));",
    )
    return [walk.launch("eye")]


def range_of(y: Tensor, start: float, delta: float) -> list[Launch]:
    """Write start, start + delta, …: computed as doubles or 64-bit integers."""
    if y.size == 0:
        return []
    walk = Walk([("y", y)], (0,))
    computed = element(y.dtype).computed
    wide = "double" if computed in FLOATS else "rt_i64"
    first, step = (
        _number(walk.draft, name, wide, value)
        for name, value in (("start", start), ("delta", delta))
    )
    target = walk.place("y")
    text = f"{first} + {wide}({walk.at(0)}) * {step}"
    walk.draft.line(f"rt_put(*{target}, {computed}({text}));")
    return [walk.launch("range")]


def one_hot(indices: Tensor, values: Tensor, y: Tensor, axis: int) -> list[Launch]:
    """Write values[1] where y's coordinate along the axis is the index, else values[0].

    Negative indices count from the end; of those beyond there is no trace.
    """
    if y.size == 0:
        return []
    strides = (*indices.strides[:axis], 0, *indices.strides[axis:])
    spread = replace(indices, shape=y.shape, strides=strides)
    walk = Walk([("x", spread), ("y", y)], (axis,), others=[("values", values)])
    draft = walk.draft
    draft.number("i64", "depth", y.shape[axis])
    draft.offset("step", values.strides[0])
    source, target = walk.place("x"), walk.place("y")
    computed = element(y.dtype).computed
    draft.line(
        f"rt_i64 wanted = rt_cast<rt_i64>(rt_wide(*{source}));",
        "if (wanted < 0) wanted += depth;",
        f"const auto found = values[wanted == {walk.at(axis)} ? step : 0];",
        f"rt_put(*{target}, rt_cast<{computed}>(rt_wide(found)));",
    )
    return [walk.launch("one_hot")]
