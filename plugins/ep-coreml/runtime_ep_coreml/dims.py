"""Sizes that symbolic dims may have: as options spell them, and as a graph bounds them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.graph import Graph
from runtime.valuetypes import Bounds


@dataclass(frozen=True, slots=True)
class Sizes:
    """The least and the largest size of a dim, and the only ones where they are counted."""

    low: int
    high: int
    only: tuple[int, ...] = ()

    def admits(self, size: int) -> bool:
        """Whether a dim may have a size."""
        return size in self.only if self.only else self.low <= size <= self.high


_ENTRY = re.compile(r"\s*([^=,;\s]+)\s*=\s*(?:(\d+)\.\.(\d+)|(\d+(?:\|\d+)*))\s*")


def read_dims(text: str) -> dict[str, Sizes]:
    """Read ``batch=1..8, sequence=16|32|64, width=7``; semicolons separate as well.

    Raises ``ValueError`` for text of another form and for sizes below 1.
    """
    found: dict[str, Sizes] = {}
    for part in filter(str.strip, re.split("[,;]", text)):
        match = _ENTRY.fullmatch(part)
        if match is None:
            raise ValueError(
                f"{part.strip()!r} is no bound; write name=low..high or name=8|16|32"
            )
        name, low, high, only = match.groups()
        if only:
            sizes = tuple(sorted({int(size) for size in only.split("|")}))
            found[name] = Sizes(sizes[0], sizes[-1], sizes)
        else:
            found[name] = Sizes(int(low), int(high))
        if not 1 <= found[name].low <= found[name].high:
            raise ValueError(f"{part.strip()!r}: expected 1 <= low <= high")
    return found


def sizes_of(graph: Graph, given: Mapping[str, Sizes]) -> dict[str, Sizes]:
    """Return what is known of a graph's symbolic dims; what is given counts first."""
    found = dict(given)
    for name, bounds in graph.bounds.items():
        if name not in found and (sizes := _bounded(bounds)):
            found[name] = sizes
    return found


def _bounded(bounds: Bounds) -> Sizes | None:
    if bounds.maximum is None:
        return None
    return Sizes(max(bounds.minimum or 1, 1), bounds.maximum)
