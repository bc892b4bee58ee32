"""Resize: pixels picked or weighted along several axes at once, by tables of taps.

Which input pixels an output pixel is made of, and by which weights, is computed on the host
in float64, as the CPU provider does it: `taps_of` makes the tables, the plan keeps them
among its constants. So every mode of coordinates, rounding and interpolation is one kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
from runtime_ep_cpu.ops import _interpolation
from runtime_ep_cpu.ops._interpolation import Axis, Method

from runtime_ep_cuda.codegen.draft import Draft
from runtime_ep_cuda.codegen.elements import FLOATS, element
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.movement import raw
from runtime_ep_cuda.codegen.places import Walk
from runtime_ep_cuda.codegen.terms import literal
from runtime_ep_cuda.tensor import Tensor

MOST_UNROLLED = 16
_NARROW_INTEGERS = 1
"""Integers of so many bytes are weighted in float, as the CPU provider does it."""

Array = np.ndarray[Any, Any]


class Taps(NamedTuple):
    """What the pixels along an axis are made of, as arrays [pixels, taps].

    ``indices`` are int32, -1 for a pixel that is extrapolated; ``weights`` are float32 or
    float64, ``None`` where each pixel is another one's copy.
    """

    axis: int
    indices: Array
    weights: Array | None


class Table(NamedTuple):
    """`Taps` on the device."""

    axis: int
    indices: Tensor
    weights: Tensor | None


def taps_of(plan: Sequence[Axis], method: Method, dtype: Any) -> list[Taps]:
    """Return the tables of the axes that change, for an image of a type.

    The plan is `runtime_ep_cpu.ops.resize.by_scales`' or ``by_sizes``'. Without any table
    the result is the input.
    """
    wide = np.float64 if computed_in(np.dtype(dtype)) == "double" else np.float32
    found = []
    with np.errstate(all="ignore"):
        for axis in _interpolation.changing(list(plan), method):
            weights: Array | None = None
            if method.mode == "nearest":
                indices = _interpolation.nearest(axis, method)[:, None]
            else:
                indices, precise = _interpolation.taps(axis, method)
                weights = precise.astype(wide)
            indices = indices.astype(np.int32)
            if method.crops:
                indices[_interpolation.outside(axis, method)] = -1
            found.append(Taps(axis.axis, np.ascontiguousarray(indices), weights))
    return found


def computed_in(dtype: np.dtype[Any]) -> str:
    """Return the C type in which pixels are weighted."""
    kind = element(dtype)
    if kind.computed in FLOATS:
        return kind.computed
    return "float" if kind.size == _NARROW_INTEGERS else "double"


def resize(
    x: Tensor,
    y: Tensor,
    tables: Sequence[Table],
    extrapolation: float = 0.0,
    antialias: bool = False,
) -> list[Launch]:
    """Resize along the tables' axes; at least one of them.

    ::

        for p in parallel over y, channels in vectors where they lie innermost:
            for taps (s, t, …), one of each axis:
                sum += weights0[p0, s] · weights1[p1, t] · … · x[…, indices0[p0, s], …]
            y[p] = sum, or extrapolation where an index is negative

    Integers are cut towards zero, or rounded with ``antialias``, and saturate.
    """
    if y.size == 0:
        return []
    weighted = any(table.weights is not None for table in tables)
    if weighted and any(table.weights is None for table in tables):
        raise ValueError("along all axes pixels are weighted, or along none")
    if not weighted and x.dtype == y.dtype:
        return [_picked(x, y, tables, extrapolation)]
    return [_weighted(x, y, tables, extrapolation, antialias)]


def _walk(x: Tensor, y: Tensor, tables: Sequence[Table], most: int) -> Walk:
    axes = {table.axis for table in tables}
    strides = tuple(0 if axis in axes else s for axis, s in enumerate(x.strides))
    still = replace(x, shape=y.shape, strides=strides)
    others = []
    for table in tables:
        others.append((f"at{table.axis}", table.indices))
        if table.weights is not None:
            others.append((f"by{table.axis}", table.weights))
    return Walk([("x", still), ("y", y)], axes, others, most, jumps={"x": x})


def _picked(
    x: Tensor, y: Tensor, tables: Sequence[Table], extrapolation: float
) -> Launch:
    value = np.array(extrapolation).astype(y.dtype)
    x, y = raw(x), raw(y)
    walk = _walk(x, y, tables, 16)
    draft = walk.draft
    terms = []
    for table in tables:
        axis = table.axis
        draft.line(f"const int i{axis} = at{axis}[{walk.at(axis)}];")
        terms.append(f"offset(i{axis}) * {draft.offset(f's{axis}', x.strides[axis])}")
    walk.pack("x", "v")
    kind = element(y.dtype)
    bits = draft.number("u64", "beyond", int(value.view(y.dtype)))
    inside = " && ".join(f"i{table.axis} >= 0" for table in tables)
    draft.line(
        f"for (int k = 0; k < {walk.width}; ++k) v.at[k] = {kind.memory}({bits});",
        f"if ({inside}) {{",
    )
    walk.load("x", "v", f"({walk.place('x')} + {' + '.join(terms)})")
    draft.line("}")
    walk.store("v", walk.place("y"))
    return walk.launch(f"resize_{'_'.join(str(table.axis) for table in tables)}")


def _weighted(
    x: Tensor,
    y: Tensor,
    tables: Sequence[Table],
    extrapolation: float,
    antialias: bool,
) -> Launch:
    walk = _walk(x, y, tables, 8)
    draft, width = walk.draft, walk.width
    real = computed_in(x.dtype)
    draft.line(
        f"const auto first = {walk.place('x')};",
        f"{real} sum[{width}]; bool inside = true;",
        f"for (int k = 0; k < {width}; ++k) sum[k] = 0;",
    )
    _open(walk, x, tables)
    walk.pack("x", "v")
    axes = [table.axis for table in tables]
    there = " + ".join(f"o{axis}" for axis in axes)
    weights = " * ".join(f"w{axis}" for axis in axes)
    walk.load("x", "v", f"(first + {there})")
    draft.line(
        f"const {real} w = {weights};",
        "#pragma unroll",
        f"for (int k = 0; k < {width}; ++k) sum[k] += w * {real}(rt_wide(v.at[k]));",
        *("}" for _ in tables),
    )
    target = element(y.dtype).computed
    beyond = draft.number("f64", "beyond", float(extrapolation))
    walk.pack("y", "r")
    draft.line("#pragma unroll", f"for (int k = 0; k < {width}; ++k) {{")
    draft.line(f"const {real} a = inside ? sum[k] : {real}({beyond});")
    draft.line(*_rounded(y, target, real, antialias), "}")
    walk.store("r", walk.place("y"))
    taps = "x".join(_count(table) for table in tables)
    places = "_".join(map(str, axes))
    return walk.launch(f"resize_{places}_{taps}{'_rounded' * antialias}")


def _is_short(tables: Sequence[Table]) -> bool:
    return prod(table.indices.shape[1] for table in tables) <= MOST_UNROLLED


def _count(table: Table) -> str:
    taps = table.indices.shape[1]
    return str(taps) if taps <= MOST_UNROLLED else "n"


def _open(walk: Walk, x: Tensor, tables: Sequence[Table]) -> None:
    """Append loops over the taps of each axis, with their offsets and weights."""
    draft = walk.draft
    for table in tables:
        axis = table.axis
        limit = _limit(draft, table)
        draft.offset(f"s{axis}", x.strides[axis])
        draft.line(
            f"const auto a{axis} = at{axis} + {walk.at(axis)} * {limit};",
            f"const auto b{axis} = by{axis} + {walk.at(axis)} * {limit};",
            f"inside = inside && a{axis}[0] >= 0;",
        )
    unroll = "#pragma unroll" if _is_short(tables) else "#pragma unroll 1"
    for table in tables:
        axis = table.axis
        limit = _count(table) if _count(table) != "n" else f"taps{axis}"
        draft.line(
            unroll,
            f"for (int t{axis} = 0; t{axis} < {limit}; ++t{axis}) {{",
            f"const offset o{axis} = offset(rt_max(a{axis}[t{axis}], 0)) * s{axis};",
            f"const auto w{axis} = b{axis}[t{axis}];",
        )


def _limit(draft: Draft, table: Table) -> str:
    count = _count(table)
    if count != "n":
        return count
    return draft.number("i32", f"taps{table.axis}", table.indices.shape[1])


def _rounded(y: Tensor, target: str, real: str, antialias: bool) -> list[str]:
    """Return the lines that write ``a`` into an element of ``r``."""
    if target in FLOATS:
        return [f"rt_put(r.at[k], {target}(a));"]
    if target == "bool":
        return ["rt_put(r.at[k], a != 0);"]
    about = np.iinfo(y.dtype)
    low, high = (literal(end, target) for end in (about.min, about.max))
    whole = f"const {real} whole = rt_rint(a);"
    cut = "whole" if antialias else "(rt_abs(a - whole) < 1e-4f ? whole : rt_trunc(a))"
    return [
        whole,
        f"const {real} found = {cut};",
        f"rt_put(r.at[k], found <= {real}({low}) ? {low} : found >= {real}({high}) ? {high}"
        f" : {target}(found));",
    ]
