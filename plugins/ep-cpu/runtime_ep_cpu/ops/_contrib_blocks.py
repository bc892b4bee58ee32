"""Block-wise quantized weights of com.microsoft: MatMulNBits, GatherBlockQuantized."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._precision import rounded, wide
from runtime_ep_cpu.ops._products import product

table = KernelTable()

MS = "com.microsoft"
BITS = (2, 4, 8)
WEIGHTS_AT_ONCE = 1 << 19
"""How many weights are unpacked before they are multiplied, to stay in cache."""


def unpacked(packed: Any, bits: int, count: int) -> Any:
    """Split bytes along the last axis into numbers, low bits first, in float32."""
    xp = namespace_of(packed)
    each = 8 // bits
    values = xp.empty((*packed.shape, each), np.float32)
    for part in range(each):
        values[..., part] = (packed >> (part * bits)) & ((1 << bits) - 1)
    return values.reshape(*packed.shape[:-1], -1)[..., :count]


@table("MatMulNBits", since=1, domain=MS)
@np.errstate(all="ignore")
def matmul_n_bits(
    a,
    b,
    scales,
    zero_points=None,
    g_idx=None,
    bias=None,
    /,
    *,
    K,  # noqa: N803
    N,  # noqa: N803
    accuracy_level=0,
    bits=4,
    block_size,
    weight_prepacked=0,
):
    """MatMulNBits: [..., K] times weights [N, K] of a few bits with scales per block.

    The weights are unpacked some rows at a time, never all at once, and multiplied in
    the type of ``a`` whatever ``accuracy_level`` allows. ``g_idx`` names the block of
    each of the K inputs, where they are not in order.
    """
    _check_packing(a, bits, block_size, K, weight_prepacked)
    blocks = -(-K // block_size)
    b, scales = b.reshape(N, blocks, -1), scales.reshape(N, blocks)
    zeros = _zero_points(zero_points, bits, N, blocks)
    xp = namespace_of(a, b)
    order = None if g_idx is None else xp.asarray(g_idx[:K])
    if order is not None and not bool(((order >= 0) & (order < blocks)).all()):
        raise ValueError(f"g_idx names a block outside of {blocks}")
    y = xp.empty((*a.shape[:-1], N), a.dtype)
    check_size(y.shape, y.dtype)
    step = max(1, WEIGHTS_AT_ONCE // max(1, K))
    for first in range(0, N, step):
        rows = slice(first, first + step)
        weights = unpacked(b[rows], bits, block_size)
        zero = zeros if zeros.ndim == 0 else zeros[rows, :, None]
        if order is None:
            weights -= zero
            weights *= scales[rows, :, None]
            weights = weights.reshape(len(weights), -1)[:, :K]
        else:
            weights = weights.reshape(len(weights), -1)[:, :K]
            weights -= zero if zeros.ndim == 0 else zeros[rows][:, order]
            weights *= scales[rows][:, order]
        y[..., rows] = product(a, weights.T.astype(a.dtype, copy=False))
    if bias is not None:
        with np.errstate(all="ignore"):
            y += bias
    return y


def _check_packing(a: Any, bits: int, block: int, depth: int, prepacked: int) -> None:
    if bits not in BITS:
        raise ValueError(f"weights of {bits} bits are not supported, only of {BITS}")
    if prepacked:
        raise ValueError("the weights are packed for another provider")
    if block < 16 or block & (block - 1):
        raise ValueError(f"block_size must be a power of two from 16 on, found {block}")
    if not a.ndim or a.shape[-1] != depth:
        raise ValueError(f"an input of shape {list(a.shape)} has not K = {depth}")


def _zero_points(given: Any, bits: int, rows: int, blocks: int) -> Any:
    """Return zero points [rows, blocks], or the one number they all are."""
    if given is None:
        return np.asarray(1 << (bits - 1), np.float32)
    if given.dtype == np.uint8:
        return unpacked(given.reshape(rows, -1), bits, blocks)
    return given.reshape(rows, blocks)


@table("GatherBlockQuantized", since=1, domain=MS, traits=("typed",))
@np.errstate(all="ignore")
def gather_block_quantized(
    data,
    indices,
    scales,
    zero_points=None,
    /,
    *,
    bits=4,
    block_size=128,
    gather_axis=0,
    quantize_axis=1,
):
    """GatherBlockQuantized: Gather, then dequantize only what was gathered.

    uint8 data holds ``bits`` per number, packed along the last axis; other types hold
    one number per element. Slices at indices out of range are zeros.
    """
    rank = data.ndim
    for name, axis in (("gather", gather_axis), ("quantize", quantize_axis)):
        if not -rank <= axis < rank:
            raise ValueError(f"{name}_axis {axis} is outside data of rank {rank}")
    gather, quantize = gather_axis % rank, quantize_axis % rank
    packed = data.dtype == np.uint8
    if packed and (bits not in BITS or gather != 0 or (bits < 8 and quantize == 0)):
        raise ValueError(
            f"uint8 data of {bits} bits cannot be gathered along axis {gather} and "
            f"quantized along axis {quantize}"
        )
    length = data.shape[gather]
    for name, part in (("scales", scales), ("zero_points", zero_points)):
        if part is not None and (
            part.ndim != rank or part.shape[gather] not in (1, length)
        ):
            raise ValueError(
                f"{name} of shape {list(part.shape)} do not fit data of shape "
                f"{list(data.shape)} along axis {gather}"
            )
    if not length and indices.size:
        raise ValueError(
            f"nothing can be gathered from data of shape {list(data.shape)}"
        )
    xp = namespace_of(data, indices)
    places = xp.where(indices < 0, indices + length, indices)
    known = (places >= 0) & (places < length)
    places = xp.where(known, places, 0)
    unit = bits if packed else 0
    values = _numbers(_taken(data, places, gather, length), unit)
    shift = gather - rank
    axis = quantize if quantize < gather else quantize + places.ndim - 1
    if zero_points is not None:
        zero = _numbers(_taken(zero_points, places, gather, length), unit)
        values -= _spread(zero, values, axis, block_size)
    elif packed:
        values -= np.float32(1 << (bits - 1))
    factor = wide(_taken(scales, places, gather, length))
    values *= _spread(factor, values, axis, block_size)
    if not known.all():
        shape = (1,) * gather + known.shape + (1,) * (-shift - 1)
        values *= known.reshape(shape)
    return rounded(values, scales.dtype)


def _taken(x: Any, places: Any, axis: int, length: int) -> Any:
    """Gather; a scale that is shared by all slices stays as it is."""
    shared = x.shape[axis] == 1 and length != 1
    return x.take(places * 0 if shared else places, axis=axis)


def _numbers(x: Any, bits: int) -> Any:
    if not bits or bits == 8:
        return x.astype(np.float32)
    return unpacked(x, bits, x.shape[-1] * 8 // bits)


def _spread(factors: Any, values: Any, axis: int, block: int) -> Any:
    """Repeat each block's factor along the quantized axis, to the values' length."""
    length = values.shape[axis]
    if factors.shape[axis] == 1 or not block:
        return factors
    wide_enough = factors.repeat(block, axis=axis)
    if wide_enough.shape[axis] < length:
        raise ValueError(
            f"{factors.shape[axis]} blocks of {block} are fewer than {length} numbers"
        )
    return wide_enough[(slice(None),) * axis + (slice(length),)]
