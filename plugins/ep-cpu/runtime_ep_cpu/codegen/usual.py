"""Kernels that nearly every model needs in the same forms.

They are made ready in whole batches, each an entry of the cache: what is compiled while a
model is still being read is then the same for all models, and found by all of them.
"""

from __future__ import annotations

from functools import cache

from runtime_ep_cpu.codegen import copies
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.microkernel import tiles, usual_width
from runtime_ep_cpu.codegen.target import Target


@cache
def batches(target: Target) -> tuple[frozenset[Spec], ...]:
    """Return what packs matrices, what copies elements of 4 bytes or more, and tiles.

    Packing comes first, as it is what a session waits for; it and the tiles are those of
    most products.
    """
    width = usual_width(target)
    packing = (
        Spec.of("pack", vectors=width, element="float", turned=turned)
        for turned in (False, True)
    )
    return (
        frozenset(packing),
        frozenset(copies.specs(4)),
        frozenset(tiles(target, width)),
    )
