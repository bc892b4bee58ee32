"""Reads and writes vectors of any element type in the type they are computed in.

In memory an element is LLVM's type, and a byte for ``i1``. ``half`` and ``bfloat`` are
computed as ``float``: exact when read, rounded to nearest even when written, NaN stays
NaN and denormals stay what they are, also where the processor has no such conversion.
"""

from __future__ import annotations

from runtime_ep_cpu.codegen.builder import Function, Val, kind, vector, with_element
from runtime_ep_cpu.codegen.expression import widened
from runtime_ep_cpu.codegen.target import Target


def stored(element: str) -> str:
    """Return the type an element has in memory."""
    return "i8" if element == "i1" else element


def size(element: str) -> int:
    """Return how many bytes an element takes."""
    return kind(stored(element)).bits // 8


def mask_of(f: Function, target: Target, count: Val, lanes: int) -> Val:
    """Return a mask of the first ``count`` lanes; more than there are sets all."""
    if target.name != "avx512":
        return f.tail(count, lanes)
    word = f"i{lanes}"
    spare = f.maximum(lanes - count, 0)
    ones = f.value((1 << lanes) - 1, "i64")
    bits = f.emit(f"lshr i64 {ones.name}, {spare.name}", "i64")
    return f.bitcast(f.convert(bits, word) if lanes < 64 else bits, f"<{lanes} x i1>")


def read(
    f: Function,
    target: Target,
    pointer: Val,
    element: str,
    lanes: int,
    mask: Val | None = None,
) -> Val:
    """Read a vector, or those lanes of it that a mask sets, and widen it."""
    type = vector(_carried(element), lanes)
    bare = mask is None
    value = f.load(pointer, type) if bare else f.load_masked(pointer, type, mask)
    return widen(f, target, value, element)


def read_one(f: Function, target: Target, pointer: Val, element: str) -> Val:
    """Read one element and widen it."""
    return widen(f, target, f.load(pointer, _carried(element)), element)


def write(
    f: Function,
    target: Target,
    value: Val,
    pointer: Val,
    element: str,
    mask: Val | None = None,
) -> None:
    """Narrow a vector or a single value to its type in memory and write it."""
    value = narrow(f, target, value, element)
    if mask is None:
        f.store(value, pointer)
    else:
        f.store_masked(value, pointer, mask)


def widen(f: Function, target: Target, value: Val, element: str) -> Val:
    """Return what was read, as it is computed."""
    if element == "i1":
        return value.differs(0)
    if element == "bfloat":
        return _from_bfloat(f, value)
    if element == "half":
        if not _converts_half(target):
            return _from_half(f, value)
        type = with_element(value.type, "half")
        return f.convert(f.bitcast(value, type), "float")
    return value


def narrow(f: Function, target: Target, value: Val, element: str) -> Val:
    """Return a computed value as it is written."""
    found = kind(value.type).element
    if found != widened(element):
        raise TypeError(
            f"{value!r} is no {widened(element)}, and cannot be a {element}"
        )
    if element == "i1":
        return f.convert(value, "i8", unsigned=True)
    if element == "bfloat":
        return _to_bfloat(f, value)
    if element == "half":
        if not _converts_half(target):
            return _to_half(f, value)
        half = f.convert(value, "half")
        return f.bitcast(half, with_element(value.type, "i16"))
    return value


def _carried(element: str) -> str:
    return {"i1": "i8", "half": "i16", "bfloat": "i16"}.get(element, element)


def _converts_half(target: Target) -> bool:
    return target.name != "generic"


def _right(f: Function, value: Val, bits: int) -> Val:
    return f.emit(f"lshr {value!r}, {f.value(bits, value.type).name}", value.type)


def _bits(f: Function, value: Val) -> Val:
    return f.bitcast(value, with_element(value.type, "i32"))


def _float(f: Function, value: Val) -> Val:
    return f.bitcast(value, with_element(value.type, "float"))


def _from_bfloat(f: Function, value: Val) -> Val:
    return _float(f, f.convert(value, "i32", unsigned=True) << 16)


def _to_bfloat(f: Function, value: Val) -> Val:
    """Round by adding half of the last place, ties towards the even one."""
    bits = _bits(f, value)
    high = _right(f, bits, 16)
    rounded = _right(f, bits + ((high & 1) + 0x7FFF), 16)
    is_nan = value.differs(value)
    return f.convert(f.select(is_nan, high | 0x40, rounded), "i16")


def _from_half(f: Function, value: Val) -> Val:
    """Move the exponent from one bias to the other; F. Giesen's ``half_to_float``."""
    wide = f.convert(value, "i32", unsigned=True)
    magnitude = (wide & 0x7FFF) << 13
    exponent = magnitude & 0x0F800000
    moved = magnitude + (112 << 23)
    endless = moved + (112 << 23)
    small = _bits(f, _float(f, moved + (1 << 23)) - 2.0**-14)
    moved = f.select(exponent.equals(0x0F800000), endless, moved)
    moved = f.select(exponent.equals(0), small, moved)
    return _float(f, moved | ((wide & 0x8000) << 16))


def _to_half(f: Function, value: Val) -> Val:
    """Round to nearest even; F. Giesen's ``float_to_half_fast3_rtne``."""
    bits = _bits(f, value)
    magnitude = bits & 0x7FFFFFFF
    sign = _right(f, bits & -0x80000000, 16)
    is_nan = magnitude > 0x7F800000
    endless = f.select(
        is_nan,
        _right(f, magnitude, 13) & 0x3FF | 0x7E00,
        f.value(0x7C00, bits.type),
    )
    small = _bits(f, _float(f, magnitude) + 0.5) - 0x3F000000
    odd = _right(f, magnitude, 13) & 1
    usual = _right(f, magnitude + odd + (0xFFF - (112 << 23)), 13)
    result = f.select(magnitude < (113 << 23), small, usual)
    result = f.select(magnitude >= (143 << 23), endless, result)
    return f.convert(result | sign, "i16")
