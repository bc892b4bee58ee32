"""Matrix products of domain com.microsoft: transposed, scaled and quantized ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops.matmul import matmul, matmul_integer
from runtime_ep_cpu.ops.quantize import dynamic_quantize_linear

table = KernelTable()

MS = "com.microsoft"


@table("FusedMatMul", since=1, domain=MS)
def fused_matmul(
    a,
    b,
    /,
    *,
    alpha=1.0,
    transA=0,  # noqa: N803
    transB=0,  # noqa: N803
    transBatchA=0,  # noqa: N803
    transBatchB=0,  # noqa: N803
):
    """FusedMatMul: ``alpha * A' @ B'``; a batch transpose moves axis 0 next to last."""
    y = matmul(_turned(a, transA, transBatchA), _turned(b, transB, transBatchB))
    if alpha == 1:
        return y
    with np.errstate(all="ignore"):
        return (y * alpha).astype(y.dtype, copy=False)


def _turned(x: Any, last: int, batch: int) -> Any:
    if x.ndim < 2:
        return x
    if batch:
        x = namespace_of(x).moveaxis(x, 0, -2)
    return x.swapaxes(-1, -2) if last else x


@table("MatMulIntegerToFloat", since=1, domain=MS)
def matmul_integer_to_float(
    a, b, a_scale, b_scale, a_zero_point=None, b_zero_point=None, bias=None, /
):
    """MatMulIntegerToFloat: an exact 8-bit product, scaled to floats."""
    total = matmul_integer(a, b, a_zero_point, b_zero_point)
    with np.errstate(all="ignore"):
        y = total.astype(a_scale.dtype) * (a_scale * b_scale)
        if bias is not None:
            y += bias
    return y


@table("DynamicQuantizeMatMul", since=1, domain=MS)
def dynamic_quantize_matmul(a, b, b_scale, b_zero_point=None, bias=None, /):
    """DynamicQuantizeMatMul: ``a`` is quantized to uint8 by its range first."""
    quantized, a_scale, a_zero_point = dynamic_quantize_linear(a)
    return matmul_integer_to_float(
        quantized, b, a_scale, b_scale, a_zero_point, b_zero_point, bias
    )


@table("Inverse", since=1, domain=MS)
def inverse(x, /):
    """Inverse: of a matrix, or of each matrix in a batch."""
    xp = namespace_of(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"an inverse needs square matrices, found {list(x.shape)}")
    try:
        with np.errstate(all="ignore"):
            return xp.linalg.inv(x)
    except np.linalg.LinAlgError as error:
        raise ValueError(f"a matrix cannot be inverted: {error}") from None


@table("CDist", since=1, domain=MS)
def cdist(a, b, /, *, metric="sqeuclidean"):
    """CDist: distances of all rows of A [M, N] to all of B [K, N].

    Only the metrics that onnxruntime has: ``sqeuclidean`` and ``euclidean``.
    """
    if metric not in ("sqeuclidean", "euclidean"):
        raise ValueError(f"there is no distance {metric!r}")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"matrices {list(a.shape)} and {list(b.shape)} need as many columns"
        )
    xp = namespace_of(a, b)
    check_size((len(a), len(b)), a.dtype)
    with np.errstate(all="ignore"):
        lengths = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)
        squares = xp.maximum(lengths - 2 * (a @ b.T), 0)
        return squares if metric == "sqeuclidean" else xp.sqrt(squares)
