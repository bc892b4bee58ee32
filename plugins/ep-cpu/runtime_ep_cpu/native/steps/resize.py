"""Resize of images, with tables of pixels and weights made for a plan.

Upsample has become Resize by a pass of the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from runtime.graph import Node, Value
from runtime.valuetypes import numpy_dtype

from runtime_ep_cpu.codegen import copies, pixels
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.pixels import AXES
from runtime_ep_cpu.native.express import FLOATS, element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import bordered, image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable, of_array
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.ops import _interpolation, resize
from runtime_ep_cpu.ops._interpolation import Axis, Method

_TAPS: Final = {"nearest": 1, "linear": 2, "cubic": 4}
_MOVED: Final = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}
"""As what elements of a size are moved."""


def is_supported(node: Node) -> bool:
    """Whether a node resizes an image of one to three axes."""
    x = node.input(0)
    if x is None or x.shape is None or not 3 <= len(x.shape) <= 2 + AXES:
        return False
    mode = node.attribute("mode", "nearest")
    if mode not in _TAPS:
        return False
    return mode == "nearest" or element_of(x) in FLOATS


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
        self._filters = self._method.antialias and self._taps > 1
        kernels = [self._spec(count) for count in moving]
        if self._filters:
            types = {self._element, "float"}
            kernels = [_along(a, b) for a in types for b in types]
        self.specs: Sequence[Spec] = (*kernels, *copies.specs(SIZES[self._element]))

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
            plan = _axes(self._node, x, scales, sizes, self._window(planner))
            changing = _interpolation.changing(plan, self._method)
            moving = [axis for axis in changing if not _stays(axis)]
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
        if self._filters:
            self._filter(planner, x, out, moving)
        else:
            self._resample(planner, x, out, moving)
        if self._method.crops:
            self._extrapolate(planner, out, moving)

    def _window(self, planner: Planner) -> Any:
        """Return the part of the image that is resized, ``None`` for all of it."""
        roi = self._node.input(1)
        if not self._method.crops:
            return None
        found = None if roi is None else planner.contents(roi)
        if found is None or not found.size:
            raise ValueError("tf_crop_and_resize needs the input roi")
        return found

    def _given(self, planner: Planner) -> list[Any]:
        """Return scales and sizes, ``None`` where they are not there or empty."""
        places = (1, 3) if self._node.version < 11 else (2, 3)
        values = (self._node.input(place) for place in places)
        found = (None if v is None else planner.contents(v) for v in values)
        return [array if array is not None and array.size else None for array in found]

    def _filter(
        self, planner: Planner, x: Layout, out: Layout, moving: Sequence[Axis]
    ) -> None:
        """Resize one axis after another; what is between is float32."""
        ordered = sorted(moving, key=lambda axis: axis.axis)
        for axis in ordered:
            made = out
            if axis is not ordered[-1]:
                shape = list(x.shape)
                shape[axis.axis] = axis.size
                margins = ((0, 0),) * (len(shape) - 2)
                made = image(planner, None, shape, "float", [x], margins)
            self._filter_along(planner, x, made, axis)
            x = made

    def _filter_along(
        self, planner: Planner, x: Layout, out: Layout, axis: Axis
    ) -> None:
        entries, width = self._windows(axis, x.strides[axis.axis])
        step = x.strides[axis.axis]
        given, made = _joined([x, out], axis.axis)
        tables, sizes, strides = [], [], [made.strides[0]]
        for place in _order([axis.axis], len(given.shape)):
            size = 1 if place is None else made.shape[place]
            if place == axis.axis:
                tables.append(planner.table(entries))
            else:
                own = 0 if place is None else given.strides[place]
                tables.append(planner.table(self._entries(None, size, own)))
            sizes.append(size)
            strides.append(0 if place is None else made.strides[place])
        planned = pixels.plan(given.shape[0], given.shape[1], sizes, width, [strides])
        planner.step(
            _along(x.element, out.element),
            [out, x, *tables, width, step, x.strides[0], *planned.numbers],
            planned.chunks,
            [x],
            [out],
            work=2.0 * out.size * width,
        )

    def _windows(self, axis: Axis, step: int) -> tuple[list[int], int]:
        """Return the table of a filtered axis, and how many numbers a place has."""
        indices, weights = _interpolation.taps(axis, self._method)
        first, last = indices.min(axis=1), indices.max(axis=1)
        count = int((last - first).max()) + 1
        dense = np.zeros((axis.size, count), np.float64)
        rows = np.arange(axis.size)[:, None]
        np.add.at(dense, (rows, indices - first[:, None]), weights)
        bits = dense.astype(np.float32).view(np.uint32).astype(np.int64)
        head = np.stack([first * step, last - first + 1], axis=1)
        numbers: list[int] = np.hstack([head, bits]).reshape(-1).tolist()
        return numbers, count + 2

    def _extrapolate(
        self, planner: Planner, out: Layout, moving: Sequence[Axis]
    ) -> None:
        """Fill what lies outside of the image: slabs at the ends of axes."""
        size = SIZES[self._element]
        dtype = numpy_dtype(self._x.dtype or 1)
        number = np.array(self._method.extrapolation).astype(dtype)
        value = of_array(number.reshape(1).view(f"i{size}")).at(0, 0)
        value = value._replace(element=self._element)
        for axis in moving:
            beyond = np.flatnonzero(_interpolation.outside(axis, self._method))
            for first, count in _runs(beyond.tolist()):
                shape = list(out.shape)
                shape[axis.axis] = count
                offset = out.offset + first * out.strides[axis.axis]
                slab = out.with_dims(shape, out.strides, offset)
                planner.copy(value.broadcast(shape), slab, [out])

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


def _along(element: str, result: str) -> Spec:
    return Spec.of("resample_along", element=element, result=result)


def _joined(images: Sequence[Layout], axis: int) -> list[Layout]:
    """Return images whose axes behind one are channels, where in all they lie like them."""
    found = list(images)
    while len(found[0].shape) - 1 > axis and all(
        layout.strides[-1] == layout.shape[1] for layout in found
    ):
        found = [_last_as_channels(layout) for layout in found]
    return found


def _last_as_channels(layout: Layout) -> Layout:
    batch, channels, *sizes, last = layout.shape
    return layout.with_dims((batch, channels * last, *sizes), layout.strides[:-1])


def _runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and the number of places that follow each other."""
    found: list[tuple[int, int]] = []
    for place in places:
        if found and place == sum(found[-1]):
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((place, 1))
    return found


def _stays(axis: Axis) -> bool:
    """Whether all of an axis is cropped to as many pixels."""
    whole = axis.roi == (0.0, 1.0)
    return whole and axis.size == axis.length and axis.width == axis.length


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
        bool(node.attribute("antialias", 0)),
        float(node.attribute("extrapolation_value", 0.0)),
    )


def _axes(node: Node, x: Layout, scales: Any, sizes: Any, roi: Any) -> list[Axis]:
    """Return how each axis is resized; raises ``ValueError`` for what does not fit."""
    if (scales is None) == (sizes is None):
        raise ValueError("Resize needs either scales or sizes, and not both")
    chosen = resize.chosen_axes(node.attribute("axes"), len(x.shape))
    if scales is not None:
        return resize.by_scales(x, scales, chosen, roi)
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    return resize.by_sizes(x, sizes, chosen, roi, policy)
