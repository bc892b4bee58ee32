"""Widens and narrows half and bfloat by integer arithmetic, wherever LLVM would call out.

A processor without an instruction for it sends LLVM to functions of the compiler's own
library, which a process may not have. And the instruction that AVX-512 has for bfloat
takes denormals for zero. These functions round to nearest even, keep denormals,
infinities and NaN, and need nothing but integers.
"""

from __future__ import annotations

from runtime_ep_cpu.codegen.builder import Function, Val, kind, with_element
from runtime_ep_cpu.codegen.target import Target

SIGN = 0x80000000
INFINITY = 0x7F800000
HALVES_ARE_NATIVE = ("avx512", "avx2", "neon")


def widen(f: Function, target: Target, x: Val) -> Val:
    """Return half or bfloat elements as float; other elements as they are."""
    element = kind(x.type).element
    if element == "bfloat":
        bits = f.convert(f.bitcast(x, with_element(x.type, "i16")), "i32", True)
        return f.bitcast(bits << 16, with_element(x.type, "float"))
    if element != "half":
        return x
    if target.name in HALVES_ARE_NATIVE:
        return f.convert(x, "float")
    return _half_to_float(f, x)


def narrow(f: Function, target: Target, x: Val, element: str) -> Val:
    """Return float elements as ``half`` or ``bfloat``."""
    if element == "bfloat":
        return _float_to_bfloat(f, x)
    if target.name in HALVES_ARE_NATIVE:
        return f.convert(x, "half")
    return _float_to_half(f, x)


def shifted_right(f: Function, x: Val, count: int) -> Val:
    """Return integers shifted right, zeros coming in."""
    return f.emit(f"lshr {x!r}, {f.value(count, x.type).name}", x.type)


def _float_to_bfloat(f: Function, x: Val) -> Val:
    bits = f.bitcast(x, with_element(x.type, "i32"))
    odd = shifted_right(f, bits, 16) & 1
    rounded = f.select(x.compare("uno", x), bits | 0x400000, bits + 0x7FFF + odd)
    top = f.convert(shifted_right(f, rounded, 16), "i16")
    return f.bitcast(top, with_element(x.type, "bfloat"))


def _half_to_float(f: Function, x: Val) -> Val:
    floats = with_element(x.type, "float")
    bits = f.convert(f.bitcast(x, with_element(x.type, "i16")), "i32", True)
    size = (bits & 0x7FFF) << 13
    finite = f.bitcast(f.bitcast(size, floats) * 2.0**112, size.type)
    special = size.compare("uge", 0x7C00 << 13)
    found = f.select(special, size | INFINITY, finite)
    return f.bitcast(found | ((bits & 0x8000) << 16), floats)


def _float_to_half(f: Function, x: Val) -> Val:
    ints = with_element(x.type, "i32")
    bits = f.bitcast(x, ints)
    size = bits & 0x7FFFFFFF
    odd = shifted_right(f, size, 13) & 1
    normal = shifted_right(f, size + (0xFFF - (112 << 23)) + odd, 13)
    tiny = f.bitcast(f.bitcast(size, x.type) + 0.5, ints) - (126 << 23)
    found = f.select(size < (113 << 23), tiny, normal)
    found = f.select(size >= (143 << 23), f.value(0x7C00, ints), found)
    found = f.select(size > INFINITY, f.value(0x7E00, ints), found)
    found = found | (shifted_right(f, bits, 16) & 0x8000)
    return f.bitcast(f.convert(found, "i16"), with_element(x.type, "half"))
