"""Products of matrices: MatMul and Gemm, with what follows as an epilogue."""

from __future__ import annotations

from functools import partial
from math import prod

from runtime.graph import Node, Value

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import movement
from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import Expression, Instruction
from runtime_ep_cuda.dtypes import FLOATS, Dtype, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.operations import Pointwise, Product, Spec
from runtime_ep_cuda.planner import Planner, broadcast
from runtime_ep_cuda.steps import behind as inside
from runtime_ep_cuda.steps import epilogue
from runtime_ep_cuda.steps.behind import Behind
from runtime_ep_cuda.steps.elementwise import finish, value_after
from runtime_ep_cuda.steps.epilogue import Follower
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.tensor import Tensor


def of_floats(node: Node) -> str:
    """Refuse anything but floats, all of one type."""
    types = {dtype_of(value) for value in node.inputs if value is not None}
    if len(types) == 1 and types <= FLOATS:
        return ""
    return f"{node.op_type} of these element types is not supported"


def matmul(planner: Planner, group: Group) -> None:
    """Plan a MatMul, broadcast over batches as NumPy does."""
    node = anchor_of(group)
    a, b = factors(planner, node)
    multiply(planner, group, a, b)


def gemm(planner: Planner, group: Group, behind: Behind = ()) -> None:
    """Plan a Gemm: alpha a b + beta c, either factor transposed.

    ``behind`` is what the anchor does itself after it.
    """
    node = anchor_of(group)
    a, b = factors(planner, node)
    if a.rank != 2 or b.rank != 2:
        raise Unplannable(f"{list(a.shape)} and {list(b.shape)} are no two matrices")
    a = a.transposed((1, 0)) if node.attribute("transA", 0) else a
    b = b.transposed((1, 0)) if node.attribute("transB", 0) else b
    c, beta = node.input(2), float(node.attribute("beta", 1.0))
    alpha = float(node.attribute("alpha", 1.0))
    bias = None if c is None or beta == 0 else _scaled(planner, c, beta)
    multiply(planner, group, a, b, alpha, bias, behind)


def _scaled(planner: Planner, c: Value, beta: float) -> Tensor:
    if beta == 1:
        return planner.tensor(c)
    if c.is_constant:
        return planner.weight(
            c, ("times", beta), lambda array: array * array.dtype.type(beta)
        )

    source = planner.tensor(c)
    made = planner.new(source.dtype, source.shape)
    steps = (
        Instruction("constant", (), (("type", "float32"), ("value", beta))),
        Instruction("multiply", (0, 1)),
    )
    planner.launch(elementwise(Expression(1, steps, (2,)), [source], [made]))
    return made


def factors(planner: Planner, node: Node) -> tuple[Tensor, Tensor]:
    """Return both factors in the type that the result is kept in."""
    dtype = planner.storage(node.outputs[0])
    a, b = (planner.typed(planner.tensor(v), dtype) for v in node.inputs[:2])
    return a, b


def multiply(
    planner: Planner,
    group: Group,
    a: Tensor,
    b: Tensor,
    alpha: float = 1.0,
    bias: Tensor | None = None,
    behind: Behind = (),
) -> None:
    """Multiply, and do as much of what follows as a library does in one go.

    ``behind`` is what the anchor does itself after the product and its bias.
    """
    shape, wide_a, wide_b = batched(planner, a, b)
    batch, rows = wide_a.shape[:2]
    columns = wide_b.shape[2]
    under = (batch, rows, columns)

    if 0 in (*under, wide_a.shape[2]):
        _nothing(planner, group, shape, bias, behind)
        return
    bare = Product(
        Spec.of(wide_a),
        Spec.of(wide_b),
        Spec.of(planner.new(a.dtype, under)),
        alpha,
        tf32=planner.setting.tf32 and a.dtype.name == "float32",
    )
    fit = partial(_fitting, a.dtype, shape, under)
    before = [] if bias is None else [_bias(fit, planner.typed(bias, a.dtype))]
    inputs = (wide_a, wide_b)

    def place(value: Value | None) -> tuple[Tensor, Tensor]:
        return _placed(planner, value, a.dtype, shape, under)

    if not inside.done(planner, group, bare, inputs, before, behind, fit, place):
        raise Unplannable(
            f"no library multiplies {list(a.shape)} by {list(b.shape)} of {a.dtype}"
        )


