"""Pad: the input is copied into the midst, then slabs beside it, axis after axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from runtime.graph import Node, Value
from runtime.valuetypes import numpy_dtype

from runtime_ep_cpu.codegen import copies
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import image, like_image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable, of_array
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.native.steps.view import axis_of
from runtime_ep_cpu.ops._pad import SOURCES

MOST_RUNS: Final = 16
"""Stretches of one direction of which padding along an axis may consist."""


def is_supported(node: Node) -> bool:
    """Whether a mode of padding is known."""
    return node.attribute("mode", "constant") in ("constant", *SOURCES)


class PadStep:
    """Pad with a constant, or with what lies inside; negative padding cuts first."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("padding has an anchor")
        self._node = node = group.anchor
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        self._element = element_of(self._x) or "float"
        self._mode = node.attribute("mode", "constant")
        self._constant = None
        if node.version < 11:
            value = np.array(node.attribute("value", 0.0))
            self._constant = value.astype(numpy_dtype(self._x.dtype or 1))
        self.specs: Sequence[Spec] = copies.specs(SIZES[self._element], turned=True)

    def plan(self, planner: Planner) -> None:
        """Plan the copies for the shapes at hand."""
        x = planner.layout(self._x)
        widths = self._widths(planner, len(x.shape))
        x, widths = _cut(x, widths)
        (result,) = self._node.outputs[:1]
        if not any(map(any, widths)):
            planner.give(result, x)
            return
        shape = [
            dim + before + after
            for dim, (before, after) in zip(x.shape, widths, strict=True)
        ]
        if like_image(planner, shape, [x]):
            made = image(planner, result, shape, self._element, [x])
        else:
            made = planner.allocate(result, shape, self._element)
        offset = made.offset + sum(
            before * step
            for (before, _), step in zip(widths, made.strides, strict=True)
        )
        inside = made.with_dims(x.shape, made.strides, offset)
        planner.copy(x, inside)
        for axis, (before, after) in enumerate(widths):
            for run in self._runs(x.shape[axis], before, after):
                part = _moved(inside, axis, run.to, run.size, 1)
                planner.copy(self._source(planner, inside, axis, run), part, [x])
            inside = _moved(inside, axis, -before, shape[axis], 1)

    def _widths(self, planner: Planner, rank: int) -> list[tuple[int, int]]:
        node = self._node
        if node.version < 11:
            amounts, axes = node.attribute("pads") or node.attribute("paddings"), None
        else:
            amounts = planner.numbers(node.input(1))
            axes = planner.numbers(node.input(3))
        chosen = list(range(rank)) if axes is None else axes
        if amounts is None or len(amounts) != 2 * len(chosen):
            raise Unplannable(f"{amounts} is no padding of {len(chosen)} axes")
        widths = [(0, 0)] * rank
        for index, axis in enumerate(chosen):
            place = axis_of(axis, rank)
            widths[place] = (amounts[index], amounts[index + len(chosen)])
        return widths

    def _runs(self, size: int, before: int, after: int) -> Iterator[_Run]:
        """Return the stretches beside an axis, and where each comes from."""
        if self._mode == "constant":
            yield from (
                _Run(to, count, 0, 0)
                for to, count in ((-before, before), (size, after))
                if count
            )
            return
        source = SOURCES[self._mode](np.arange(-before, size + after), size).tolist()
        found = [*_stretches(source[:before], -before)]
        found += _stretches(source[before + size :], size)
        if len(found) > MOST_RUNS:
            raise Unplannable(f"a padding has {len(found)} stretches")
        yield from found

    def _source(self, planner: Planner, inside: Layout, axis: int, run: _Run) -> Layout:
        if self._mode != "constant":
            return _moved(inside, axis, run.first, run.size, run.step)
        shape = list(inside.shape)
        shape[axis] = run.size
        value = self._node.input(2) if self._constant is None else None
        if value is not None:
            found = planner.layout(value)
        elif self._constant is not None:
            found = of_array(self._constant)
        else:
            found = of_array(np.zeros((), numpy_dtype(self._x.dtype or 1)))
        if found.size != 1:
            raise Unplannable(f"a constant has the shape {found.shape}")
        return found.with_dims((), ()).broadcast(shape)


class _Run(NamedTuple):
    """Elements ``to`` and on of an axis that come from ``first`` and on, by steps."""

    to: int
    size: int
    first: int
    step: int


def _stretches(source: Sequence[int], to: int) -> Iterator[_Run]:
    """Cut indices into runs whose steps are all 1, 0 or -1."""
    start = 0
    while start < len(source):
        stop = start + 1
        step = source[stop] - source[start] if stop < len(source) else 1
        if abs(step) > 1:
            step = 1
        while stop < len(source) and source[stop] - source[stop - 1] == step:
            stop += 1
        yield _Run(to + start, stop - start, source[start], step)
        start = stop


def _moved(layout: Layout, axis: int, first: int, count: int, step: int) -> Layout:
    """Return a part of an axis that may begin before it, and go on behind it."""
    shape, strides = list(layout.shape), list(layout.strides)
    offset = layout.offset + first * strides[axis]
    shape[axis] = count
    strides[axis] *= step
    return layout.with_dims(shape, strides, offset)


def _cut(
    x: Layout, widths: Sequence[tuple[int, int]]
) -> tuple[Layout, list[tuple[int, int]]]:
    """Apply negative padding; return what is left, and the rest of the padding."""
    for axis, (before, after) in enumerate(widths):
        first, last = max(-before, 0), max(-after, 0)
        count = x.shape[axis] - first - last
        if count < 1:
            raise Unplannable(f"{widths} leaves nothing of {x.shape}")
        x = _moved(x, axis, first, count, 1)
    return x, [(max(before, 0), max(after, 0)) for before, after in widths]
