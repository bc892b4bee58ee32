"""Products of matrices as steps: the kernels of one width, panels, and the call."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from runtime.graph import Value

from runtime_ep_cpu.codegen import copies, gemm
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.microkernel import SPEED, shapes, tiles, usual_width
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.layout import SIZES, Layout, contiguous_strides
from runtime_ep_cpu.native.packing import Request
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.elementwise import widened, widening_specs
from runtime_ep_cpu.native.steps.epilogue import Epilogue
from runtime_ep_cpu.native.steps.strassen import Strassen, fits


def width_for(target: Target, columns: int | None, narrows: bool = False) -> int:
    """Return the width of panels, in vectors, that takes least time for so many columns.

    With ``narrows``, the last of several panels has no more vectors than it needs.
    """
    widths = shapes(target)
    usual = usual_width(target)
    if columns is None:
        return usual

    def cost(vectors: int) -> float:
        count, rest = divmod(-(-columns // target.lanes), vectors)
        last = rest if narrows and count else vectors * bool(rest)
        tail = last / SPEED[last] if last else 0.0
        return count * vectors / SPEED[vectors] + tail

    return min(widths, key=lambda v: (cost(v), v != usual))


class Matrix:
    """The kernels that multiply by matrices of one width, with one epilogue."""

    def __init__(
        self,
        target: Target,
        columns: int | None,
        elements: tuple[str, str],
        epilogue: Epilogue,
        operands: Sequence[str],
        packed: bool | None,
        depth: int | None = None,
    ) -> None:
        """Choose kernels; ``packed`` says whether a constant that is packed is turned.

        With a ``depth``, the rows of matrices, large ones may be multiplied by Strassen's
        form.
        """
        self.vectors = width_for(target, columns)
        self.width = target.lanes * self.vectors
        self._epilogue = epilogue
        self._spec = Spec.of(
            "gemm",
            vectors=self.vectors,
            epilogue=epilogue.expression,
            wide=epilogue.wide,
        )
        self._tiles = tiles(target, self.vectors)
        a, self._element = elements
        self._packs = [
            Spec.of("pack", vectors=self.vectors, element=self._element, turned=turned)
            for turned in (False, True)
        ]
        packing = self._packs if packed is None else [self._packs[packed]]
        sizes = {SIZES[element] for element in (*elements, *operands)}
        copying = [spec for size in sorted(sizes) for spec in copies.specs(size)]
        self._strassen: Strassen | None = None
        if fits(target, columns, depth, self.width):
            self._strassen = Strassen(target, self.vectors, epilogue)
        self.specs: Sequence[Spec] = (
            self._spec, *self._tiles, *packing, *copying, *widening_specs(a),
            *(self._strassen.specs if self._strassen is not None else ()),
        )  # fmt: skip

    @property
    def has_forms(self) -> bool:
        """Whether large products may save multiplications, if the matrix is even."""
        return self._strassen is not None

    def readable(self, planner: Planner, a: Layout) -> Layout:
        """Return A as float32 rows of unit stride, copied where they are not."""
        if a.element != "float":
            return widened(planner, a)
        if a.shape[-1] > 1 and a.strides[-1] != 1:
            return planner.contiguous(a)
        return a

    def panels(
        self,
        planner: Planner,
        b: Layout,
        lead: tuple[int, ...],
        request: Request | None,
    ) -> tuple[Layout, list[int]]:
        """Return B's panels, and where those of each batch index begin."""
        k, n = b.shape[-2:]
        count = -(-n // self.width)
        each = count * self.width * k
        packed = planner.panels(request)
        if packed is not None:
            return packed, [0] * prod(lead)
        own = b.shape[:-2]
        matrices = prod(own)
        turned = b.strides[-1] != 1 and b.strides[-2] == 1
        if not turned and b.strides[-1] != 1 and n > 1:
            b = planner.contiguous(b)
        panels = planner.allocate(None, (matrices * each,), "float")
        table = planner.table(
            number
            for index, offset in enumerate(offsets(own, b.strides[:-2]))
            for number in (offset, index * each)
        )
        arguments: list[Argument] = [
            b, b.strides[-2], b.strides[-1], panels, k, n, count, table
        ]  # fmt: skip
        planner.step(
            self._packs[turned],
            arguments,
            matrices * count,
            [b],
            [panels],
            work=float(matrices) * n * k,
        )
        places = offsets(lead, _spread(own, contiguous_strides(own), lead))
        return panels, [place * each for place in places]

    def multiply(
        self,
        planner: Planner,
        a: Layout,
        panels: Layout,
        starts: list[int],
        out: Layout,
        operands: Sequence[Layout],
        row: Layout | None = None,
        source: Value | None = None,
        even: bool = False,
    ) -> None:
        """Add ``out = epilogue(a · panels)``; all are [batch…, rows, columns].

        ``row`` is what sums begin with where the epilogue has no constant bias: as many
        numbers of float32 as the panels have columns. ``source`` is the value whose rows
        are those of A, ``even`` whether the panels' matrix has rows and columns of similar
        norms.
        """
        m, k = a.shape[-2:]
        n = out.shape[-1]
        bias = row
        if bias is None:
            bias = planner.bias(self._epilogue.bias, -(-n // self.width) * self.width)
        if even and self._strassen is not None and self._strassen.takes(out):
            self._strassen.multiply(planner, a, panels, bias, out, operands, source)
            return
        lead = out.shape[:-2]
        batch = prod(lead)
        cut = gemm.blocking(m, n, k, batch, self.width)
        direct = self._epilogue.expression is None or out.element == "float"
        table = self._offsets(planner, a, starts, out, operands, direct)
        pitch = out.strides[-2] if m > 1 else n
        arguments: list[Argument] = [
            a, a.strides[-2] * 4, panels, out if direct else None, pitch, m, n, k, bias,
            *cut, planner.tile_table(self._tiles), table, out, pitch,
        ]  # fmt: skip
        for operand in operands:
            arguments += [operand, operand.strides[-2] if m > 1 else 0]
        planner.step(
            self._spec,
            arguments,
            batch * cut.blocks * cut.groups,
            [a, panels, bias, *operands],
            [out],
            0 if direct else cut.rows * cut.panels * self.width * 4,
            float(batch) * m * n * k,
        )

    def _offsets(
        self,
        planner: Planner,
        a: Layout,
        starts: list[int],
        out: Layout,
        operands: Sequence[Layout],
        direct: bool,
    ) -> Layout:
        """Return where A, B, sums, result and operands begin, for each batch index."""
        lead = out.shape[:-2]
        if not lead:
            return planner.zeros(4 + len(operands))
        results = offsets(lead, out.strides[:-2])
        columns = [
            offsets(lead, a.strides[:-2]),
            starts,
            results if direct else [0] * len(results),
            results,
            *(offsets(lead, operand.strides[:-2]) for operand in operands),
        ]
        return planner.table(
            number for row in zip(*columns, strict=True) for number in row
        )


def _spread(
    shape: tuple[int, ...], strides: tuple[int, ...], into: tuple[int, ...]
) -> tuple[int, ...]:
    extra = len(into) - len(shape)
    own = (0 if d == 1 else s for d, s in zip(shape, strides, strict=True))
    return (*((0,) * extra), *own)


def offsets(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Return the offset of each index of a shape, in C order."""
    found = [0]
    for dim, stride in zip(shape, strides, strict=True):
        found = [base + i * stride for base in found for i in range(dim)]
    return found
