"""Constant matrices in the panels that products read, packed once for all who share them.

They are packed in pieces. What nobody reads but products is let go as soon as it is packed:
the panels have all of its numbers, so that little of a model is in memory twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from runtime.abilities import Context
from runtime.graph import Tensor, Value
from runtime.valuetypes import nbytes, numpy_dtype

from runtime_ep_cpu.codegen.library import Library, Spec
from runtime_ep_cpu.native.layout import (
    Buffer,
    Home,
    Layout,
    contiguous_strides,
    of_array,
)
from runtime_ep_cpu.native.plan import Plan, huge
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.weighing import Weighable, weigh
from runtime_ep_cpu.pool import Pool

PIECE = 1 << 23
"""Bytes that are packed in one native call, about."""


class Packing(Protocol):
    """A constant that is to be packed, and how."""

    @property
    def value(self) -> Value:
        """The constant."""

    @property
    def const(self) -> Tensor:
        """What is packed."""

    @property
    def specs(self) -> Sequence[Spec]:
        """The kernels that pack it."""

    @property
    def key(self) -> tuple[Any, ...]:
        """What two requests for the same panels have in common."""

    @property
    def numbers(self) -> int:
        """How many numbers of float32 its panels have."""

    def plan(self, planner: Planner, source: Layout, buffer: Buffer) -> Layout:
        """Add its packing into a buffer to a plan; return where the panels will lie."""

    @property
    def is_lossless(self) -> bool:
        """Whether the panels give the constant back, so that it need not be kept."""

    def restored(self, panels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the constant from its panels; raises ``ValueError`` where they lose it."""


def constant_of(value: Value) -> Tensor:
    """Return a value's constant; raises ``ValueError`` where there is none."""
    if not isinstance(value.const, Tensor):
        raise ValueError(f"{value!r} is not constant")
    return value.const


