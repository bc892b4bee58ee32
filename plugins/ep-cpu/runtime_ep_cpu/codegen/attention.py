"""Attention kernels: which there are, how each divides its work, and which to take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from runtime_ep_cpu.codegen import attention_blocks, attention_rows
from runtime_ep_cpu.codegen.attention_blocks import Blocking, tile_specs
from runtime_ep_cpu.codegen.attention_scores import FIELDS
from runtime_ep_cpu.codegen.target import Target

__all__ = ["FIELDS", "PLANS", "Blocking", "family_for", "tile_specs"]

Divide = Callable[[Target, int, int, int, int, int], Blocking]
Memory = Callable[[Target, Blocking, int, int], int]

PLANS: Final[dict[str, tuple[Divide, Memory]]] = {
    "attention": (attention_blocks.blocking, attention_blocks.scratch),
    "attention_rows": (attention_rows.blocking, attention_rows.scratch),
}
"""Of each family: ``blocking(target, batch, heads, key heads, rows, keys)`` and
``scratch(target, blocking, width, value width)`` in bytes."""

_FEW = 12
"""Rows of a head, up to which packing keys and values does not pay."""


def family_for(rows: int) -> str:
    """Return the family that serves so many rows of a head."""
    return "attention_rows" if rows <= _FEW else "attention"
