"""Weights of recurrent gates in the panels that their steps read: constant or given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from runtime.graph import Tensor, Value
from runtime.valuetypes import numpy_dtype

from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.layout import SIZES, Buffer, Layout
from runtime_ep_cpu.native.packing import constant_of
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.weighing import Weighable, weigh


@dataclass(frozen=True, slots=True)
class Gates(Weighable):
    """Some gates' weights ``[directions, gates · hidden, K]``, or biases, to be packed.

    ``first`` is the first of ``gates`` that are packed, ``every`` whether these are all.
    ``k`` is 1 for biases, of which a direction has two rows. ``vectors`` is the width of
    panels in registers of ``lanes``. With ``weighed`` it is found out whether the weights
    of all directions are even.
    """

    value: Value
    element: str
    hidden: int
    k: int
    first: int
    gates: int
    every: bool
    vectors: int
    lanes: int
    weighed: bool = False

    @property
    def const(self) -> Tensor:
        """What is packed."""
        return constant_of(self.value)

    @property
    def specs(self) -> tuple[Spec, ...]:
        """The kernel that packs it, and what weighs it."""
        packs = Spec.of("gates", vectors=self.vectors, element=self.element)
        weighs = Spec.of("strassen_scales", vectors=self.vectors)
        return (packs, weighs) if self.weighed else (packs,)

    @property
    def key(self) -> tuple[Any, ...]:
        """What two requests for the same panels have in common."""
        return (
            "gates", id(self.const), self.first, self.gates, self.hidden, self.vectors,
            self.lanes,
        )  # fmt: skip

    @property
    def columns(self) -> int:
        """How many columns a direction has, units that there are none of included."""
        return -(-self.hidden // self.lanes) * self.lanes * self.gates

    @property
    def panels(self) -> int:
        """How many panels a direction has."""
        return -(-self.columns // (self.lanes * self.vectors))

    @property
    def each(self) -> int:
        """How many numbers of float32 the panels of one direction have."""
        return self.panels * self.lanes * self.vectors * self.k

    @property
    def numbers(self) -> int:
        """How many numbers of float32 all panels have."""
        return self.const.shape[0] * self.each

    def direction(self, packed: Layout, index: int) -> Layout:
        """Return the panels of one direction."""
        return packed.with_dims((self.each,), (1,), packed.offset + index * self.each)

    def plan(self, planner: Planner, source: Layout, buffer: Buffer) -> Layout:
        """Add its packing into a buffer to a plan; return where the panels will lie."""
        count = source.shape[0]
        made = Layout(buffer, "float", (count, self.each), (self.each, 1))
        between = prod(source.shape[1:])
        fields: list[Argument] = [
            source, between, made, self.k, self.hidden, self.first, self.gates,
            self.panels,
        ]  # fmt: skip
        chunks = count * self.panels
        planner.step(
            self.specs[0], fields, chunks, [source], [made], work=float(made.size)
        )
        return made

    def weigh(self, planner: Planner, panels: Layout) -> Callable[[], bool]:
        """Add what weighs its panels to a plan; return what then tells if it is even."""
        sizes = (self.k, self.panels, self.vectors * self.lanes)

        def of_units(sums: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            columns = sums[: self.columns].reshape(-1, self.gates, self.lanes)
            return columns.transpose(1, 0, 2).reshape(self.gates, -1)[:, : self.hidden]

        tells = [
            weigh(planner, self.specs[1], self.direction(panels, i), sizes, of_units)
            for i in range(self.const.shape[0])
        ]
        return lambda: all(is_even() for is_even in tells)

    def packed(self, planner: Planner) -> Layout:
        """Return the panels: packed when the session was made, or in every run."""
        if self.value.is_constant:
            found = planner.panels(self)
            if found is not None:
                return found
        source = planner.contiguous(planner.layout(self.value))
        memory = planner.allocate(None, (source.shape[0] * self.each,), "float")
        return self.plan(planner, source, memory.buffer)

    @property
    def copied(self) -> int:
        """Bytes of an element of what may have to be copied before it is packed."""
        return SIZES[self.element]

    @property
    def is_lossless(self) -> bool:
        """Whether the panels give the constant back: all of it but NaNs' payloads."""
        return self.every

    def restored(self, panels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the constant from its panels; raises ``ValueError`` where they lose it."""
        if not self.every:
            raise ValueError(f"the panels do not have all gates of {self.value!r}")
        count, lanes, k = self.const.shape[0], self.lanes, self.k
        apart = panels.reshape(count, self.panels, k, self.vectors, lanes)
        columns = apart.transpose(0, 1, 3, 4, 2).reshape(count, -1, k)
        columns = columns[:, : self.columns].reshape(count, -1, self.gates, lanes, k)
        rows = columns.transpose(0, 2, 1, 3, 4).reshape(count, self.gates, -1, k)
        made = rows[:, :, : self.hidden].reshape(self.const.shape)
        return np.array(made, numpy_dtype(self.const.dtype), order="C")
