"""Matrix products: MatMul and Gemm with what follows element by element."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from runtime.graph import Value

from runtime_ep_cpu.codegen import copies, gemm
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.microkernel import shapes, tiles
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native import packing
from runtime_ep_cpu.native.express import element_of, express
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import (
    SIZES,
    Layout,
    Unplannable,
    contiguous_strides,
)
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.elementwise import (
    result_layout,
    widened,
    widening_specs,
)
from runtime_ep_cpu.native.steps.view import reshaped


class ProductStep:
    """``epilogue(A · B + bias)``; B is packed once where it is constant."""

    def __init__(self, group: Group, target: Target) -> None:
        node = group.anchor
        if node is None:
            raise ValueError("a product has an anchor")
        self._group = group
        self._node = node
        self._target = target
        gemm_node = node.op_type == "Gemm"
        self._turned = [
            bool(node.attribute(name, 0)) if gemm_node else False
            for name in ("transA", "transB")
        ]
        self._a: Value = node.inputs[0]  # type: ignore[assignment]
        self._b: Value = node.inputs[1]  # type: ignore[assignment]
        self._alpha = float(node.attribute("alpha", 1.0)) if gemm_node else 1.0
        beta = float(node.attribute("beta", 1.0)) if gemm_node else 1.0
        self._after = list(group.after)
        self._bias: np.ndarray | None = None
        self._sum: tuple[Value, float] | None = None
        self._start = node.outputs[0]
        columns = self._columns()
        if gemm_node and node.input(2) is not None and beta != 0.0:
            self._take_sum(node.inputs[2], beta, columns)  # type: ignore[arg-type]
        else:
            self._take_bias(columns)
        self._vectors = _vectors(target, columns)
        self._width = target.lanes * self._vectors
        self._write_epilogue()
        self._choose_kernels()

    def _columns(self) -> int | None:
        shape = self._b.shape or ()
        dim = shape[-2 if self._turned[1] and len(shape) > 1 else -1] if shape else 1
        if len(shape) == 1:
            dim = 1
        return dim if isinstance(dim, int) else None

    def _take_sum(self, value: Value, beta: float, columns: int | None) -> None:
        """Take Gemm's third input: as the bias where it is a constant row."""
        array = value.constant()
        row = array is not None and (
            array.size == 1 or (array.ndim <= 2 and array.size == array.shape[-1])
        )
        if array is not None and row and columns is not None and self._alpha == 1.0:
            wide = np.asarray(array, np.float32) * np.float32(beta)
            self._bias = np.broadcast_to(wide.reshape(-1), (columns,))
        else:
            self._sum = (value, beta)

    def _take_bias(self, columns: int | None) -> None:
        """Take an addition of a constant row out of the epilogue.

        Not of narrow floats, whose product is rounded before anything is added.
        """
        if not self._after or columns is None or element_of(self._a) != "float":
            return
        first = self._after[0]
        if first.op_type != "Add" or first.domain:
            return
        other = next((v for v in first.inputs if v is not self._node.outputs[0]), None)
        array = None if other is None else other.constant()
        if array is None or array.size not in (1, columns):
            return
        if array.size != 1 and array.shape[-1] != columns:
            return
        if array.ndim > len(first.outputs[0].shape or ()):
            return
        if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
            wide = np.asarray(array, np.float32).reshape(-1)
            self._bias = np.broadcast_to(wide, (columns,))
            self._after = self._after[1:]
            self._start = first.outputs[0]

    def _write_epilogue(self) -> None:
        """Write what follows on the product as one expression."""
        result = self._after[-1].outputs[0] if self._after else self._start
        self._result = result
        expression, operands = express(self._after, [result], [self._start])
        expression = Expression(
            ("float", *expression.operands[1:]),
            expression.instructions,
            expression.results,
        )
        expression, operands = self._scale(expression, operands)
        out = element_of(result) or "float"
        self._operands = operands[1:]
        trivial = not expression.instructions and out == "float"
        self._epilogue = None if trivial else expression
        self._wide = tuple(_is_wide(v, result) for v in self._operands)

    def _scale(
        self, expression: Expression, operands: tuple[Value, ...]
    ) -> tuple[Expression, tuple[Value, ...]]:
        """Put alpha, beta and the rounding of narrow floats before everything else."""
        before: list[Instruction] = []
        extra: tuple[Value, ...] = ()
        narrow = element_of(self._start) or "float"
        added = 0
        if self._sum is not None:
            extra = (self._sum[0],)
            added = 1
        base = len(operands) + added
        number = 0

        def constant(value: float) -> int:
            before.append(
                Instruction("constant", (), (("type", "float"), ("value", value)))
            )
            return base + len(before) - 1

        def apply(name: str, *inputs: int, **attributes: str) -> int:
            before.append(Instruction(name, inputs, tuple(attributes.items())))
            return base + len(before) - 1

        if self._alpha != 1.0:
            number = apply("multiply", 0, constant(self._alpha))
        if self._sum is not None:
            addend = len(operands)
            if self._sum[1] != 1.0:
                addend = apply("multiply", addend, constant(self._sum[1]))
            number = apply("add", number, addend)
        if narrow != "float" and expression.instructions:
            number = apply("convert", number, type=narrow)
            number = apply("convert", number, type="float")
        if not before:
            return expression, operands
        shift = added + len(before)
        count = len(operands)

        def moved(i: int) -> int:
            if i == 0:
                return number
            return i if i < count else i + shift

        instructions = tuple(
            Instruction(op, tuple(map(moved, inputs)), attributes)
            for op, inputs, attributes in expression.instructions
        )
        results = tuple((moved(i), element) for i, element in expression.results)
        elements = [element_of(v) or "float" for v in extra]
        return (
            Expression(
                (*expression.operands, *elements), (*before, *instructions), results
            ),
            (*operands, *extra),
        )

    def _choose_kernels(self) -> None:
        self._spec = Spec.of(
            "gemm", vectors=self._vectors, epilogue=self._epilogue, wide=self._wide
        )
        self._tiles = tiles(self._target, self._vectors)
        self._element = element_of(self._b) or "float"
        self._packs = [
            Spec.of("pack", vectors=self._vectors, element=self._element, turned=turned)
            for turned in (False, True)
        ]
        sizes = {SIZES[element_of(v) or "float"] for v in (self._a, *self._operands)}
        copying = [spec for size in sizes for spec in copies.specs(size)]
        widening = widening_specs(element_of(self._a) or "float")
        self.specs: Sequence[Spec] = [
            self._spec, *self._tiles, *self._packs, *copying, *widening
        ]  # fmt: skip

    @property
    def packed(self) -> packing.Request | None:
        """What is to be packed before the first run, where B is a constant matrix."""
        shape = self._b.shape or ()
        if not self._b.is_constant or len(shape) != 2:
            return None
        return packing.Request(
            self._b, self._vectors, self._turned[1], self._element, self._width
        )

    def plan(self, planner: Planner) -> None:
        """Plan the product for the shapes at hand."""
        a, b = planner.layout(self._a), planner.layout(self._b)
        if self._turned[0]:
            a = a.transposed((1, 0))
        if self._turned[1]:
            b = b.transposed((1, 0))
        vector_a, vector_b = len(a.shape) == 1, len(b.shape) == 1
        if vector_a:
            a = a.with_dims((1, *a.shape), (0, *a.strides))
        if vector_b:
            b = b.with_dims((*b.shape, 1), (*b.strides, 1))
        if a.shape[-1] != b.shape[-2]:
            raise Unplannable(f"{a.shape} and {b.shape} cannot be multiplied")
        lead = _broadcast(a.shape[:-2], b.shape[:-2])
        whole = (*lead, a.shape[-2], b.shape[-1])
        shape = list(whole)
        if vector_a:
            del shape[-2]
        if vector_b:
            del shape[-1]
        self._place(planner, a, b, whole, tuple(shape))

    def _place(
        self,
        planner: Planner,
        a: Layout,
        b: Layout,
        whole: tuple[int, ...],
        shape: tuple[int, ...],
    ) -> None:
        """Choose batch and rows, lay out the result and add the steps."""
        m, n, k = whole[-2], whole[-1], a.shape[-1]
        if prod(b.shape[:-2]) == 1:
            rows = prod(whole[:-1])
            a = reshaped(planner, a.broadcast((*whole[:-2], m, k)), (rows, k))
            b = b.with_dims(b.shape[-2:], b.strides[-2:])
            whole = (rows, n)
            m = rows
        else:
            a = a.broadcast((*whole[:-2], m, k))
        a = self._readable(planner, a)
        lead = whole[:-2]
        out = result_layout(planner, self._result, shape)
        placed = out.reshaped(whole)
        if placed is None:
            raise Unplannable(f"{shape} has no rows of {n}")
        b_table, panels = self._panels(planner, b, lead, k, n)
        operands = [
            self._operand(planner, planner.layout(value), whole, shape, wide)
            for value, wide in zip(self._operands, self._wide, strict=True)
        ]
        self._add(planner, a, panels, b_table, placed, operands, (m, n, k), lead)

    def _readable(self, planner: Planner, a: Layout) -> Layout:
        """Return A as float32 rows of unit stride, copied where they are not."""
        if a.element != "float":
            return widened(planner, a)
        if a.shape[-1] > 1 and a.strides[-1] != 1:
            return planner.contiguous(a)
        return a

    def _panels(
        self, planner: Planner, b: Layout, lead: tuple[int, ...], k: int, n: int
    ) -> tuple[list[int], Layout]:
        """Return B's panels and the offset of each batch index's."""
        count = -(-n // self._width)
        each = count * self._width * k
        batch = prod(lead)
        packed = planner.panels(self.packed)
        if packed is not None:
            return [0] * batch, packed
        own = b.shape[:-2]
        matrices = prod(own)
        panels = planner.allocate(None, (matrices * each,), "float")
        turned = b.strides[-1] != 1 and b.strides[-2] == 1
        if not turned and b.strides[-1] != 1 and n > 1:
            b = planner.contiguous(b)
        sources = _offsets(own, b.strides[:-2])
        table = planner.table(
            number
            for index, offset in enumerate(sources)
            for number in (offset, index * each)
        )
        fields: list[Argument] = [
            b,
            b.strides[-2],
            b.strides[-1],
            panels,
            k,
            n,
            count,
            table,
        ]
        planner.step(
            self._packs[turned], fields, matrices * count, [b], [panels],
            work=matrices * n * k,
        )  # fmt: skip
        places = _offsets(lead, _broadcast_strides(own, contiguous_strides(own), lead))
        return [place * each for place in places], panels

    def _operand(
        self,
        planner: Planner,
        layout: Layout,
        whole: tuple[int, ...],
        shape: tuple[int, ...],
        wide: bool,
    ) -> Layout:
        """Return an operand of the epilogue over [batch…, M, N]."""
        spread = layout.broadcast(shape)
        found = spread.reshaped(whole)
        if found is None:
            found = planner.contiguous(spread).reshaped(whole)
        if found is None:
            raise Unplannable(f"{layout.shape} does not follow {whole}")
        stride = found.strides[-1]
        if whole[-1] > 1 and stride != (1 if wide else 0):
            if not wide:
                raise Unplannable(f"{layout.shape} has a value per column")
            found = planner.contiguous(found)
        return found

    def _add(
        self,
        planner: Planner,
        a: Layout,
        panels: Layout,
        b_table: list[int],
        out: Layout,
        operands: Sequence[Layout],
        sizes: tuple[int, int, int],
        lead: tuple[int, ...],
    ) -> None:
        m, n, k = sizes
        batch = prod(lead)
        cut = gemm.blocking(m, n, k, batch, self._width)
        direct = self._epilogue is None or out.element == "float"
        columns = [
            _offsets(lead, a.strides[:-2]),
            b_table,
            _offsets(lead, out.strides[:-2]) if direct else [0] * batch,
            _offsets(lead, out.strides[:-2]),
            *(_offsets(lead, operand.strides[:-2]) for operand in operands),
        ]
        offsets = planner.table(
            number for row in zip(*columns, strict=True) for number in row
        )
        bias = planner.bias(self._bias, -(-n // self._width) * self._width)
        table = planner.tile_table(self._tiles)
        row = out.strides[-2] if m > 1 else n
        fields: list[Argument] = [
            a, a.strides[-2] * 4, panels, out if direct else None, row, m, n, k, bias,
            cut.k_block, cut.rows, cut.blocks, cut.panels, cut.groups, table, offsets,
            out, row,
        ]  # fmt: skip
        for operand in operands:
            fields += [operand, operand.strides[-2] if m > 1 else 0]
        scratch = 0 if direct else cut.rows * cut.panels * self._width * 4
        planner.step(
            self._spec,
            fields,
            batch * cut.blocks * cut.groups,
            [a, panels, *operands],
            [out],
            scratch,
            float(batch) * m * n * k,
        )


def _vectors(target: Target, columns: int | None) -> int:
    """Return the width of panels, in vectors, that wastes least of so many columns."""
    usual = max(shapes(target), key=lambda v: (shapes(target)[v] * v, v == 3))
    if columns is None:
        return usual
    lanes = target.lanes

    def padded(vectors: int) -> int:
        return -(-columns // (lanes * vectors)) * lanes * vectors

    return min(
        shapes(target), key=lambda v: (padded(v) / _EFFICIENCY.get(v, 1.0), v != usual)
    )


_EFFICIENCY = {1: 0.6, 2: 0.93, 3: 1.0, 4: 0.97}
"""How fast panels of a width are, relative to the best."""


def _is_wide(value: Value, result: Value) -> bool:
    shape, whole = value.shape or (), result.shape or ()
    if not shape:
        return False
    return bool(shape[-1] != 1 or whole[-1] == 1)


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return tuple(np.broadcast_shapes(a, b))
    except ValueError as error:
        raise Unplannable(str(error)) from error


def _broadcast_strides(
    shape: tuple[int, ...], strides: tuple[int, ...], into: tuple[int, ...]
) -> tuple[int, ...]:
    extra = len(into) - len(shape)
    own = (0 if d == 1 else s for d, s in zip(shape, strides, strict=True))
    return (*((0,) * extra), *own)


def _offsets(shape: tuple[int, ...], strides: Sequence[int]) -> list[int]:
    """Return the offset of each index of a shape, in C order."""
    found = [0]
    for dim, stride in zip(shape, strides, strict=True):
        found = [base + i * stride for base in found for i in range(dim)]
    return found
