"""Resize of images, with tables of pixels and weights made for a plan.

Upsample has become Resize by a pass of the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, pixels
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.pixels import AXES
from runtime_ep_cpu.native.express import FLOATS, element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import bordered, image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.ops import _interpolation, resize
from runtime_ep_cpu.ops._interpolation import Axis, Method

_TAPS: Final = {"nearest": 1, "linear": 2, "cubic": 4}
_MOVED: Final = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}
"""As what elements of a size are moved."""


def is_supported(node: Node) -> bool:
    """Whether a node resizes an image of one to three axes without a filter or a crop."""
    x = node.input(0)
    if x is None or x.shape is None or not 3 <= len(x.shape) <= 2 + AXES:
        return False
    mode = node.attribute("mode", "nearest")
    if mode not in _TAPS:
        return False
    if mode != "nearest" and element_of(x) not in FLOATS:
        return False
    crops = node.attribute("coordinate_transformation_mode") == "tf_crop_and_resize"
    return not crops and not node.attribute("antialias", 0)


class ResizeStep:
    """An image with other sizes; batches and channels stay as many as they are."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("resizing has an anchor")
        self._node = node = group.anchor
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        self._element = element_of(self._x) or "float"
        self._method = _method(node)
        self._taps = _TAPS[self._method.mode]
        rank = len(self._x.shape or ()) - 2
        moving = range(1, rank + 1) if self._taps > 1 else [1]
        self.specs: Sequence[Spec] = (
            *(self._spec(count) for count in moving),
            *copies.specs(SIZES[self._element]),
        )

    def _spec(self, changing: int) -> Spec:
        """Return the kernel that resizes so many axes; see `_order`."""
        taps = [1] * AXES
        if self._taps == 1:
            moved = _MOVED[SIZES[self._element]]
            return Spec.of("resample", element=moved, taps=tuple(taps))
        for place in _PLACES[changing]:
            taps[place] = self._taps
        return Spec.of("resample", element=self._element, taps=tuple(taps))

    def plan(self, planner: Planner) -> None:
        """Plan the tables and the sums for the shapes at hand."""
        x = planner.layout(self._x)
        try:
            scales, sizes = self._given(planner)
            plan = _axes(self._node, x, scales, sizes)
            moving = _interpolation.changing(plan, self._method)
        except ValueError as error:
            raise Unplannable(str(error)) from error
        shape = list(x.shape)
        for axis in moving:
            shape[axis.axis] = axis.size
        if any(axis.axis < 2 for axis in moving) or min(shape) < 1:
            raise Unplannable(f"{x.shape} does not become {shape} as an image")
        if not moving:
            planner.give(self._node.outputs[0], x)
            return
        x = bordered(planner, x, ((0, 0),) * (len(shape) - 2))
        out = image(planner, self._node.outputs[0], shape, self._element, [x])
        self._resample(planner, x, out, moving)

    def _given(self, planner: Planner) -> list[Any]:
        """Return scales and sizes, ``None`` where they are not there or empty."""
        places = (1, 3) if self._node.version < 11 else (2, 3)
        values = (self._node.input(place) for place in places)
        found = (None if v is None else planner.contents(v) for v in values)
        return [array if array is not None and array.size else None for array in found]

    def _resample(
        self, planner: Planner, x: Layout, out: Layout, moving: Sequence[Axis]
    ) -> None:
        order = _order([axis.axis for axis in moving], len(x.shape))
        by_axis = {axis.axis: axis for axis in moving}
        tables, sizes, strides = [], [], [out.strides[0]]
        for axis in order:
            size = 1 if axis is None else out.shape[axis]
            step = 0 if axis is None else x.strides[axis]
            found = by_axis.get(axis) if axis is not None else None
            tables.append(planner.table(self._entries(found, size, step)))
            sizes.append(size)
            strides.append(0 if axis is None else out.strides[axis])
        taps = self._taps ** len(moving)
        planned = pixels.plan(x.shape[0], x.shape[1], sizes, taps, [strides])
        planner.step(
            self._spec(len(moving)),
            [out, x, *tables, x.strides[0], *planned.numbers],
            planned.chunks,
            [x],
            [out],
            work=2.0 * out.size * taps,
        )

    def _entries(self, axis: Axis | None, size: int, step: int) -> list[int]:
        """Return the table of an axis; one that does not change has a tap per place."""
        if axis is None:
            return [place * step for place in range(size)]
        if self._taps == 1:
            found = _interpolation.nearest(axis, self._method)
            return [place * step for place in found.tolist()]
        indices, weights = _interpolation.taps(axis, self._method)
        bits = weights.astype(np.float32).view(np.uint32).astype(np.int64)
        numbers: list[int] = np.hstack([indices * step, bits]).reshape(-1).tolist()
        return numbers


_PLACES: Final = {1: (1,), 2: (1, 2), 3: (0, 1, 2)}
"""Which of a kernel's axes have several taps, by the number of axes that change."""


def _order(moving: Sequence[int], rank: int) -> list[int | None]:
    """Return which axis of an image each of a kernel's axes is.

    Those that change are at `_PLACES`, the others where there is room.
    """
    order: list[int | None] = [None] * AXES
    for place, axis in zip(_PLACES[len(moving)], sorted(moving), strict=True):
        order[place] = axis
    room = [place for place in (2, 0) if order[place] is None]
    others = [axis for axis in range(2, rank) if axis not in moving]
    for place, axis in zip(room, reversed(others), strict=False):
        order[place] = axis
    return order


def _method(node: Node) -> Method:
    mode = node.attribute("mode", "nearest")
    if node.version < 11:
        return Method(mode, rounding="simple")
    return Method(
        mode,
        node.attribute("coordinate_transformation_mode", "half_pixel"),
        node.attribute("nearest_mode", "round_prefer_floor"),
        node.attribute("cubic_coeff_a", -0.75),
        bool(node.attribute("exclude_outside", 0)),
    )


def _axes(node: Node, x: Layout, scales: Any, sizes: Any) -> list[Axis]:
    """Return how each axis is resized; raises ``ValueError`` for what does not fit."""
    if (scales is None) == (sizes is None):
        raise ValueError("Resize needs either scales or sizes, and not both")
    chosen = resize.chosen_axes(node.attribute("axes"), len(x.shape))
    if scales is not None:
        return resize.by_scales(x, scales, chosen, None)
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    return resize.by_sizes(x, sizes, chosen, None, policy)
