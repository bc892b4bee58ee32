"""The innermost loops of kernels keep in registers whatever changes in them.

On AVX-512, constants stay there too.
"""

import re

import kernels
import pytest

pytest.importorskip("llvmlite")

from listing import innermost, on_stack, spills
from runtime_ep_cpu.codegen.library import written
from runtime_ep_cpu.codegen.machine import assembly

TARGETS = kernels.readable()
FAR = re.compile(r"^(sin|cos|power)$")
"""These compute a few lanes by functions of the C library, which keep no register."""
ONCE = re.compile(r"^(winograd_filters|pack|gates)")
"""These run when a session is made."""

CASES = [
    (name, kernel)
    for name, target in TARGETS.items()
    for kernel in kernels.every(target)
    if not (FAR.match(kernel) or ONCE.match(kernel))
]


@pytest.mark.parametrize(("name", "kernel"), CASES)
def test_no_vector_is_spilled_in_an_innermost_loop(name, kernel):
    target = TARGETS[name]
    spec = kernels.every(target)[kernel]
    text = assembly(written([spec], target), target, remarks=True)
    moved = on_stack if name == "avx512" else spills
    for loop in innermost(text):
        assert not moved(loop), "\n".join(loop)
