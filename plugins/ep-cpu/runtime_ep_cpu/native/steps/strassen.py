"""Products of large matrices by Strassen's form as steps: the rows' sums, and the call."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.graph import Value

from runtime_ep_cpu.codegen import strassen
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.microkernel import tiles
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.layout import Layout
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.epilogue import Epilogue

_PAIRS = 8
"""Pairs of rows of which a chunk makes the sums."""
_GAP = 16
"""Numbers between rows of sums, so that they do not compete for the same lines of a cache."""


def fits(target: Target, n: int | None, k: int | None, width: int) -> bool:
    """Whether products by a matrix of such sizes may be faster by Strassen's form."""
    measured = target.is_x86 and target.fma
    return (
        measured and n is not None and k is not None and strassen.has_form(n, k, width)
    )


class Strassen:
    """The kernels that multiply by matrices of one width, with one epilogue."""

    def __init__(self, target: Target, vectors: int, epilogue: Epilogue) -> None:
        self._width = target.lanes * vectors
        self._spec = Spec.of("strassen", vectors=vectors)
        self._finish = Spec.of(
            "strassen_finish",
            vectors=vectors,
            epilogue=epilogue.expression,
            wide=epilogue.wide,
        )
        self._rows = Spec.of("strassen_rows")
        self._tiles = tiles(target, vectors)
        self._first_tiles = strassen.first_tiles(target, vectors)
        self.specs: Sequence[Spec] = (
            self._spec, self._finish, self._rows, *self._tiles, *self._first_tiles
        )  # fmt: skip

    def takes(self, out: Layout) -> bool:
        """Whether a product of so many rows is faster so."""
        return len(out.shape) == 2 and strassen.has_rows(out.shape[0])

    def multiply(
        self,
        planner: Planner,
        a: Layout,
        panels: Layout,
        bias: Layout,
        out: Layout,
        operands: Sequence[Layout],
        source: Value | None,
    ) -> None:
        """Add ``out = epilogue(a · panels + bias)``; see `Matrix.multiply`.

        The sums of A's rows are made once for all products of a ``source``.
        """
        (m, k), n = a.shape, out.shape[1]
        sums, apart = self._sums(planner, a, source)
        width = self._width
        cut = strassen.blocking(m, n, k, width, len(self._tiles))
        zeros = planner.bias(None, width)
        arguments: list[Argument] = [
            a, a.strides[0] * 4, sums, sums.strides[1], sums.strides[0], apart, panels,
            m, n, k, bias, zeros, *cut[:4], planner.tile_table(self._tiles),
            planner.tile_table(self._first_tiles), planner.library.address(self._finish),
            out, out.strides[0],
        ]  # fmt: skip
        for operand in operands:
            arguments += [operand, operand.strides[0]]
        planner.step(
            self._spec,
            arguments,
            cut.blocks * cut.groups,
            [a, sums, apart, panels, bias, *operands],
            [out],
            cut.scratch * 4,
            float(m) * n * k,
        )

    def _sums(
        self, planner: Planner, a: Layout, source: Value | None
    ) -> tuple[Layout, Layout]:
        """Return the sums of A's rows, and which pairs of them are too far apart."""
        found = None if source is None else planner.sums.get(source)
        if found is not None:
            return found
        m, k = a.shape
        high, pitch = -(-m // 2), k // 2 + _GAP
        room = planner.allocate(None, (4, high, pitch), "float")
        apart = planner.allocate(None, (high,), "i64")
        arguments: list[Argument] = [
            a, a.strides[0] * 4, room, pitch, high * pitch, apart, m, k, _PAIRS
        ]  # fmt: skip
        planner.step(
            self._rows, arguments, -(-high // _PAIRS), [a], [room, apart], 0,
            2.0 * m * k,
        )  # fmt: skip
        if source is not None:
            planner.sums[source] = room, apart
        return room, apart