def _fitting(
    dtype: Dtype, shape: tuple[int, ...], under: tuple[int, ...], operand: Tensor
) -> Tensor | None:
    """Return an operand as it lies under a library's result, if it does."""
    if operand.dtype != dtype or broadcast([operand.shape, shape]) != shape:
        return None
    return operand.broadcast(shape).reshaped(under)


def _placed(
    planner: Planner,
    value: Value | None,
    dtype: Dtype,
    shape: tuple[int, ...],
    under: tuple[int, ...],
) -> tuple[Tensor, Tensor]:
    """Return where a product is written, and how a library sees that."""
    made = planner.new(dtype, shape) if value is None else planner.result(value, shape)
    seen = made.reshaped(under)
    if seen is None:
        raise Unplannable(f"{shape} is no batch of matrices")
    return made, seen


def _bias(fit: epilogue.Fit, bias: Tensor) -> Follower:
    operand = fit(bias)
    if operand is None:
        raise Unplannable(f"{list(bias.shape)} is no summand of the product")
    return Follower((Pointwise("add"),), operand)


_SUM = Expression(2, (Instruction("add", (0, 1)),), (2,))


def _nothing(
    planner: Planner,
    group: Group,
    shape: tuple[int, ...],
    bias: Tensor | None,
    behind: Behind,
) -> None:
    """Plan a product without elements, or sums of none, which are zero and the bias."""
    if behind:
        raise Unplannable("an empty product with an activation of its own")
    made = planner.result(value_after(group, 0), shape)
    planner.launch(movement.fill(made, 0))
    if bias is not None:
        planner.launch(elementwise(_SUM, [made, bias], [made]))
    finish(planner, group)


def batched(
    planner: Planner, a: Tensor, b: Tensor
) -> tuple[tuple[int, ...], Tensor, Tensor]:
    """Return the result's shape and both factors as (batch, rows, columns)."""
    if not a.rank or not b.rank:
        raise Unplannable("a scalar is no factor of MatMul")
    row, column = a.rank == 1, b.rank == 1
    a = a.broadcast((1, *a.shape)) if row else a
    b = b.broadcast((1, *b.shape)).transposed((1, 0)) if column else b
    if a.shape[-1] != b.shape[-2]:
        raise Unplannable(f"{list(a.shape)} by {list(b.shape)} is no product")
    batch = broadcast([a.shape[:-2], b.shape[:-2]])
    rows, inner, columns = a.shape[-2], a.shape[-1], b.shape[-1]
    shape = (*batch, *(() if row else (rows,)), *(() if column else (columns,)))
    if prod(b.shape[:-2]) == 1:
        flat = a.reshaped((1, prod(a.shape[:-1]), inner))
        if flat is not None:
            b = planner.reshape(b, (1, *b.shape[-2:]))
            return shape, _steady(planner, flat), _steady(planner, b)
    count = prod(batch)
    wide_a = planner.reshape(a.broadcast((*batch, rows, inner)), (count, rows, inner))
    if prod(b.shape[:-2]) == 1:
        wide_b = planner.reshape(b, (1, inner, columns))
    else:
        full = b.broadcast((*batch, inner, columns))
        wide_b = planner.reshape(full, (count, inner, columns))
    return shape, _steady(planner, wide_a), _steady(planner, wide_b)


def _steady(planner: Planner, matrix: Tensor) -> Tensor:
    """Return matrices whose elements lie side by side along rows or columns."""
    _, rows, columns = matrix.shape
    by_row = matrix.strides[2] == 1 and matrix.strides[1] >= columns
    by_column = matrix.strides[1] == 1 and matrix.strides[2] >= rows
    short = (rows == 1 and matrix.strides[2] == 1) or (
        columns == 1 and matrix.strides[1] == 1
    )
    return matrix if by_row or by_column or short else planner.copy(matrix)
