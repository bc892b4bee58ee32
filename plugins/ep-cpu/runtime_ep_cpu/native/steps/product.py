"""MatMul and Gemm, with what follows element by element."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from runtime.graph import Node, Value

from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.strassen import has_rows
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import Layout, Unplannable
from runtime_ep_cpu.native.packing import Request
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.native.steps.elementwise import common_shape, result_layout
from runtime_ep_cpu.native.steps.epilogue import Addend, epilogue_of, operand_layout
from runtime_ep_cpu.native.steps.matrix import Matrix
from runtime_ep_cpu.native.steps.view import reshaped


class ProductStep:
    """``epilogue(A · B + bias)``; B is packed once where it is a constant matrix."""

    def __init__(self, group: Group, target: Target, strassen: str) -> None:
        if group.anchor is None:
            raise ValueError("a product has an anchor")
        node = group.anchor
        self._a: Value = node.inputs[0]  # type: ignore[assignment]
        self._b: Value = node.inputs[1]  # type: ignore[assignment]
        self._turned = [bool(node.attribute(name, 0)) for name in ("transA", "transB")]
        columns = self._columns()
        self._epilogue = epilogue_of(
            node.outputs[0], group.after, columns, _addend(node)
        )
        elements = (element_of(self._a) or "float", element_of(self._b) or "float")
        operands = [element_of(v) or "float" for v in self._epilogue.operands]
        packed = self._turned[1] if self._is_packed else None
        allowed = strassen == "auto" and self._is_packed
        depth = self._depth() if allowed else None
        self._matrix = Matrix(
            target, columns, elements, self._epilogue, operands, packed, depth
        )
        self.specs: Sequence[Spec] = self._matrix.specs
        self.packed = self._request(elements[1])

    def _columns(self) -> int | None:
        shape = self._b.shape or ()
        dim = 1 if len(shape) < 2 else shape[-2 if self._turned[1] else -1]
        return dim if isinstance(dim, int) else None

    def _depth(self) -> int | None:
        """Return the rows of B where A may have rows enough for large products."""
        rows = (self._a.shape or (None,))[:-1]
        known = not self._turned[0] and all(isinstance(dim, int) for dim in rows)
        if known and not has_rows(prod(rows)):
            return None
        shape = self._b.shape or ()
        dim = shape[-1 if self._turned[1] else -2] if len(shape) == 2 else None
        return dim if isinstance(dim, int) else None

    @property
    def _is_packed(self) -> bool:
        const = self._b.const if self._b.is_constant else None
        return const is not None and len(const.shape) == 2

    def _request(self, element: str) -> Request | None:
        """Return what is to be packed before the first run, if B allows it."""
        if not self._is_packed:
            return None
        matrix = self._matrix
        return Request(
            self._b, matrix.vectors, self._turned[1], element, matrix.width,
            matrix.has_forms,
        )  # fmt: skip

    def plan(self, planner: Planner) -> None:
        """Plan the product for the shapes at hand."""
        a = planner.layout(self._a)
        if self._turned[0]:
            a = a.transposed((1, 0))
        if self.packed is not None and len(a.shape) > 1:
            self._multiply_rows(planner, a, self.packed)
            return
        b = planner.layout(self._b) if self.packed is None else self.packed.layout
        if self._turned[1]:
            b = b.transposed((1, 0))
        vector_a, vector_b = len(a.shape) == 1, len(b.shape) == 1
        if vector_a:
            a = a.with_dims((1, *a.shape), (0, *a.strides))
        if vector_b:
            b = b.with_dims((*b.shape, 1), (*b.strides, 1))
        if a.shape[-1] != b.shape[-2]:
            raise Unplannable(f"{a.shape} and {b.shape} cannot be multiplied")
        lead = common_shape(a.shape[:-2], b.shape[:-2])
        whole = (*lead, a.shape[-2], b.shape[-1])
        shape = list(whole)
        if vector_a:
            del shape[-2]
        if vector_b:
            del shape[-1]
        self._place(planner, a, b, whole, tuple(shape))

    def _multiply_rows(self, planner: Planner, a: Layout, packed: Request) -> None:
        """Multiply all rows of A, whatever its batches, by a matrix that is packed."""
        k, n = packed.sizes
        *lead, m, columns = a.shape
        if columns != k:
            raise Unplannable(f"{a.shape} and {(k, n)} cannot be multiplied")
        rows = prod(lead) * m
        a = self._matrix.readable(planner, reshaped(planner, a, (rows, k)))
        panels = planner.panels(packed)
        if panels is None:
            raise Unplannable("B is not packed")
        self._finish(planner, a, panels, [0], (*lead, m, n), (rows, n))

    def _place(
        self,
        planner: Planner,
        a: Layout,
        b: Layout,
        whole: tuple[int, ...],
        shape: tuple[int, ...],
    ) -> None:
        """Take batches of one B as rows, lay out the result and multiply."""
        m, n, k = whole[-2], whole[-1], a.shape[-1]
        a = a.broadcast((*whole[:-2], m, k))
        if prod(b.shape[:-2]) == 1:
            m = prod(whole[:-1])
            a = reshaped(planner, a, (m, k))
            b = b.with_dims(b.shape[-2:], b.strides[-2:])
            whole = (m, n)
        a = self._matrix.readable(planner, a)
        panels, starts = self._matrix.panels(planner, b, whole[:-2], self.packed)
        self._finish(planner, a, panels, starts, shape, whole)

    def _finish(
        self,
        planner: Planner,
        a: Layout,
        panels: Layout,
        starts: list[int],
        shape: tuple[int, ...],
        whole: tuple[int, ...],
    ) -> None:
        """Multiply into a result of some shape, which is a batch of ``whole``."""
        out = result_layout(planner, self._epilogue.result, shape)
        placed = out.reshaped(whole)
        if placed is None:
            raise Unplannable(f"{shape} has no rows of {whole[-1]}")
        pairs = zip(self._epilogue.operands, self._epilogue.wide, strict=True)
        operands = [
            operand_layout(planner, value, shape, whole, wide) for value, wide in pairs
        ]
        source = None if self._turned[0] else self._a
        even = self.packed is not None and planner.is_even(self.packed)
        self._matrix.multiply(
            planner, a, panels, starts, placed, operands, source=source, even=even
        )


def _addend(node: Node) -> Addend:
    """Return what Gemm adds and how it scales; nothing of MatMul."""
    if node.op_type != "Gemm":
        return Addend()
    alpha, beta = (float(node.attribute(name, 1.0)) for name in ("alpha", "beta"))
    return Addend(node.input(2) if beta else None, beta, alpha)
