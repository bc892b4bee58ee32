"""Pools: maxima, means and norms of windows."""

from __future__ import annotations

from typing import Any

from runtime_ep_coreml.guards import attribute, floating, ones, outputs, ranks
from runtime_ep_coreml.lowering.windows import (
    PAD_TYPES,
    around,
    axes_of,
    interleaved,
    numbers,
)
from runtime_ep_coreml.scope import Handle, Refused, Scope
from runtime_ep_coreml.table import lowers

WINDOWS = (floating, ranks(3), ones("dilations"))


@lowers("MaxPool", guards=(*WINDOWS, outputs(1, "Indices")))
def max_pool(at: Scope) -> Handle:
    """The largest of each window."""
    x = at.x()
    arguments, _ = _window(at, x)
    return at.op("max_pool", x=x, **arguments)


@lowers("AveragePool", guards=WINDOWS)
def average_pool(at: Scope) -> Handle:
    """The mean of each window, of what is in the image or with its padding."""
    x = at.x()
    arguments, extra = _window(at, x)
    padded = bool(at.attr("count_include_pad", 0))
    if padded and extra:
        raise Refused("ceil_mode with count_include_pad is not supported")
    return at.op("avg_pool", x=x, exclude_padding_from_average=not padded, **arguments)


@lowers("LpPool", guards=(*WINDOWS, attribute("p", None, 2)), since=2)
def norm_pool(at: Scope) -> Handle:
    """The Euclidean norm of each window."""
    x = at.x()
    if at.rank(x) > 4:
        raise Refused("rank 5 is not supported, only 3 and 4")
    arguments, _ = _window(at, x)
    return at.op("l2_pool", x=x, **arguments)


def _window(at: Scope, x: Handle) -> tuple[dict[str, Any], bool]:
    """Return the arguments of a pool, and whether it is padded more than was said.

    With ``ceil_mode`` the image is padded at its end, until a last window begins in it.
    """
    count = axes_of(at, x)
    kernel = numbers(at, "kernel_shape", count)
    strides = numbers(at, "strides", count)
    found: dict[str, Any] = {"kernel_sizes": kernel, "strides": strides}
    auto = at.attr("auto_pad", "NOTSET") or "NOTSET"
    if auto in PAD_TYPES and not (auto == "VALID" and at.attr("ceil_mode", 0)):
        return {**found, "pad_type": PAD_TYPES[auto]}, False
    pads = around(at, count)
    extra = [0] * count
    if at.attr("ceil_mode", 0):
        sizes = at.fixed(x)[2:]
        extra = [
            _missing(size, window, stride, pad)
            for size, window, stride, pad in zip(
                sizes, kernel, strides, pads, strict=True
            )
        ]
    pads = [(pad[0], pad[1] + more) for pad, more in zip(pads, extra, strict=True)]
    return {**found, "pad_type": "custom", "pad": interleaved(pads)}, any(extra)


def _missing(size: int, window: int, stride: int, pad: tuple[int, int]) -> int:
    """Return what an axis lacks for the windows that rounding up asks for."""
    whole = size + sum(pad) - window
    count = -(-whole // stride) + 1
    if (count - 1) * stride >= size + pad[0]:
        count -= 1
    return max((count - 1) * stride - whole, 0)
