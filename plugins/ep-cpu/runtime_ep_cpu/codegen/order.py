"""Orders computations that LLVM interleaves until it runs out of registers.

An instruction that is none ties a value to others: compiled code computes those first. The
processor sees no such tie, and overlaps both as far ahead as it looks.
"""

from __future__ import annotations

from runtime_ep_cpu.codegen.builder import Function, Val, kind
from runtime_ep_cpu.codegen.target import Target


def after(f: Function, target: Target, x: Val, *earlier: Val) -> Val:
    """Return ``x``, so that what uses it is written behind what the others are.

    All are numbers, addresses, or vectors of one register. Where registers are enough,
    and elsewhere than on x86, it is ``x`` as it is.
    """
    few = target.is_x86 and target.registers <= 16
    if not (few and earlier):
        return x
    constraints = [f"={_register(x)}", "0", *map(_register, earlier)]
    listed = ", ".join(map(repr, (x, *earlier)))
    return f.emit(f'call {x.type} asm "", "{",".join(constraints)}"({listed})', x.type)


def _register(value: Val) -> str:
    """Return LLVM's constraint for a register of general use, or for one of vectors."""
    return "v" if kind(value.type).lanes else "r"
