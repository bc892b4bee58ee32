"""Sorts keys of 64 bits, in functions that kernels call.

What is sorted is put in the upper half of a key, its place in the lower: so keys differ,
equal ones come in the order of their places, and every way of sorting gives the same.
Few keys are put where as many are smaller; many go through four passes by a byte each.
"""

from __future__ import annotations

from typing import Final

from runtime_ep_cpu.codegen.builder import (
    Function,
    Module,
    Val,
    kind,
    vector,
    with_element,
)
from runtime_ep_cpu.codegen.target import Target

FEW: Final = 64
"""Keys that are compared with each other."""

_BITS: Final = 8
_PASSES: Final = 4
_DIGITS: Final = 1 << _BITS

HISTOGRAM: Final = _DIGITS * _PASSES
"""Words that `sort` needs beside the keys and their copy."""


def ordered(f: Function, x: Val) -> Val:
    """Return 32 bits that are in the order, without a sign, of floats or integers.

    Both zeros are alike, and NaN is above everything.
    """
    lowest = -(1 << 31)
    if not kind(x.type).is_float:
        return x ^ lowest
    bits = f.bitcast(x + 0.0, with_element(x.type, "i32"))
    found = f.select(bits < 0, ~bits, bits ^ lowest)
    return f.select(x.compare("uno", x), f.value(-1, bits.type), found)


def joined(f: Function, upper: Val, place: Val) -> Val:
    """Return keys of 32 bits and their places."""
    return (f.convert(upper, "i64", unsigned=True) << 32) | place


def place_of(key: Val) -> Val:
    """Return the place a key is of."""
    return key & 0xFFFFFFFF


def sort(module: Module, target: Target) -> str:
    """Return a function ``ptr (ptr keys, ptr copy, i64 count, ptr histogram)``.

    It sorts keys, which must differ, ascending without a sign, and returns where they
    are then: in either of the two places, each of which has room for ``count`` and a
    vector more.
    """
    name = "sorted_keys"
    if module.has(name):
        return name
    parameters = [("ptr", "keys"), ("ptr", "copy"), ("i64", "count"), ("ptr", "counts")]
    f = Function(module, name, parameters, "ptr", internal=True, noinline=True)
    keys, copy, count, counts = f.parameters
    few, many = f.fresh("few"), f.fresh("many")
    f.branch(count <= FEW, few, many)
    f.label(few)
    _by_rank(f, target, keys, copy, count)
    f.ret(copy)
    f.label(many)
    f.ret(_by_digits(f, keys, copy, count, counts))
    return name


def _by_rank(f: Function, target: Target, keys: Val, copy: Val, count: Val) -> None:
    """Put each key where as many are smaller."""
    lanes = target.bits // 64
    type = vector("i64", lanes)
    with f.loop(0, lanes) as spare:
        f.store(f.value(-1, "i64"), keys.at(count + spare.index, "i64"))
    with f.loop(0, count) as loop:
        key = f.load(keys.at(loop.index, "i64"), "i64")
        mine = f.splat(key, lanes)
        with f.loop(0, count, lanes, [f.value(0, type)], runs=True) as others:
            smaller = f.load(keys.at(others.index, "i64"), type).compare("ult", mine)
            others.next(others.carried[0] + f.convert(smaller, "i64"))
        rank = f.reduce("add", others.results[0])
        f.store(key, copy.at(rank, "i64"))


def _by_digits(f: Function, keys: Val, copy: Val, count: Val, counts: Val) -> Val:
    """Sort stably by each byte of the upper half, the lowest first."""
    with f.loop(0, HISTOGRAM) as loop:
        f.store(f.value(0, "i64"), counts.at(loop.index, "i64"))
    with f.loop(0, count) as loop:
        key = f.load(keys.at(loop.index, "i64"), "i64")
        for turn in range(_PASSES):
            place = _counter(f, counts, key, turn)
            f.store(f.load(place, "i64") + 1, place)
    here, there = keys, copy
    for turn in range(_PASSES):
        here, there = _moved(f, here, there, count, counts, turn)
    return here


def _counter(f: Function, counts: Val, key: Val, turn: int) -> Val:
    shifted = f.emit(f"lshr i64 {key.name}, {32 + _BITS * turn}", "i64")
    return counts.at((shifted & (_DIGITS - 1)) + _DIGITS * turn, "i64")


def _moved(
    f: Function, here: Val, there: Val, count: Val, counts: Val, turn: int
) -> tuple[Val, Val]:
    """Write one pass; one in which all keys have the same digit is left out."""
    first = f.load(here, "i64")
    alike = f.load(_counter(f, counts, first, turn), "i64").equals(count)

    def stay() -> list[Val]:
        return [here, there]

    def move() -> list[Val]:
        own = counts.at(_DIGITS * turn, "i64")
        with f.loop(0, _DIGITS, carried=[f.value(0, "i64")], runs=True) as digits:
            place = own.at(digits.index, "i64")
            have = f.load(place, "i64")
            f.store(digits.carried[0], place)
            digits.next(digits.carried[0] + have)
        with f.loop(0, count, runs=True) as loop:
            key = f.load(here.at(loop.index, "i64"), "i64")
            place = _counter(f, counts, key, turn)
            to = f.load(place, "i64")
            f.store(key, there.at(to, "i64"))
            f.store(to + 1, place)
        return [there, here]

    found = f.choose(alike, stay, move)
    return found[0], found[1]
