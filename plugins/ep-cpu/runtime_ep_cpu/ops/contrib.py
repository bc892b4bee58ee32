"""Operators of domain com.microsoft that exported and optimized models carry."""

from __future__ import annotations

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.ops import (
    _contrib_activation,
    _contrib_attention,
    _contrib_blocks,
    _contrib_experts,
    _contrib_group_query,
    _contrib_matmul,
    _contrib_normalize,
    _contrib_qlinear,
    _contrib_quantized,
    _contrib_renamed,
    _contrib_text,
)
from runtime_ep_cpu.ops._contrib_refused import REFUSED
from runtime_ep_cpu.ops._pad import pad as standard_pad
from runtime_ep_cpu.ops._rearrange import trilu as standard_trilu

__all__ = ["MS", "REFUSED", "table"]

table = KernelTable()

MS = "com.microsoft"
FAMILIES = (
    _contrib_activation,
    _contrib_attention,
    _contrib_blocks,
    _contrib_experts,
    _contrib_group_query,
    _contrib_matmul,
    _contrib_normalize,
    _contrib_qlinear,
    _contrib_quantized,
    _contrib_renamed,
    _contrib_text,
)
for family in FAMILIES:
    table.include(family.table)


@table("Trilu", since=1, domain=MS, traits=("moves",))
def trilu(x, k=None, /, *, upper=1):
    """Trilu: as in the standard since opset 14."""
    return standard_trilu(x, k, upper=upper)


@table("Pad", since=1, domain=MS, traits=("moves",))
def pad(data, pads, value=None, /, *, mode="constant"):
    """Pad: as in the standard since opset 11; ``pads`` may be [1, 2 * rank]."""
    return standard_pad(data, pads.reshape(-1), value, mode=mode)


@table("Unique", since=1, domain=MS, traits=("typed",))
def unique(x, /):
    """Unique: the elements of a vector in order of appearance, places and counts."""
    if x.ndim != 1:
        raise ValueError(f"Unique takes a vector, found {x.ndim} dims")
    elements, first, place, count = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return elements[order], rank[place], count[order]
