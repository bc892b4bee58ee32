"""Reads and writes vectors of any element type in the type they are computed in.

In memory an element is LLVM's type, and a byte for ``i1``. ``half`` and ``bfloat`` are
computed as ``float``: exact when read, rounded to nearest even when written, NaN stays
NaN and denormals stay what they are, also where the processor has no such conversion.
"""

from __future__ import annotations

from runtime_ep_cpu.codegen import narrow as conversion
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
    if mask is None:
        return widen(f, target, f.load(pointer, type), element)
    return widen(f, target, f.load_masked(pointer, type, mask), element)


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
    if element in _NARROW:
        typed = f.bitcast(value, with_element(value.type, element))
        return conversion.widen(f, target, typed)
    return value


def narrow(f: Function, target: Target, value: Val, element: str) -> Val:
    """Return a computed value as it is written."""
    found = kind(value.type).element
    if found == element and element in _NARROW:
        return f.bitcast(value, with_element(value.type, "i16"))
    if found != widened(element):
        raise TypeError(
            f"{value!r} is no {widened(element)}, and cannot be a {element}"
        )
    if element == "i1":
        return f.convert(value, "i8", unsigned=True)
    if element in _NARROW:
        typed = conversion.narrow(f, target, value, element)
        return f.bitcast(typed, with_element(value.type, "i16"))
    return value


_NARROW = ("half", "bfloat")


def _carried(element: str) -> str:
    """Return the integer type by which an element moves between memory and register."""
    return "i16" if element in _NARROW else stored(element)
