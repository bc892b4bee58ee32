"""RoiAlign and MaxRoiPool: regions of an image, each reduced to a few pixels."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, roi
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import FLOATS, element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import bordered, image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.rows import bits_of

OPERATORS: Final = ("RoiAlign", "MaxRoiPool")

_HALF: Final = "half_pixel"
_UNSHIFTED: Final = "output_half_pixel"
_MOST_SCRATCH: Final = 1 << 24
"""Bytes of a thread's tables, at most."""


def is_supported(node: Node) -> bool:
    """Whether an image of two axes is of floats, and so are the regions."""
    x, regions = node.inputs[:2]
    if x is None or x.shape is None or len(x.shape) != 4:
        return False
    if element_of(x) not in FLOATS or element_of(regions) not in FLOATS:
        return False
    if node.op_type == "MaxRoiPool":
        same = element_of(x) == element_of(regions)
        return same and len(node.attribute("pooled_shape", ())) == 2
    return (
        element_of(node.input(2)) in ("i32", "i64")
        and node.attribute("mode", "avg") in ("avg", "max")
        and _coordinates(node) in (_HALF, _UNSHIFTED)
    )


def _coordinates(node: Node) -> str:
    """Return what RoiAlign's coordinates mean; before opset 16 they were not shifted."""
    usual = _HALF if node.version >= 16 else _UNSHIFTED
    found: str = node.attribute("coordinate_transformation_mode", usual)
    return found


class RoiStep:
    """A small image for every region of a larger one."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("regions have an anchor")
        self._node = node = group.anchor
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        self._regions: Value = node.inputs[1]  # type: ignore[assignment]
        self._images = node.input(2)
        self._element = element_of(self._x) or "float"
        regions = element_of(self._regions) or "float"
        scale = float(node.attribute("spatial_scale", 1.0))
        self._ratio = max(0, node.attribute("sampling_ratio", 0))
        if node.op_type == "MaxRoiPool":
            self._bins = [int(n) for n in node.attribute("pooled_shape")]
            self._scale = bits_of(float(np.float32(scale)))
            self._spec = roi.pool_spec(self._element)
        else:
            words = ("output_height", "output_width")
            self._bins = [int(node.attribute(word, 1)) for word in words]
            (self._scale,) = struct.unpack("<q", struct.pack("<d", scale))
            self._spec = roi.align_spec(
                node.attribute("mode", "avg"),
                _coordinates(node) == _HALF,
                self._element,
                regions,
                element_of(self._images) or "i64",
            )
        self.specs: Sequence[Spec] = (
            self._spec,
            *copies.specs(SIZES[self._element]),
            *copies.specs(SIZES[regions]),
            *copies.specs(SIZES[element_of(self._images) or "i64"]),
        )

    def plan(self, planner: Planner) -> None:
        """Plan every region for the shapes at hand."""
        x, regions = planner.layout(self._x), planner.layout(self._regions)
        batch, channels, *sizes = x.shape
        corners = 4 if self._node.op_type == "RoiAlign" else 5
        if len(regions.shape) != 2 or regions.shape[1] != corners:
            raise Unplannable(f"{regions.shape} are no regions")
        if min(sizes) < 1 or min(self._bins) < 1:
            raise Unplannable(f"{sizes} do not become {self._bins}")
        count = regions.shape[0]
        given = [planner.contiguous(regions)]
        if self._images is not None:
            images = planner.contiguous(planner.layout(self._images))
            if images.shape != (count,):
                raise Unplannable(f"{images.shape} are no images of {count} regions")
            given.append(images)
        x = bordered(planner, x, ((0, 0), (0, 0)))
        shape = (count, channels, *self._bins)
        out = image(planner, self._node.outputs[0], shape, self._element, [x, *given])
        self._add(planner, x, given, out, batch)

    def _add(
        self,
        planner: Planner,
        x: Layout,
        given: Sequence[Layout],
        out: Layout,
        batch: int,
    ) -> None:
        count, channels, *_ = out.shape
        entries = max(roi.capacity(size, self._ratio) for size in x.shape[2:])
        scratch = roi.scratch(self._bins, entries)
        if scratch > _MOST_SCRATCH:
            raise Unplannable(f"regions of {x.shape} need tables of {scratch} bytes")
        images = given[1] if len(given) > 1 else None
        arguments: list[Argument] = [
            out, x, given[0], images, planner.failed(), channels, batch, x.strides[0],
            out.strides[0], entries, self._scale,
        ]  # fmt: skip
        for axis in (2, 3):
            arguments += (x.shape[axis], x.strides[axis])
            arguments += (out.shape[axis], out.strides[axis])
        arguments.append(self._ratio)
        work = 16.0 * out.size
        planner.step(self._spec, arguments, count, [x, *given], [out], scratch, work)
