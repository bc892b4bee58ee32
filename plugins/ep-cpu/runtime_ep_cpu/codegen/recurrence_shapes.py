"""How recurrent layers are divided: tiles and panels of gates, lanes of rows, parts."""

from __future__ import annotations

from typing import Final, NamedTuple

from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.microkernel import shapes
from runtime_ep_cpu.codegen.target import Target

_MOST_VECTORS = 4
"""Registers of a panel's row, at most."""
_ROWS: Final = {"avx2": {3: 3, 4: 2}, "generic": {3: 3, 4: 2}, "neon": {3: 7}}
"""Rows of the largest tiles of panels that products have not."""
_LATENCY = 4
"""Cycles of a multiply-add: a tile of one row and fewer registers waits for itself."""


def tiles(target: Target, vectors: int) -> list[Spec]:
    """Return the tiles of one width, for 1 row, 2 rows, … up to the most."""
    most = most_rows(target, vectors)
    return [Spec.of("tile", rows=rows, vectors=vectors) for rows in range(1, most + 1)]


def most_rows(target: Target, vectors: int) -> int:
    """Return how many rows the largest tile of a width has."""
    known = {**shapes(target), **_ROWS.get(target.name, {})}
    return known[vectors]


def units_of(gates: int, vectors: int) -> int:
    """Return how many registers of units a panel has, of all there are, for one row."""

    def cycles(units: int) -> int:
        return -(-vectors // units) * max(_LATENCY, units * gates)

    fitting = range(1, max(1, _MOST_VECTORS // gates) + 1)
    return min(fitting, key=lambda units: (cycles(units), -units))


class Blocking(NamedTuple):
    """How a direction is divided: rows of a lane, lanes, parts of a phase."""

    block: int
    lanes: int
    parts: int


def blocking(rows: int, hidden: int, gates: int, panels: int, most: int) -> Blocking:
    """Divide a direction; a pure function of the sizes.

    Lanes of few rows where the weights stay in the second cache; else all rows share
    what is read of them. ``most`` is the height of the largest tile.
    """
    numbers = gates * hidden * hidden
    tall = 1 if numbers <= _CACHED else _TILES
    lanes = -(-rows // (most * tall))
    block = -(-rows // lanes)
    lanes = -(-rows // block)
    wanted = block * numbers // _PART
    parts = max(1, min(_LARGEST // lanes, panels, wanted))
    return Blocking(block, lanes, parts)


SUMS: Final = 3072
"""Numbers of float32 that the sums of a group of panels take, if it is several: they and
the rows they are made from stay in the first cache."""
_CACHED = 256 * 1024
"""Numbers of weights that fit in the second cache."""
_TILES = 4
_PART = 16 * 1024
"""Multiplications worth a claim within a phase."""
_LARGEST = 8
"""Parts of all lanes together, at most."""
