"""Conversions between element types: Cast, CastLike and BitCast."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from runtime.kernels import KernelTable
from runtime.valuetypes import ELEMENT_TYPES, code_of_name, element_code, numpy_dtype

from runtime_ep_cpu.dtypes import NARROW, element_type
from runtime_ep_cpu.namespace import namespace_of

table = KernelTable()

FLOAT8 = frozenset(
    {"float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"}
)
SUB_BYTE_INTEGERS = frozenset({"int2", "int4", "uint2", "uint4"})
SPECIAL_SPELLINGS = {"nan": "NaN", "inf": "INF", "-inf": "-INF"}

E8M0_BIAS = 127
E8M0_LARGEST = 254
E8M0_NAN = 255


@table("Cast", since=24, traits=("typed",))
def cast(x: Any, /, *, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
    """Cast; ``saturate`` concerns 8-bit floats, ``round_mode`` float8e8m0 only."""
    return convert(x, element_type(to, "to"), bool(saturate), round_mode)


@table("Cast", since=19, traits=("typed",))
def cast_19(x: Any, /, *, to: int, saturate: int = 1) -> Any:
    """Cast before there were rounding modes."""
    return convert(x, element_type(to, "to"), bool(saturate))


@table("Cast", since=6, traits=("typed",))
def cast_6(x: Any, /, *, to: int) -> Any:
    """Cast before there were 8-bit floats."""
    return convert(x, element_type(to, "to"))


@table("Cast", since=1, traits=("typed",))
def cast_1(x: Any, /, *, to: str) -> Any:
    """Cast of opset 1, which spells the type: ``FLOAT``."""
    try:
        return convert(x, numpy_dtype(code_of_name(to.lower())))
    except KeyError:
        raise ValueError(f"{to!r} names no element type") from None


@table("CastLike", since=24, traits=("typed",))
def cast_like(
    x: Any, like: Any, /, *, saturate: int = 1, round_mode: str = "up"
) -> Any:
    """CastLike: Cast to the second input's type."""
    return convert(x, like.dtype, bool(saturate), round_mode)


@table("CastLike", since=19, traits=("typed",))
def cast_like_19(x: Any, like: Any, /, *, saturate: int = 1) -> Any:
    """CastLike before there were rounding modes."""
    return convert(x, like.dtype, bool(saturate))


@table("CastLike", since=15, traits=("typed",))
def cast_like_15(x: Any, like: Any, /) -> Any:
    """CastLike before there were 8-bit floats."""
    return convert(x, like.dtype)


@table("BitCast", since=26, traits=("typed",))
def bit_cast(x: Any, /, *, to: int) -> Any:
    """BitCast: the same bits read as another type of the same width."""
    dtype = element_type(to, "to")
    source, target = (ELEMENT_TYPES[element_code(d)] for d in (x.dtype, dtype))
    if source.bits != target.bits or not target.bits:
        raise ValueError(
            f"cannot reinterpret {source.name} as {target.name}: "
            f"{source.bits} and {target.bits} bits"
        )
    if dtype.kind == "b":
        return x.view(np.uint8) != 0
    return x.view(dtype)


def convert(x: Any, dtype: Any, saturate: bool = True, round_mode: str = "up") -> Any:
    """Return an array with its values converted to another element type.

    Integers wrap around; floats become integers by truncation. Too large values become
    infinite, or with ``saturate`` an 8-bit float's largest.
    """
    dtype = np.dtype(dtype)
    if x.dtype == dtype:
        return x
    with np.errstate(all="ignore"):
        if x.dtype == object:
            x = _parsed(x, dtype)
        elif dtype.kind == "O":
            return _printed(_standard(x))
        x = _standard(x)
        if x.dtype.kind == "c" and dtype.kind not in "bc":
            x = x.real
        if dtype.isbuiltin == 1:
            return x.astype(dtype)
        return _to_narrow(x, dtype, saturate, round_mode)


def _standard(x: Any) -> Any:
    """Return the array with a type that every conversion knows, no value changed."""
    name = x.dtype.name
    if name in SUB_BYTE_INTEGERS:
        return x.astype(np.int8)
    return x.astype(np.float32) if name in NARROW and name != "float16" else x


def _to_narrow(x: Any, dtype: np.dtype[Any], saturate: bool, round_mode: str) -> Any:
    if dtype.name == "float8_e8m0fnu":
        return _to_power_of_two(x, dtype, saturate, round_mode)
    if dtype.name in SUB_BYTE_INTEGERS:
        return x.astype(np.int64).astype(dtype)
    if x.dtype != np.float64:
        x = x.astype(np.float32)
    if dtype.name in FLOAT8 and saturate:
        limit = float(ml_dtypes.finfo(dtype).max)
        x = namespace_of(x).clip(x, -limit, limit)
    return x.astype(dtype)


def _to_power_of_two(
    x: Any, dtype: np.dtype[Any], saturate: bool, round_mode: str
) -> Any:
    """Convert to float8e8m0, which has an exponent only: no zero, sign or infinity."""
    xp = namespace_of(x)
    x = xp.abs(x.astype(np.float64))
    fraction, exponent = xp.frexp(x)  # x is fraction · 2**exponent, fraction in [½, 1)
    rounded = exponent - 1 + E8M0_BIAS
    if round_mode == "up":
        rounded = rounded + (fraction > 0.5)
    elif round_mode == "nearest":
        rounded = rounded + (fraction >= 0.75)
    elif round_mode != "down":
        raise ValueError(
            f"round_mode must be up, down or nearest, found {round_mode!r}"
        )
    rounded = xp.where(x == 0, -1, xp.where(xp.isinf(x), E8M0_LARGEST + 1, rounded))
    if saturate:
        rounded = xp.clip(rounded, 0, E8M0_LARGEST)
    outside = (rounded < 0) | (rounded > E8M0_LARGEST) | xp.isnan(x)
    return xp.where(outside, E8M0_NAN, rounded).astype(np.uint8).view(dtype)


def _parsed(x: Any, dtype: np.dtype[Any]) -> Any:
    """Read strings as numbers of a type from which the wanted one is made."""
    if dtype.kind == "c":
        return np.array([complex(s) for s in x.flat]).reshape(x.shape)
    if dtype.kind in "iu" or dtype.name in SUB_BYTE_INTEGERS:
        wide = np.uint64 if dtype == np.uint64 else np.int64
        return np.array([_whole(s) for s in x.flat], wide).reshape(x.shape)
    return x.astype(np.float64)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return int(float(text))


def _printed(x: Any) -> Any:
    """Write numbers with the fewest digits that tell them apart, ``1`` for 1.0."""
    if x.dtype.kind in "biu":
        texts = [str(int(value)) for value in x.flat]
    else:
        plain = x if x.dtype.isbuiltin == 1 else x.astype(np.float32)
        shortest = plain.astype(np.str_).ravel().tolist()
        texts = [SPECIAL_SPELLINGS.get(s, s).removesuffix(".0") for s in shortest]
    result = np.empty(len(texts), object)
    result[:] = texts
    return result.reshape(x.shape)
