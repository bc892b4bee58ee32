"""RotaryEmbedding: pairs of each head turned by their position's angle."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import copies, rotary
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.view import reshaped


def is_supported(node: Node) -> bool:
    """Whether x is a float and the caches are of its type, positions int64."""
    given = [element_of(node.input(i)) for i in range(3)]
    if len(set(given)) != 1 or given[0] not in ("float", "half", "bfloat"):
        return False
    positions = node.input(3)
    return positions is None or element_of(positions) == "i64"


class RotaryStep:
    """RotaryEmbedding; a position outside the cache sends the run to NumPy's kernel."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a rotation has an anchor")
        self._node = node = group.anchor
        self._x: Value = node.inputs[0]  # type: ignore[assignment]
        self._caches: list[Value] = list(node.inputs[1:3])  # type: ignore[arg-type]
        self._positions = node.input(3)
        self._result = node.outputs[0]
        self._element = element_of(self._x) or "float"
        interleaved = bool(node.attribute("interleaved", 0))
        self._spec = Spec.of("rotary", element=self._element, interleaved=interleaved)
        self.specs: Sequence[Spec] = (
            self._spec,
            *copies.specs(SIZES[self._element]),
        )

    def plan(self, planner: Planner) -> None:
        """Plan every head's rotation for the shapes at hand."""
        x = planner.layout(self._x)
        flat = len(x.shape) == 3
        apart = self._heads(planner, x) if flat else x
        if len(apart.shape) != 4:
            raise Unplannable(f"{x.shape} has no heads")
        if apart.shape[3] > 1 and apart.strides[3] != 1:
            apart = planner.contiguous(apart)
        out = planner.allocate(self._result, x.shape, self._element)
        turned = self._heads(planner, out) if flat else out
        self._add(planner, apart, turned)

    def _heads(self, planner: Planner, layout: Layout) -> Layout:
        batch, rows, width = layout.shape
        count = self._node.attribute("num_heads", 0)
        if not count or width % count:
            raise Unplannable(f"{layout.shape} does not divide into {count} heads")
        split = reshaped(planner, layout, (batch, rows, count, width // count))
        return split.transposed((0, 2, 1, 3))

    def _add(self, planner: Planner, x: Layout, y: Layout) -> None:
        batch, heads, rows, width = x.shape
        turned = self._node.attribute("rotary_embedding_dim", 0) or width
        if turned % 2 or turned > width:
            raise Unplannable(f"{turned} of {width} elements cannot be turned")
        cos, sin = (
            self._cache(planner, v, batch, rows, turned // 2) for v in self._caches
        )
        positions = None
        if self._positions is not None:
            positions = planner.layout(self._positions)
            if positions.shape != (batch, rows):
                raise Unplannable(f"{positions.shape} are no positions of {x.shape}")
        cut = rotary.blocking(batch, heads, rows, width)
        where = (0, 0) if positions is None else positions.strides
        arguments: list[Argument] = [
            x, *x.strides[:3], y, *y.strides[:3],
            cos, *cos.strides[:2], sin, *sin.strides[:2],
            positions, *where, cos.shape[1], planner.failed(),
            heads, rows, width, turned, cut.rows, cut.blocks,
        ]  # fmt: skip
        reads = [x, cos, sin, *([] if positions is None else [positions])]
        planner.step(self._spec, arguments, cut.chunks, reads, [y], work=4.0 * x.size)

    def _cache(
        self, planner: Planner, value: Value, batch: int, rows: int, width: int
    ) -> Layout:
        """Return angles as (batch, rows, width); those chosen by position repeat."""
        cache = planner.layout(value)
        if cache.shape[-1] > 1 and cache.strides[-1] != 1:
            cache = planner.contiguous(cache)
        if self._positions is not None:
            if len(cache.shape) != 2 or cache.shape[1] != width:
                raise Unplannable(f"a cache of {cache.shape} has no {width} angles")
            return cache.broadcast((batch, *cache.shape))
        if cache.shape != (batch, rows, width):
            raise Unplannable(f"a cache of {cache.shape} is not {(batch, rows, width)}")
        return cache
