"""How onnxruntime spells the options of its TensorRT provider."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]
TACTICS = (
    "CUBLAS", "CUBLAS_LT", "CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS",
)  # fmt: skip
"""Sources of tactics that TensorRT 10 or 11 knows; 11 has dropped the first three."""


@dataclass(frozen=True, slots=True)
class Range:
    """The least, the usual and the largest shape of an input."""

    least: Shape
    usual: Shape
    most: Shape

    def admits(self, shape: Shape) -> bool:
        """Whether a shape lies within."""
        return len(shape) == len(self.least) and all(
            low <= dim <= high
            for low, dim, high in zip(self.least, shape, self.most, strict=True)
        )


def read_shapes(text: str) -> dict[str, list[Shape]]:
    """Read ``input:1x3x224x224,other:1x64``; an input may come again, once a profile.

    Raises ``ValueError`` for anything else.
    """
    found: dict[str, list[Shape]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, colon, dims = part.rpartition(":")
        if not (colon and name and re.fullmatch(r"\d+(x\d+)*", dims)):
            raise ValueError(f"{part!r} is no shape; write input:1x3x224x224")
        found.setdefault(name, []).append(tuple(map(int, dims.split("x"))))
    return found


def read_profiles(least: str, usual: str, most: str) -> list[Mapping[str, Range]]:
    """Return the ranges of inputs, one mapping for each profile.

    Raises ``ValueError`` unless all three name the same inputs, as often, with the same
    ranks, and in order.
    """
    shapes = [read_shapes(text) for text in (least, usual, most)]
    names = {frozenset(each) for each in shapes}
    if len(names) > 1:
        raise ValueError(
            "trt_profile_min_shapes, trt_profile_opt_shapes and trt_profile_max_shapes "
            "must name the same inputs"
        )
    counts = {len(several) for each in shapes for several in each.values()}
    if len(counts) > 1:
        raise ValueError("each input needs as many shapes, one for each profile")
    return [
        {
            name: _range(name, *(each[name][index] for each in shapes))
            for name in shapes[0]
        }
        for index in range(max(counts, default=0))
    ]


def _range(name: str, least: Shape, usual: Shape, most: Shape) -> Range:
    ranks = {len(shape) for shape in (least, usual, most)}
    ordered = len(ranks) == 1 and all(
        low <= dim <= high for low, dim, high in zip(least, usual, most, strict=True)
    )
    if not ordered:
        raise ValueError(
            f"the shapes of {name!r} must have one rank and rise from min over opt to max; "
            f"found {least}, {usual}, {most}"
        )
    return Range(least, usual, most)


def read_tactics(text: str) -> dict[str, bool]:
    """Read ``-CUDNN,+EDGE_MASK_CONVOLUTIONS``. Raises ``ValueError`` for other words."""
    found = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        sign, name = word[0], word[1:].upper()
        if sign not in "+-" or name not in TACTICS:
            raise ValueError(
                f"{word!r} is no source of tactics; write + or - and one of "
                f"{', '.join(TACTICS)}"
            )
        found[name] = sign == "+"
    return found


def read_words(text: str) -> tuple[str, ...]:
    """Read words between commas."""
    return tuple(filter(None, (word.strip() for word in text.split(","))))


def read_paths(text: str) -> tuple[str, ...]:
    """Read paths between semicolons."""
    return tuple(filter(None, (path.strip() for path in text.split(";"))))


def read_address(text: str) -> int:
    """Read a pointer, decimal or with ``0x``; empty is 0. Raises ``ValueError``."""
    return int(text, 0) if text else 0
