"""Between floats and integers of eight bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.graph import Node

from runtime_ep_coreml.guards import floating
from runtime_ep_coreml.scope import LIMITS, Handle, Refused, Scope
from runtime_ep_coreml.table import lowers

EIGHT = {2: np.uint8, 3: np.int8}


def _whole(node: Node) -> str:
    return "blocks of scales are not supported" if node.attribute("block_size") else ""


def _axis(at: Scope, x: Handle, scale: Handle) -> int | None:
    """Return the axis that scales lie along; ``None`` for a single scale."""
    if at.rank(scale) > 1:
        raise Refused("blocks of scales are not supported")
    if at.rank(scale) == 0 or at.fixed(scale) == (1,):
        return None
    return at.axis(x, 1)


def _spread(at: Scope, value: Handle, rank: int, axis: int | None) -> Handle:
    """Return a scale or zero point as it broadcasts with its data."""
    if axis is None:
        return at.reshape(value, [1] * rank) if at.rank(value) else value
    shape = [1] * rank
    shape[axis] = -1
    return at.reshape(value, shape)


def _native(at: Scope, axis: int | None, dtype: int) -> dict[str, Any] | None:
    """Return the arguments of MIL's own operation where scale and zero are constants."""
    scale, zero = at.known(1), at.known(2)
    if scale is None or (at.has(2) and zero is None) or dtype not in EIGHT:
        return None
    if (np.asarray(scale) <= 0).any():
        return None
    given: dict[str, Any] = {"scale": np.asarray(scale)}
    if zero is not None:
        given["zero_point"] = np.asarray(zero).astype(EIGHT[dtype])
    if axis is None:
        return {name: array.reshape(()) for name, array in given.items()}
    return {**given, "axis": axis}


@lowers("QuantizeLinear", guards=(floating, _whole), since=10)
def quantize(at: Scope) -> Handle:
    """Divided by a scale, rounded, shifted by a zero point and cut off."""
    x, scale, to = at.x(), at.x(1), at.made
    if to not in LIMITS:
        raise Refused("only integers of 8 and 16 bits are supported")
    axis = _axis(at, x, scale)
    given = _native(at, axis, to)
    if given is not None and at.kind(x) == at.kind(scale):
        name = "uint8" if to == 2 else "int8"
        return at.op("quantize", input=x, output_dtype=name, **given)
    rank = at.rank(x)
    wide = at.cast(x, at.kind(scale))
    steps = at.op("real_div", x=wide, y=_spread(at, scale, rank, axis))
    made = at.op("round", x=steps)
    if at.has(2):
        zero = at.cast(at.x(2), at.kind(scale))
        made = at.op("add", x=made, y=_spread(at, zero, rank, axis))
    return at.cast(_cut(at, made, to), "int32")


def _cut(at: Scope, x: Handle, to: int) -> Handle:
    low, high = LIMITS[to]
    return at.op("clip", x=x, alpha=at.like(x, low), beta=at.like(x, high))


@lowers("DequantizeLinear", guards=(_whole,), since=10)
def dequantize(at: Scope) -> Handle:
    """Less a zero point, times a scale; constants stay in eight bits in the package."""
    scale = at.x(1)
    kept, dtype = at.known(0), at.dtype()
    x = at.raw(0)
    axis = _axis(at, x, scale)
    given = _native(at, axis, dtype)
    if given is not None and at.kind(scale) in ("fp32", "fp16"):
        narrow = EIGHT[dtype]
        given.setdefault("zero_point", narrow(0))
        if kept is not None and kept.ndim:
            data = np.asarray(kept).astype(narrow)
            return at.op(
                "constexpr_affine_dequantize", quantized_data=data,
                axis=given.pop("axis", 0), **given,
            )  # fmt: skip
        if kept is None:
            name = "uint8" if dtype == 2 else "int8"
            if axis is not None and given["zero_point"].ndim == 0:
                given["zero_point"] = np.full_like(given["scale"], 0, dtype=narrow)
            return at.op("dequantize", input=_as(at, x, name), **given)
    rank = at.rank(x)
    wide = at.widened(x)
    if at.has(2):
        wide = at.op("sub", x=wide, y=_spread(at, at.x(2), rank, axis))
    return at.op(
        "mul", x=at.cast(wide, at.kind(scale)), y=_spread(at, scale, rank, axis)
    )


def _as(at: Scope, x: Handle, kind: str) -> Handle:
    return x if at.kind(x) == kind else at.op("cast", x=x, dtype=kind)


@lowers("DynamicQuantizeLinear", guards=(floating,), since=11)
def dynamic(at: Scope) -> Any:
    """Quantized by the range of the data, which includes zero."""
    x = at.x()
    axes = list(range(at.rank(x)))
    zero = at.like(x, 0)
    low = at.op(
        "minimum", x=at.op("reduce_min", x=x, axes=axes, keep_dims=False), y=zero
    )
    high = at.op(
        "maximum", x=at.op("reduce_max", x=x, axes=axes, keep_dims=False), y=zero
    )
    width = at.op("sub", x=high, y=low)
    scale = at.op("real_div", x=width, y=at.like(x, 255))
    flat = at.cast(at.op("equal", x=width, y=zero), at.kind(x))
    divisor = at.op("add", x=scale, y=flat)
    start = at.op("real_div", x=at.op("mul", x=low, y=at.like(x, -1)), y=divisor)
    point = _cut(at, at.op("round", x=start), 2)
    steps = at.op("round", x=at.op("real_div", x=x, y=divisor))
    made = _cut(at, at.op("add", x=steps, y=point), 2)
    return at.cast(made, "int32"), scale, at.cast(point, "int32")
