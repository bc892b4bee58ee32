"""Constant matrices in the panels that products read, packed once for all who share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from runtime.abilities import Context
from runtime.graph import Value

from runtime_ep_cpu.codegen.library import Library, Spec
from runtime_ep_cpu.native.layout import Buffer, Home, Layout, of_array
from runtime_ep_cpu.native.plan import Plan, huge
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.pool import Pool


@dataclass(frozen=True, slots=True)
class Request:
    """A constant ``[K, N]``, or ``[N, K]`` where ``turned``, to be packed."""

    value: Value
    vectors: int
    turned: bool
    element: str
    width: int

    @property
    def spec(self) -> Spec:
        """The kernel that packs it."""
        return Spec.of(
            "pack", vectors=self.vectors, element=self.element, turned=self.turned
        )

    @property
    def key(self) -> tuple[int, int, int, bool]:
        """What two requests for the same panels have in common."""
        const = self.value.const
        return (id(const), self.vectors, self.width, self.turned)


class Panels:
    """Packed matrices of one session, by request."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int, int, bool], Layout] = {}
        self._sources: list[Any] = []

    def layout(self, request: Request) -> Layout:
        """Return where a matrix's panels lie."""
        return self._found[request.key]

    @property
    def bytes(self) -> int:
        """Memory of all panels."""
        return sum(layout.buffer.size for layout in self._found.values())

    def pack(
        self,
        requests: Sequence[Request],
        library: Library,
        pool: Pool,
        threads: int,
    ) -> None:
        """Pack what is not packed yet, all of it in one native call."""
        wanted = {r.key: r for r in requests if r.key not in self._found}
        if not wanted:
            return
        planner = Planner(library)
        sizes = [_Size.of(request) for request in wanted.values()]
        memory = huge(sum(size.bytes for size in sizes))
        start = 0
        for (key, request), size in zip(wanted.items(), sizes, strict=True):
            part = memory[start : start + size.bytes]
            self._found[key] = _planned(request, size, part, planner)
            self._sources.append(request.value.const)
            start += size.bytes
        Plan(planner, (), pool, threads).run((), (), Context())


class _Size(NamedTuple):
    """How large a matrix and its panels are."""

    k: int
    n: int
    panels: int
    bytes: int

    @classmethod
    def of(cls, request: Request) -> _Size:
        """Return the sizes; all bytes are a multiple of a cache line."""
        const = request.value.const
        if const is None:
            raise ValueError(f"{request.value!r} is not constant")
        k, n = const.shape[::-1] if request.turned else const.shape
        count = -(-n // request.width)
        return cls(k, n, count, -(-count * request.width * k * 4 // 64) * 64)


def _planned(
    request: Request, size: _Size, memory: np.ndarray[Any, Any], planner: Planner
) -> Layout:
    """Add the packing of one matrix to a plan; return where its panels will lie."""
    array = request.value.constant()
    if array is None:
        raise ValueError(f"{request.value!r} is not constant")
    source = of_array(array)
    k, n, count, _ = size
    buffer = Buffer(Home.FIXED, memory.nbytes, memory.ctypes.data, holder=memory)
    made = Layout(buffer, "float", (count, k, request.width), (0, request.width, 1))
    strides = (1, k) if request.turned else (n, 1)
    table = planner.table((0, 0))
    fields: list[Argument] = [source, *strides, made, k, n, count, table]
    planner.step(request.spec, fields, count, [source], [made], work=float(k) * n)
    return made