@dataclass(frozen=True, slots=True)
class Request(Weighable):
    """A constant ``[K, N]``, or ``[N, K]`` where ``turned``, to be packed.

    With ``weighed`` it is found out whether it is even: whether its rows are of similar
    norms, and so are its columns.
    """

    value: Value
    vectors: int
    turned: bool
    element: str
    width: int
    weighed: bool = False

    @property
    def const(self) -> Tensor:
        """What is packed."""
        return constant_of(self.value)

    @property
    def layout(self) -> Layout:
        """The matrix's shape, for plans that read nothing but its panels."""
        shape = self.const.shape
        strides = contiguous_strides(shape)
        return Layout(Buffer(Home.FIXED), self.element, shape, strides)

    @property
    def specs(self) -> Sequence[Spec]:
        """The kernels that pack it, and weigh it."""
        packs = Spec.of(
            "pack", vectors=self.vectors, element=self.element, turned=self.turned
        )
        weighs = Spec.of("strassen_scales", vectors=self.vectors)
        return (packs, weighs) if self.weighed else (packs,)

    @property
    def key(self) -> tuple[Any, ...]:
        """What two requests for the same panels have in common."""
        return (id(self.const), self.vectors, self.width, self.turned)

    @property
    def sizes(self) -> tuple[int, int]:
        """K and N."""
        rows, columns = self.const.shape
        return (columns, rows) if self.turned else (rows, columns)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """K, N and the number of panels."""
        k, n = self.sizes
        return k, n, -(-n // self.width)

    @property
    def numbers(self) -> int:
        """How many numbers of float32 its panels have."""
        k, _, panels = self._sizes
        return panels * self.width * k

    def plan(self, planner: Planner, source: Layout, buffer: Buffer) -> Layout:
        """Add its packing into a buffer to a plan; return where the panels will lie."""
        k, n, panels = self._sizes
        made = Layout(buffer, "float", (panels, k, self.width), (0, self.width, 1))
        strides = (1, k) if self.turned else (n, 1)
        table = planner.table((0, 0))
        fields: list[Argument] = [source, *strides, made, k, n, panels, table]
        planner.step(self.specs[0], fields, panels, [source], [made], work=float(k) * n)
        return made

    def weigh(self, planner: Planner, panels: Layout) -> Callable[[], bool]:
        """Add what weighs its panels to a plan; return what then tells if it is even."""
        k, n, count = self._sizes
        sizes = (k, count, self.width)
        return weigh(planner, self.specs[1], panels, sizes, lambda sums: sums[:n])

    @property
    def is_lossless(self) -> bool:
        """Whether the panels give the constant back: all of it but NaNs' payloads."""
        return True

    def restored(self, panels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the constant from its panels."""
        k, n, count = self._sizes
        rows = panels.reshape(count, k, self.width).transpose((1, 0, 2))
        matrix = rows.reshape(k, count * self.width)[:, :n]
        dtype = numpy_dtype(self.const.dtype)
        return np.array(matrix.T if self.turned else matrix, dtype, order="C")


class Panels:
    """Packed matrices of one session, by request."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], Layout] = {}
        self._even: set[tuple[Any, ...]] = set()
        self._sources: list[Tensor] = []

    def layout(self, request: Packing) -> Layout:
        """Return where a matrix's panels lie."""
        return self._found[request.key]

    def is_even(self, request: Packing) -> bool:
        """Whether a matrix that was weighed has rows and columns of similar norms."""
        return request.key in self._even

    @property
    def bytes(self) -> int:
        """Memory of all panels."""
        return sum(layout.buffer.size for layout in self._found.values())

    def pack(
        self,
        requests: Sequence[Packing],
        library: Library,
        pool: Pool,
        threads: int,
    ) -> None:
        """Pack what is not packed yet, and let go of it where nobody else reads it."""
        wanted: dict[tuple[Any, ...], Packing] = {}
        for r in requests:
            if r.key not in self._found and (r.key not in wanted or _is_weighed(r)):
                wanted[r.key] = r
        if not wanted:
            return
        single = _read_by_one(requests)
        pieces = [
            [
                _Item(request, request.is_lossless and id(request.const) in single)
                for request in piece
            ]
            for piece in _pieces(list(wanted.values()))
        ]
        memory = huge(sum(item.bytes for piece in pieces for item in piece))
        room = huge(max(sum(item.passing for item in piece) for piece in pieces))
        start = 0
        for piece in pieces:
            planner = Planner(library)
            place = 0
            for item in piece:
                part = memory[start : start + item.bytes]
                found = _planned(item, room[place:], part, planner)
                self._found[item.request.key] = found
                self._sources.append(item.request.const)
                start += item.bytes
                place += item.passing
            Plan(planner, (), (), pool, threads).run((), (), Context())
            self._weigh(piece, library, pool, threads)
            for item in piece:
                if item.single:
                    _release(item.request, self.layout(item.request))

    def _weigh(
        self, piece: Sequence[_Item], library: Library, pool: Pool, threads: int
    ) -> None:
        """Note which of a piece's matrices are even, while they are still in a cache."""
        planner = Planner(library)
        tells = {
            item.request.key: item.request.weigh(planner, self.layout(item.request))
            for item in piece
            if isinstance(item.request, Weighable) and item.request.weighed
        }
        if tells:
            Plan(planner, (), (), pool, threads).run((), (), Context())
            self._even |= {key for key, is_even in tells.items() if is_even()}


def _read_by_one(requests: Sequence[Packing]) -> set[int]:
    """Return the ids of constants that are read once packed, in one way, and only so."""
    keys: dict[int, set[Any]] = {}
    values: dict[int, set[Value]] = {}
    reads = Counter(id(request.const) for request in requests)
    for request in requests:
        keys.setdefault(id(request.const), set()).add(request.key)
        values.setdefault(id(request.const), set()).add(request.value)
    return {
        const
        for const, count in reads.items()
        if len(keys[const]) == 1
        and count == sum(len(value.uses) for value in values[const])
    }


def _is_weighed(request: Packing) -> bool:
    return isinstance(request, Weighable) and request.weighed


def _pieces(requests: Sequence[Packing]) -> Iterator[list[Packing]]:
    """Divide matrices, in order, into pieces of about `PIECE` bytes."""
    piece: list[Packing] = []
    size = 0
    for request in requests:
        piece.append(request)
        size += nbytes(request.const.dtype, request.const.shape)
        if size >= PIECE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


class _Item(NamedTuple):
    """What is to be packed; ``single``: let go as soon as it is."""

    request: Packing
    single: bool

    @property
    def bytes(self) -> int:
        """Size of its panels, a multiple of a cache line."""
        return _in_lines(4 * self.request.numbers)

    @property
    def passing(self) -> int:
        """Bytes that are to be read for a moment, in whole cache lines."""
        const = self.request.const
        glanced = self.single and const.passes
        return _in_lines(nbytes(const.dtype, const.shape)) if glanced else 0


def _in_lines(size: int) -> int:
    return -(-size // 64) * 64


def _planned(
    item: _Item,
    room: np.ndarray[Any, Any],
    memory: np.ndarray[Any, Any],
    planner: Planner,
) -> Layout:
    """Add the packing of one constant to a plan; return where its panels will lie."""
    const = item.request.const
    source = of_array(const.glance(room) if item.single else const.numpy())
    buffer = Buffer(Home.FIXED, memory.nbytes, memory.ctypes.data, holder=memory)
    return item.request.plan(planner, source, buffer)


def _release(request: Packing, panels: Layout) -> None:
    """Let go of a packed constant; its panels give it back."""
    memory: np.ndarray[Any, Any] = panels.buffer.holder
    size = 4 * request.numbers

    def restored() -> np.ndarray[Any, Any]:
        made = request.restored(memory[:size].view(np.float32))
        made.flags.writeable = False
        return made

    request.const.release(restored)
