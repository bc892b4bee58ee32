"""DepthToSpace and SpaceToDepth: blocks of pixels become channels, and back, in a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.images import image, like_image
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Planner

OPERATORS: Final = ("DepthToSpace", "SpaceToDepth")


def is_supported(node: Node) -> bool:
    """Whether an input is an image of two axes."""
    x = node.input(0)
    known = node.attribute("mode", "DCR") in ("DCR", "CRD")
    return known and x is not None and x.shape is not None and len(x.shape) == 4


class BlocksStep:
    """Pixels of a block are channels elsewhere, in the order that ``mode`` names."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a rearrangement has an anchor")
        self._node = node = group.anchor
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        self._element = element_of(self._x) or "float"
        self._edge = int(node.attribute("blocksize"))
        self._depth_first = node.attribute("mode", "DCR") == "DCR"
        self.specs: Sequence[Spec] = copies.specs(SIZES[self._element])

    def plan(self, planner: Planner) -> None:
        """Plan the copy for the shapes at hand."""
        x = planner.layout(self._x)
        edge = self._edge
        n, c, h, w = x.shape
        spreads = self._node.op_type == "DepthToSpace"
        if spreads:
            shape = [n, c // (edge * edge), h * edge, w * edge]
        else:
            shape = [n, c * edge * edge, h // edge, w // edge]
        if shape[0] * shape[1] * shape[2] * shape[3] != x.size:
            raise Unplannable(f"{x.shape} does not divide into blocks of {edge}")
        if like_image(planner, shape, [x]):
            out = image(planner, self._node.outputs[0], shape, self._element, [x])
        else:
            out = planner.allocate(self._node.outputs[0], shape, self._element)
        deep, flat = (x, out) if spreads else (out, x)
        planner.copy(self._blocks(x, deep is x), self._blocks(out, flat is x))

    def _blocks(self, layout: Layout, is_deep: bool) -> Layout:
        """Return a layout as ``[n, depth, row, row in block, column, column in block]``."""
        edge = self._edge
        n, c, h, w = layout.shape
        order = (0, 1, 2, 3, 4, 5)
        if not is_deep:
            parted = (n, c, h // edge, edge, w // edge, edge)
        elif self._depth_first:
            parted, order = (n, edge, edge, c // edge**2, h, w), (0, 3, 4, 1, 5, 2)
        else:
            parted, order = (n, c // edge**2, edge, edge, h, w), (0, 1, 4, 2, 5, 3)
        found = layout.reshaped(parted)
        if found is None:
            raise Unplannable(f"{layout.shape} cannot be looked at as {parted}")
        return found.transposed(order)
