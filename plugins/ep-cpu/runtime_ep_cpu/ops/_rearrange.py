"""Operators that put a tensor's elements elsewhere: blocks, triangles, reversals."""

from __future__ import annotations

from typing import Any

from runtime.kernels import KernelTable

from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._axes import scalar

table = KernelTable()


@table("Trilu", since=14, traits=("moves",))
def trilu(x, k=None, /, *, upper=1):
    """Trilu: the upper or lower triangle of the last two axes, zeros elsewhere."""
    if x.ndim < 2:
        raise ValueError(f"rank 2 or more is expected, found {x.ndim}")
    xp = namespace_of(x)
    rows, columns = x.shape[-2:]
    diagonal = 0 if k is None else int(scalar(k, "k"))
    diagonal = min(max(diagonal, -rows), columns)
    offset = xp.arange(columns) - xp.arange(rows)[:, None]
    kept = offset >= diagonal if upper else offset <= diagonal
    return xp.where(kept, x, xp.zeros((), x.dtype))


@table("DepthToSpace", since=1, traits=("moves",))
def depth_to_space_1(x, /, *, blocksize):
    """DepthToSpace before opset 11: the depth holds (row, column, channel)."""
    return depth_to_space(x, blocksize=blocksize)


@table("DepthToSpace", since=11, traits=("moves",))
def depth_to_space(x, /, *, blocksize, mode="DCR"):
    """DepthToSpace: (N, C·b·b, H, W) to (N, C, H·b, W·b)."""
    n, c, h, w = _image(x, blocksize, mode)
    b = blocksize
    if c % (b * b):
        raise ValueError(f"{c} channels do not split into blocks of {b} by {b}")
    depth = c // (b * b)
    if mode == "DCR":
        parts = x.reshape(n, b, b, depth, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, depth, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, depth, h * b, w * b)


@table("SpaceToDepth", since=1, traits=("moves",))
def space_to_depth_1(x, /, *, blocksize):
    """SpaceToDepth before opset 28: the depth holds (row, column, channel)."""
    return space_to_depth(x, blocksize=blocksize)


@table("SpaceToDepth", since=28, traits=("moves",))
def space_to_depth(x, /, *, blocksize, mode="DCR"):
    """SpaceToDepth: (N, C, H·b, W·b) to (N, C·b·b, H, W)."""
    n, c, h, w = _image(x, blocksize, mode)
    b = blocksize
    if h % b or w % b:
        raise ValueError(f"{h} by {w} pixels do not split into blocks of {b} by {b}")
    parts = x.reshape(n, c, h // b, b, w // b, b)
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return parts.transpose(order).reshape(n, c * b * b, h // b, w // b)


def _image(x: Any, blocksize: int, mode: str) -> tuple[int, int, int, int]:
    if x.ndim != 4:
        raise ValueError(f"the shape N, C, H, W is expected, found {list(x.shape)}")
    if blocksize < 1 or mode not in ("DCR", "CRD"):
        raise ValueError(f"blocksize {blocksize} with mode {mode!r} is not possible")
    return x.shape


@table("ReverseSequence", since=10, traits=("moves",))
def reverse_sequence(x, sequence_lens, /, *, batch_axis=1, time_axis=0):
    """ReverseSequence: the first ``sequence_lens[i]`` steps of batch i, reversed."""
    if x.ndim < 2 or {batch_axis, time_axis} != {0, 1}:
        raise ValueError(
            f"batch_axis {batch_axis} and time_axis {time_axis} must be 0 and 1 of "
            f"rank 2 or more, found the shape {list(x.shape)}"
        )
    xp = namespace_of(x)
    lengths = xp.asarray(sequence_lens)
    batch, steps = x.shape[batch_axis], x.shape[time_axis]
    if lengths.shape != (batch,):
        raise ValueError(
            f"sequence_lens has the shape {list(lengths.shape)} for a batch of {batch}"
        )
    if batch and not 0 <= int(lengths.min()) <= int(lengths.max()) <= steps:
        raise ValueError(f"a sequence length lies outside 0 to {steps}")
    time = xp.arange(steps)[:, None]
    source = xp.where(time < lengths, lengths - 1 - time, time)
    if time_axis == 0:
        return x[source, xp.arange(batch)]
    return x[xp.arange(batch)[:, None], source.T]
