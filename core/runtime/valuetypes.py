"""What a value may be: element types, shapes with symbolic dims, and ONNX's containers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

Dim = int | str | None
"""A size, a symbol such as ``"batch"``, or ``None`` for an unnamed unknown."""

Shape = tuple[Dim, ...]


class Bounds(NamedTuple):
    """What is known of a symbolic dim; ``None`` where nothing is."""

    minimum: int | None = None
    typical: int | None = None
    maximum: int | None = None


class ElementType(NamedTuple):
    """One ONNX element type: its protobuf number, its spelling, NumPy's name, its bits."""

    code: int
    name: str
    numpy: str
    bits: int


_TYPES = (
    ElementType(1, "float", "float32", 32),
    ElementType(2, "uint8", "uint8", 8),
    ElementType(3, "int8", "int8", 8),
    ElementType(4, "uint16", "uint16", 16),
    ElementType(5, "int16", "int16", 16),
    ElementType(6, "int32", "int32", 32),
    ElementType(7, "int64", "int64", 64),
    ElementType(8, "string", "object", 0),
    ElementType(9, "bool", "bool", 8),
    ElementType(10, "float16", "float16", 16),
    ElementType(11, "double", "float64", 64),
    ElementType(12, "uint32", "uint32", 32),
    ElementType(13, "uint64", "uint64", 64),
    ElementType(14, "complex64", "complex64", 64),
    ElementType(15, "complex128", "complex128", 128),
    ElementType(16, "bfloat16", "bfloat16", 16),
    ElementType(17, "float8e4m3fn", "float8_e4m3fn", 8),
    ElementType(18, "float8e4m3fnuz", "float8_e4m3fnuz", 8),
    ElementType(19, "float8e5m2", "float8_e5m2", 8),
    ElementType(20, "float8e5m2fnuz", "float8_e5m2fnuz", 8),
    ElementType(21, "uint4", "uint4", 4),
    ElementType(22, "int4", "int4", 4),
    ElementType(23, "float4e2m1", "float4_e2m1fn", 4),
    ElementType(24, "float8e8m0", "float8_e8m0fnu", 8),
    ElementType(25, "uint2", "uint2", 2),
    ElementType(26, "int2", "int2", 2),
    ElementType(27, "float6e2m3", "float6_e2m3fn", 6),
    ElementType(28, "float6e3m2", "float6_e3m2fn", 6),
)
ELEMENT_TYPES = {entry.code: entry for entry in _TYPES}
_BY_NAME = {entry.name: entry for entry in _TYPES}
_BY_NUMPY = {entry.numpy: entry for entry in _TYPES}


@cache
def numpy_dtype(code: int) -> np.dtype[Any]:
    """Return the NumPy dtype of an ONNX element type; strings are object arrays.

    Raises ``KeyError`` for a code that is no ONNX element type.
    """
    name = ELEMENT_TYPES[code].numpy
    if name in np.sctypeDict:
        return np.dtype(name)
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return found


def element_code(dtype: Any) -> int:
    """Return the ONNX element type of a NumPy dtype.

    Raises ``KeyError`` for a dtype that ONNX has no type for.
    """
    dtype = np.dtype(dtype)
    if dtype.kind in "USOT":
        return 8
    return _BY_NUMPY[dtype.name].code


def code_of_name(name: str) -> int:
    """Return the code of an ONNX spelling such as ``float16``."""
    return _BY_NAME[name].code


def nbytes(code: int, shape: tuple[int, ...]) -> int:
    """Return the packed size in bytes of a tensor (0 for strings)."""
    count = 1
    for dim in shape:
        count *= dim
    return (count * ELEMENT_TYPES[code].bits + 7) // 8


@dataclass(frozen=True, slots=True)
class TensorType:
    """A dense or sparse tensor; ``shape`` is ``None`` where even the rank is unknown."""

    dtype: int
    shape: Shape | None = None
    sparse: bool = False
    denotations: tuple[str, ...] = ()
    denotation: str = ""

    def __str__(self) -> str:
        kind = "sparse_tensor" if self.sparse else "tensor"
        name = ELEMENT_TYPES[self.dtype].name if self.dtype else "undefined"
        return f"{kind}({name})"


@dataclass(frozen=True, slots=True)
class SequenceType:
    """A list of values of one type."""

    element: Type | None
    denotation: str = ""

    def __str__(self) -> str:
        return f"seq({self.element})"


@dataclass(frozen=True, slots=True)
class OptionalType:
    """A value or nothing."""

    element: Type | None
    denotation: str = ""

    def __str__(self) -> str:
        return f"optional({self.element})"


@dataclass(frozen=True, slots=True)
class MapType:
    """A mapping from a scalar key type to values of one type."""

    key: int
    value: Type | None
    denotation: str = ""

    def __str__(self) -> str:
        return f"map({ELEMENT_TYPES[self.key].name},{self.value})"


@dataclass(frozen=True, slots=True)
class OpaqueType:
    """A type of another domain, which the engine passes around unread."""

    domain: str = ""
    name: str = ""
    denotation: str = ""

    def __str__(self) -> str:
        return f"opaque({self.domain},{self.name})"


Type = TensorType | SequenceType | OptionalType | MapType | OpaqueType


def describe(type_: Type | None) -> str:
    """Return a type with its shape for messages: ``tensor(float)[batch,3,?]``."""
    if isinstance(type_, TensorType) and type_.shape is not None:
        dims = ",".join("?" if dim is None else str(dim) for dim in type_.shape)
        return f"{type_}[{dims}]"
    return str(type_) if type_ is not None else "unknown type"
