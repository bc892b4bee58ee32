"""Matrix products, Einstein sums and determinants."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._precision import wide
from runtime_ep_cpu.ops._products import centred, exact_product, product, requantize
from runtime_ep_cpu.ops._saturation import saturated

table = KernelTable()


@table("MatMul", since=1)
def matmul(a, b, /):
    """MatMul: ``numpy.matmul``; integers since opset 9."""
    return _fitting(product, a, b)


@table("Gemm", since=1)
def gemm_1(
    a,
    b,
    c,
    /,
    *,
    alpha=1.0,
    beta=1.0,
    broadcast=0,
    transA=0,  # noqa: N803
    transB=0,  # noqa: N803
):
    """Gemm of opset 1 to 6: ``c`` broadcasts only where ``broadcast`` is set."""
    shape = (a.shape[-1 if transA else 0], b.shape[0 if transB else -1])
    if not broadcast and c.shape != shape:
        raise ValueError(
            f"C of shape {list(c.shape)} is not the result's {list(shape)}, and "
            "broadcast is 0"
        )
    return gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)


@table("Gemm", since=7)
def gemm_7(
    a,
    b,
    c,
    /,
    *,
    alpha=1.0,
    beta=1.0,
    transA=0,  # noqa: N803
    transB=0,  # noqa: N803
):
    """Gemm of opset 7 to 10: ``c`` is needed, and broadcasts."""
    return gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)


@table("Gemm", since=11)
def gemm(a, b, c=None, /, *, alpha=1.0, beta=1.0, transA=0, transB=0):  # noqa: N803
    """Gemm: ``alpha * A' @ B' + beta * C``; ``C`` broadcasts, is optional."""
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"A and B must be matrices, found rank {a.ndim} and {b.ndim}")
    y = _fitting(product, a.T if transA else a, b.T if transB else b)
    with np.errstate(all="ignore"):
        if alpha != 1:
            y = (y * alpha).astype(a.dtype, copy=False)
        if c is not None and beta != 0:
            y += c if beta == 1 else (c * beta).astype(a.dtype, copy=False)
    return y


def _fitting(multiply: Any, a: Any, b: Any) -> Any:
    """Multiply after checking, in the operator's words, that the shapes fit."""
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("a matrix product takes no scalars")
    if a.shape[-1] != b.shape[0 if b.ndim == 1 else -2]:
        raise ValueError(
            f"shapes {list(a.shape)} and {list(b.shape)} do not fit a matrix product"
        )
    if a.ndim > 1 and b.ndim > 1:
        lead = (
            a.shape[:-2]
            if b.ndim == 2
            else np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        )
        check_size((*lead, a.shape[-2], b.shape[-1]), a.dtype)
    return multiply(a, b)


@table("Einsum", since=12)
def einsum(*inputs, equation):
    """Einsum: Einstein summation, two operands at a time and through BLAS."""
    xp = namespace_of(*inputs)
    _check_letters(equation.replace(" ", ""), inputs)
    with np.errstate(all="ignore"):
        y = xp.einsum(equation, *inputs, optimize=len(inputs) > 1)
    return xp.asarray(y, dtype=inputs[0].dtype)


def _check_letters(equation: str, inputs: Any) -> None:
    """Refuse a result too large, where the equation names each of its axes."""
    terms, _, result = equation.partition("->")
    if not result or "." in equation:
        return
    sizes: dict[str, int] = {}
    for term, x in zip(terms.split(","), inputs, strict=False):
        for letter, size in zip(term, x.shape, strict=False):
            sizes[letter] = max(size, sizes.get(letter, 0))
    check_size([sizes.get(letter, 1) for letter in result], inputs[0].dtype)


@table("Det", since=11)
def det(x, /):
    """Det: determinants of a matrix or of a batch of matrices."""
    xp = namespace_of(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"a determinant needs square matrices, found {list(x.shape)}")
    with np.errstate(all="ignore"):
        found = xp.linalg.det(x)
        undefined = xp.isnan(x).any(axis=(-2, -1))  # a pivot of NaN counts as none
        return xp.asarray(xp.where(undefined, np.nan, found), dtype=x.dtype)


@table("MatMulInteger", since=10)
def matmul_integer(a, b, a_zero_point=None, b_zero_point=None, /):
    """MatMulInteger: the exact int32 product of 8-bit integers less their zero points.

    ``a_zero_point`` is for all of A or one per row, ``b_zero_point`` one per column.
    """
    a, a_size = centred(a, _by_row(a_zero_point, a))
    b, b_size = centred(b, b_zero_point)
    return _fitting(lambda a, b: exact_product(a, b, a_size * b_size), a, b)


@table("QLinearMatMul", since=10, traits=("typed",))
def qlinear_matmul(
    a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point, /
):
    """QLinearMatMul: a product of quantized matrices, quantized again.

    8-bit floats and half-precision scales came in opset 21; those are multiplied as
    float32.
    """
    row = _by_row
    a_scale, y_scale = row(wide(a_scale), a), row(wide(y_scale), a)
    y_zero_point = row(y_zero_point, a)
    with np.errstate(all="ignore"):
        scale = a_scale * wide(b_scale) / y_scale
    if y_zero_point.dtype.kind in "iu":
        total = matmul_integer(a, b, a_zero_point, b_zero_point)
        return requantize(total, scale, y_zero_point)
    y = _fitting(
        product, wide(a) - wide(row(a_zero_point, a)), wide(b) - wide(b_zero_point)
    )
    with np.errstate(all="ignore"):
        y = y * scale + wide(y_zero_point)
    return saturated(y, y_zero_point.dtype)


def _by_row(values: Any, a: Any) -> Any:
    """Turn a vector with one entry per row of a matrix into a column."""
    if values is None or values.ndim != 1 or values.shape[0] == 1 or a.ndim < 2:
        return values
    return values[:, None]
