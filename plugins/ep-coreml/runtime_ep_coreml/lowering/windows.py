"""What convolutions and pools have in common: padding, strides and sizes of windows."""

from __future__ import annotations

from typing import Any

from runtime_ep_coreml.scope import Handle, Refused, Scope

PAD_TYPES = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}


def numbers(at: Scope, name: str, count: int, default: int = 1) -> list[int]:
    """Return an attribute with one number for each axis."""
    return [int(n) for n in at.attr(name) or [default] * count]


def padding(at: Scope, count: int) -> dict[str, Any]:
    """Return the arguments that say how an image is padded."""
    auto = at.attr("auto_pad", "NOTSET") or "NOTSET"
    if auto in PAD_TYPES:
        return {"pad_type": PAD_TYPES[auto]}
    return {"pad_type": "custom", "pad": interleaved(around(at, count))}


def around(at: Scope, count: int) -> list[tuple[int, int]]:
    """Return the explicit padding before and after each axis."""
    pads = numbers(at, "pads", 2 * count, 0)
    if min(pads) < 0:
        raise Refused("pads below zero are not supported")
    return list(zip(pads[:count], pads[count:], strict=True))


def interleaved(pads: list[tuple[int, int]]) -> list[int]:
    """Return padding as MIL orders it: before and after, axis by axis."""
    return [number for pair in pads for number in pair]


def axes_of(at: Scope, x: Handle) -> int:
    """Return how many axes windows slide along."""
    count = at.rank(x) - 2
    if not 1 <= count <= 3:
        raise Refused(f"rank {count + 2} is not supported, only 3 to 5")
    return count
