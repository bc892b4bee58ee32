"""Matrix products through BLAS: of floats, and of 8-bit integers exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._saturation import saturated

_EXACT = 1 << 24
"""Up to here every integer is a float32."""


def product(a: Any, b: Any, out: Any = None) -> Any:
    """Return the matrix product ``a @ b``, silent about infinities.

    A batch of matrices against one shared matrix becomes a single large product.
    """
    xp = namespace_of(a, b)
    a, b = _dense(xp, a), _dense(xp, b)
    with np.errstate(all="ignore"):
        if out is None and a.ndim > 2 and b.ndim == 2 and a.flags.c_contiguous:
            rows = xp.matmul(a.reshape(-1, a.shape[-1]), b) if a.size else None
            if rows is not None:
                return rows.reshape(*a.shape[:-1], b.shape[-1])
        return xp.matmul(a, b, out=out)


def _dense(xp: Any, a: Any) -> Any:
    """Copy a matrix that BLAS cannot read because neither of its axes is contiguous."""
    if a.ndim < 2:
        return a
    step, (rows, columns) = a.itemsize, a.strides[-2:]
    height, width = a.shape[-2:]
    by_rows = columns == step and rows >= step * width
    by_columns = rows == step and columns >= step * height
    return a if by_rows or by_columns else xp.ascontiguousarray(a)


def centred(x: Any, zero_point: Any) -> tuple[Any, int]:
    """Return 8-bit integers less their zero point, in float32, and their bound."""
    values = x.astype(np.float32)
    if zero_point is not None:
        values -= zero_point.astype(np.float32)
    return values, 128 if zero_point is None and x.dtype == np.int8 else 255


def exact_product(a: Any, b: Any, largest: int = 255 * 255, out: Any = None) -> Any:
    """Return ``a @ b`` as int32 for integers held in float32.

    ``largest`` bounds the size of one product of two elements. The sum is cut where
    float32 could begin to round; the parts are added as int32, which may wrap.
    """
    xp = namespace_of(a, b)
    depth, step = a.shape[-1], max(1, _EXACT // largest)
    total = product(a[..., :step], _rows(b, 0, step)).astype(np.int32)
    for start in range(step, depth, step):
        part = product(a[..., start : start + step], _rows(b, start, start + step))
        total += part.astype(np.int32)
    if out is None:
        return total
    xp.copyto(out, total)
    return out


def _rows(b: Any, start: int, stop: int) -> Any:
    return b[start:stop] if b.ndim == 1 else b[..., start:stop, :]


def requantize(total: Any, scale: Any, zero_point: Any) -> Any:
    """Return int32 sums scaled to 8 bits: rounded to even, shifted and saturated."""
    xp = namespace_of(total)
    values = xp.asarray(total, dtype=np.float32)
    with np.errstate(all="ignore"):
        values = xp.rint(values * scale)
        values = values + zero_point.astype(np.float32)
    return saturated(xp.asarray(values), zero_point.dtype)
