"""Many small copies by one launch: the parts of a concatenation."""

from __future__ import annotations

from collections.abc import Sequence

from runtime_ep_cuda.codegen.draft import Draft
from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.elementwise import THREADS, elementwise, vector_width
from runtime_ep_cuda.codegen.expression import SAME
from runtime_ep_cuda.codegen.indices import Axes, axes_of, blocks, collapsed, magic
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.tensor import Tensor

Pair = tuple[Tensor, Tensor]
MOST = 8
"""Parts in one launch."""


def joined(pairs: Sequence[Pair]) -> list[Launch]:
    """Copy each first tensor of a pair into the second, of one element type.

    ::

        for part in parallel over blocks of the grid's second axis:
            for i in parallel over the part: target[part][i] = source[part][i]
    """
    launches = []
    for first in range(0, len(pairs), MOST):
        some = pairs[first : first + MOST]
        launches += [_together(some)] if len(some) > 1 else _alone(*some[0])
    return launches


def _alone(source: Tensor, target: Tensor) -> list[Launch]:
    return elementwise(SAME, [source], [target])


def _together(pairs: Sequence[Pair]) -> Launch:
    walks = [collapsed(axes_of(pair), leading=1) for pair in pairs]
    width = min(_width(axes, pair) for axes, pair in zip(walks, pairs, strict=True))
    rank = max(len(axes.shape) for axes in walks)
    parts = [_in_vectors(axes, rank, width) for axes in walks]
    draft = Draft(all(axes.is_narrow() for axes in walks))
    _declare(draft, rank, element(pairs[0][0].dtype).memory)
    draft.line("switch (blockIdx.y) {")
    for number, (axes, pair) in enumerate(zip(parts, pairs, strict=True)):
        _case(draft, number, axes, pair)
    draft.line("}")
    _walk(draft, rank, width, element(pairs[0][0].dtype).memory)
    most = max(axes.size for axes in parts)
    name = f"join_{element(pairs[0][0].dtype).code}_{len(pairs)}_r{rank}_v{width}"
    return draft.launch(name, (blocks(most, THREADS), len(pairs), 1), THREADS)


def _width(axes: Axes, pair: Pair) -> int:
    width = vector_width(axes, pair, 1, 16)
    while axes.shape[-1] % width:
        width //= 2
    return width


def _in_vectors(axes: Axes, rank: int, width: int) -> Axes:
    """Return axes of full rank whose innermost counts vectors, and so its strides."""
    missing = rank - len(axes.shape)
    shape = (1,) * missing + (*axes.shape[:-1], axes.shape[-1] // width)
    strides = tuple(
        (0,) * missing + (*steps[:-1], steps[-1] * width) for steps in axes.strides
    )
    return Axes(shape, strides)


def _declare(draft: Draft, rank: int, memory: str) -> None:
    draft.line(f"const {memory}* x = nullptr; {memory}* y = nullptr; index count = 0;")
    for axis in range(rank):
        draft.line(f"offset xs{axis} = 0, ys{axis} = 0;")
        if axis:
            draft.line(f"index n{axis} = 1; rt_u32 m{axis} = 1, s{axis} = 0;")


def _case(draft: Draft, number: int, axes: Axes, pair: Pair) -> None:
    p = f"p{number}"
    draft.reads(f"{p}x", pair[0])
    draft.writes(f"{p}y", pair[1])
    draft.line(f"case {number}:", f"x = {p}x; y = {p}y;")
    draft.line(f"count = {draft.index(f'{p}count', axes.size)};")
    for axis, dim in enumerate(axes.shape):
        for name, steps in zip("xy", axes.strides, strict=True):
            stride = draft.offset(f"{p}{name}s{axis}", steps[axis])
            draft.line(f"{name}s{axis} = {stride};")
        if axis:
            draft.line(f"n{axis} = {draft.index(f'{p}n{axis}', dim)};")
        if axis and draft.narrow:
            for name, value in zip("ms", magic(dim), strict=True):
                draft.line(
                    f"{name}{axis} = {draft.number('u32', f'{p}{name}{axis}', value)};"
                )
    draft.line("break;")


def _walk(draft: Draft, rank: int, width: int, memory: str) -> None:
    draft.line(
        f"const index i = index(blockIdx.x) * {THREADS} + threadIdx.x;",
        "if (i >= count) return;",
    )
    at = "i"
    for axis in range(rank - 1, 0, -1):
        over = f"rt_over({at}, m{axis}, s{axis})" if draft.narrow else f"{at} / n{axis}"
        draft.line(
            f"const index q{axis} = {over};",
            f"const offset c{axis} = offset({at} - q{axis} * n{axis});",
        )
        at = f"q{axis}"
    draft.line(f"const offset c0 = offset({at});")
    places = [
        " + ".join(f"c{axis} * {name}s{axis}" for axis in range(rank)) for name in "xy"
    ]
    read = f"rt_read<{memory}, {width}>(x + ({places[0]}))"
    draft.line(f"rt_write<{memory}, {width}>(y + ({places[1]}), {read});")
