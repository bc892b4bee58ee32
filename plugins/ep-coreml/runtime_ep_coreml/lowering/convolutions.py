"""Convolutions along one, two or three axes, and their transposes."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime_ep_coreml.guards import floating, ranks
from runtime_ep_coreml.lowering.products import exact_sums
from runtime_ep_coreml.lowering.windows import (
    around,
    axes_of,
    interleaved,
    numbers,
    padding,
)
from runtime_ep_coreml.scope import Handle, Refused, Scope
from runtime_ep_coreml.table import lowers


@lowers("Conv", guards=(floating, ranks(3)))
def conv(at: Scope) -> Handle:
    """Filters sliding over images."""
    x, weight = at.x(), at.x(1)
    count = axes_of(at, x)
    given = {"bias": at.x(2)} if at.has(2) else {}
    if None in at.sizes(weight):
        raise Refused("the shape of the filters must be known")
    return at.op(
        "conv", x=x, weight=weight, **given, **padding(at, count),
        strides=numbers(at, "strides", count), groups=at.attr("group", 1),
        dilations=numbers(at, "dilations", count),
    )  # fmt: skip


@lowers("ConvTranspose", guards=(floating, ranks(3)))
def conv_transpose(at: Scope) -> Handle:
    """The transpose of a convolution.

    What ``output_padding`` adds beyond the padding is appended as zeros before the bias.
    """
    x, weight = at.x(), at.x(1)
    count = axes_of(at, x)
    pads, extra = _pads(at, x, weight, count)
    even = len(set(interleaved(pads))) == 1
    padding = {"pad_type": "custom", "pad": interleaved(pads)}
    made = at.op(
        "conv_transpose", x=x, weight=weight, strides=numbers(at, "strides", count),
        groups=at.attr("group", 1), dilations=numbers(at, "dilations", count),
        **(padding if even else {"pad_type": "valid"}),
    )  # fmt: skip
    if not even:
        made = _without(at, made, pads)
    if any(extra):
        ends = [
            number for pair in zip([0] * count, extra, strict=True) for number in pair
        ]
        made = at.op(
            "pad", x=made, pad=ends, mode="constant", constant_val=at.like(x, 0)
        )
    if not at.has(2):
        return made
    bias = at.reshape(at.x(2), [1, -1] + [1] * count)
    return at.op("add", x=made, y=bias)


def _without(at: Scope, x: Handle, pads: list[tuple[int, int]]) -> Handle:
    """Return a value cut at the ends of its axes.

    Core ML was seen to give one thing or another for padding that is not equal all round.
    """
    around = [(0, 0), (0, 0), *pads]
    if any(
        size is not None and size <= sum(pair)
        for size, pair in zip(at.sizes(x), around, strict=True)
    ):
        raise Refused("a value has no elements")
    begins, ends = zip(*around, strict=True)
    return at.op(
        "slice_by_index", x=x, begin=list(begins), end=[-end for end in ends],
        begin_mask=[begin == 0 for begin in begins],
        end_mask=[end == 0 for end in ends],
    )  # fmt: skip


def _pads(
    at: Scope, x: Handle, weight: Handle, count: int
) -> tuple[list[tuple[int, int]], list[int]]:
    """Return the padding of each axis, and what is appended to its end."""
    kernel = at.fixed(weight)[2:]
    strides = numbers(at, "strides", count)
    dilations = numbers(at, "dilations", count)
    more = numbers(at, "output_padding", count, 0)
    auto = at.attr("auto_pad", "NOTSET") or "NOTSET"
    wanted = at.attr("output_shape")
    if wanted is None and auto in ("NOTSET", "VALID"):
        pads = around(at, count) if auto == "NOTSET" else [(0, 0)] * count
    else:
        pads = []
        for axis, size in enumerate(at.fixed(x)[2:]):
            window = (kernel[axis] - 1) * dilations[axis] + 1
            out = wanted[axis] if wanted else size * strides[axis]
            total = strides[axis] * (size - 1) + more[axis] + window - out
            if total < 0:
                raise Refused("an output larger than its windows is not supported")
            small, large = total // 2, total - total // 2
            pads.append((small, large) if auto == "SAME_UPPER" else (large, small))
    ends = [pad - add for (_, pad), add in zip(pads, more, strict=True)]
    begins = [begin for begin, _ in pads]
    kept = [(begin, max(end, 0)) for begin, end in zip(begins, ends, strict=True)]
    return kept, [max(-end, 0) for end in ends]


@lowers("ConvInteger", guards=(ranks(3),), since=10)
def conv_integer(at: Scope) -> Any:
    """Products of small integers, summed exactly in float32."""
    exact_sums(at)
    weight = at.cast(_less_zero(at, 1, 3), "fp32")
    x = at.cast(_less_zero(at, 0, 2), "fp32")
    count = axes_of(at, x)
    taps = int(np.prod(at.fixed(weight)[1:]))
    if taps * 255 * 255 >= 2**24:
        raise Refused("so many products of integers are not exact in float32")
    made = at.op(
        "conv", x=x, weight=weight, **padding(at, count),
        strides=numbers(at, "strides", count), groups=at.attr("group", 1),
        dilations=numbers(at, "dilations", count),
    )  # fmt: skip
    return at.cast(made, "int32")


def _less_zero(at: Scope, index: int, zero: int) -> Handle:
    x = at.x(index)
    if not at.has(zero):
        return x
    point = at.x(zero)
    if at.rank(point) == 1 and at.fixed(point) != (1,):
        point = at.reshape(point, [-1] + [1] * (at.rank(x) - 1))
    return at.op("sub", x=x, y=point)
