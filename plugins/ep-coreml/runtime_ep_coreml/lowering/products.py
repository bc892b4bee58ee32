"""Matrix products and contractions."""

from __future__ import annotations

import re

import numpy as np

from runtime_ep_coreml.guards import floating, same_kind
from runtime_ep_coreml.scope import Handle, Refused, Scope
from runtime_ep_coreml.table import lowers


@lowers("MatMul", guards=(floating, same_kind))
def matmul(at: Scope) -> Handle:
    """The product of matrices; vectors are matrices of one row or column."""
    return _product(at, at.x(), at.x(1))


def _product(at: Scope, a: Handle, b: Handle) -> Handle:
    row, column = at.rank(a) == 1, at.rank(b) == 1
    if row:
        a = at.op("expand_dims", x=a, axes=[0])
    if column:
        b = at.op("expand_dims", x=b, axes=[1])
    made = at.op("matmul", x=a, y=b)
    if column:
        made = at.op("squeeze", x=made, axes=[at.rank(made) - 1])
    if row:
        made = at.op("squeeze", x=made, axes=[at.rank(made) - (1 if column else 2)])
    return made


@lowers("Gemm", guards=(floating, same_kind), since=7)
def gemm(at: Scope) -> Handle:
    """alpha · A · B + beta · C, A and B possibly transposed."""
    alpha, beta = at.attr("alpha", 1.0), at.attr("beta", 1.0)
    a, b = at.x(), at.x(1)
    weight, bias = at.known(1), at.known(2)
    if weight is not None and alpha != 1.0:
        b, alpha = at.constant(weight * alpha, like=a), 1.0
    made = at.op(
        "matmul", x=a, y=b, transpose_x=bool(at.attr("transA", 0)),
        transpose_y=bool(at.attr("transB", 0)),
    )  # fmt: skip
    if alpha != 1.0:
        made = at.op("mul", x=made, y=at.like(made, alpha))
    if not at.has(2) or beta == 0.0:
        return made
    c = at.x(2) if bias is None else at.constant(bias * beta, like=a)
    if bias is None and beta != 1.0:
        c = at.op("mul", x=c, y=at.like(made, beta))
    return at.op("add", x=made, y=c)


@lowers("MatMulInteger", since=10)
def matmul_integer(at: Scope) -> Handle:
    """Products of small integers, summed exactly in float32."""
    exact_sums(at)
    a, b = at.x(), at.x(1)
    inner = at.sizes(a)[-1]
    if inner is None or inner * 255 * 255 >= 2**24:
        raise Refused("so many products of integers are not exact in float32")
    a, b = _less_zero(at, a, 2, -2), _less_zero(at, b, 3, -1)
    made = _product(at, at.cast(a, "fp32"), at.cast(b, "fp32"))
    return at.cast(made, "int32")


def exact_sums(at: Scope) -> None:
    """Refuse sums of integers where what is float32 here is computed in float16."""
    if at.emitter.halves:
        raise Refused("sums of integers are not exact in float16")


def _less_zero(at: Scope, x: Handle, index: int, axis: int) -> Handle:
    """Subtract a zero point: one for all, or one for each row or column."""
    if not at.has(index):
        return x
    point = at.x(index)
    if at.rank(point) == 1 and at.fixed(point) != (1,):
        shape = [1] * at.rank(x)
        shape[axis] = -1
        point = at.reshape(point, shape)
    return at.op("sub", x=x, y=point)


@lowers("Einsum", guards=(floating, same_kind), since=12)
def einsum(at: Scope) -> Handle:
    """One or two operands: sums, transposes and one product of matrices."""
    equation = at.attr("equation").replace(" ", "")
    if "." in equation:
        raise Refused("an equation with an ellipsis is not supported")
    left, _, out = equation.partition("->")
    terms = left.split(",")
    if "->" not in equation:
        seen = "".join(terms)
        out = "".join(sorted(c for c in set(seen) if seen.count(c) == 1))
    if len(terms) > 2 or any(len(set(t)) < len(t) for t in terms):
        raise Refused("more than two operands and diagonals are not supported")
    if not all(re.fullmatch("[A-Za-z]*", term) for term in terms):
        raise Refused(f"equation={equation!r} is not supported")
    operands = [
        _summed(
            at,
            at.x(index),
            term,
            set(out) | set("".join(terms[:index] + terms[index + 1 :])),
        )
        for index, term in enumerate(terms)
    ]
    if len(operands) == 1:
        x, term = operands[0]
        return _ordered(at, x, term, out)
    return _contracted(at, operands[0], operands[1], out)


def _summed(at: Scope, x: Handle, term: str, kept: set[str]) -> tuple[Handle, str]:
    """Return an operand summed along what nobody else names."""
    gone = [axis for axis, label in enumerate(term) if label not in kept]
    if not gone:
        return x, term
    if len(gone) == len(term):
        raise Refused("a sum of everything is not supported")
    x = at.op("reduce_sum", x=x, axes=gone, keep_dims=False)
    return x, "".join(label for label in term if label in kept)


def _ordered(at: Scope, x: Handle, term: str, out: str) -> Handle:
    moved = at.transpose(x, [term.index(label) for label in out])
    return moved if term != out else at.op("identity", x=x)


def _contracted(
    at: Scope, one: tuple[Handle, str], two: tuple[Handle, str], out: str
) -> Handle:
    (a, left), (b, right) = one, two
    batch = [c for c in left if c in right and c in out]
    inner = [c for c in left if c in right and c not in out]
    rows = [c for c in left if c not in right]
    columns = [c for c in right if c not in left]
    sizes = dict(zip(left + right, (*at.fixed(a), *at.fixed(b)), strict=True))

    def count(labels: list[str]) -> int:
        return int(np.prod([sizes[label] for label in labels]))

    a = _ordered(at, a, left, "".join(batch + rows + inner))
    b = _ordered(at, b, right, "".join(batch + inner + columns))
    a = at.reshape(a, [count(batch), count(rows), count(inner)])
    b = at.reshape(b, [count(batch), count(inner), count(columns)])
    made = at.op("matmul", x=a, y=b)
    order = batch + rows + columns
    if not order:
        return at.op("squeeze", x=made, axes=[0, 1, 2])
    made = at.reshape(made, [sizes[label] for label in order])
    return _ordered(at, made, "".join(order), out)
