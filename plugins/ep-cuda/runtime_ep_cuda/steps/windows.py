"""Windows that slide over images: sizes, pads and strides of convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.graph import Node

from runtime_ep_cuda.actions import Unplannable


@dataclass(frozen=True, slots=True)
class Window:
    """What slides, along each axis of the image."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]
    sizes: tuple[int, ...]
    """How many places it takes: the sizes of the result."""


def window_of(node: Node, image: Sequence[int], kernel: Sequence[int]) -> Window:
    """Return the window of a Conv or a pool over an image of given sizes.

    Raises `Unplannable` where attributes do not fit the image's rank.
    """
    rank = len(image)
    strides = _sizes(node, "strides", rank)
    dilations = _sizes(node, "dilations", rank)
    if len(kernel) != rank:
        raise Unplannable(
            f"a window of {list(kernel)} does not slide over {list(image)}"
        )
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    auto = node.attribute("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        begin, end, sizes = [], [], []
        for size, span, step in zip(image, spans, strides, strict=True):
            count = -(-size // step)
            pad = max((count - 1) * step + span - size, 0)
            first = pad // 2 if auto == "SAME_UPPER" else pad - pad // 2
            begin.append(first)
            end.append(pad - first)
            sizes.append(count)
    else:
        pads = [0] * (2 * rank) if auto == "VALID" else _pads(node, rank)
        begin, end = pads[:rank], pads[rank:]
        sizes = [
            _places(node, size + a + b, span, step, a, size)
            for size, a, b, span, step in zip(
                image, begin, end, spans, strides, strict=True
            )
        ]
    return Window(
        tuple(kernel), strides, dilations, tuple(begin), tuple(end), tuple(sizes)
    )


def _places(node: Node, size: int, span: int, step: int, begin: int, image: int) -> int:
    """Return how many places a window takes; with ceil mode it may stick out."""
    if node.attribute("ceil_mode", 0):
        count = -(-(size - span) // step) + 1
        if (count - 1) * step >= image + begin:
            count -= 1
    else:
        count = (size - span) // step + 1
    return max(count, 0)


def _sizes(node: Node, name: str, rank: int) -> tuple[int, ...]:
    found = tuple(node.attribute(name) or (1,) * rank)
    if len(found) != rank:
        raise Unplannable(f"{name}={list(found)} does not fit {rank} axes")
    return found


def _pads(node: Node, rank: int) -> list[int]:
    found = list(node.attribute("pads") or [0] * (2 * rank))
    if len(found) != 2 * rank:
        raise Unplannable(f"pads={found} does not fit {rank} axes")
    return found


def channels_last(rank: int) -> tuple[int, ...]:
    """Return the order of axes, outermost first, in which channels lie innermost."""
    return (0, *range(2, rank), 1)
