"""Element types: how NumPy names them, how they lie in memory, what computes them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np


class Element(NamedTuple):
    """One element type: its short name, C types in memory and in registers, bytes."""

    code: str
    memory: str
    computed: str
    size: int


ELEMENTS: Final[dict[str, Element]] = {
    "float32": Element("f32", "float", "float", 4),
    "float16": Element("f16", "rt_f16", "float", 2),
    "bfloat16": Element("bf16", "rt_bf16", "float", 2),
    "float64": Element("f64", "double", "double", 8),
    "int8": Element("i8", "rt_i8", "rt_i8", 1),
    "uint8": Element("u8", "rt_u8", "rt_u8", 1),
    "int16": Element("i16", "rt_i16", "rt_i16", 2),
    "uint16": Element("u16", "rt_u16", "rt_u16", 2),
    "int32": Element("i32", "int", "int", 4),
    "uint32": Element("u32", "rt_u32", "rt_u32", 4),
    "int64": Element("i64", "rt_i64", "rt_i64", 8),
    "uint64": Element("u64", "rt_u64", "rt_u64", 8),
    "bool": Element("b8", "rt_bool", "bool", 1),
}
"""Element types that kernels read and write; ``rt_`` types are the prelude's."""

FLOATS: Final = frozenset(("float", "double"))
SIGNED: Final = {"rt_i8": 8, "rt_i16": 16, "int": 32, "rt_i64": 64}
UNSIGNED: Final = {"rt_u8": 8, "rt_u16": 16, "rt_u32": 32, "rt_u64": 64}
INTEGERS: Final = {**SIGNED, **UNSIGNED}
"""C types of integers in registers, and their bits."""

RAW: Final = {1: "rt_u8", 2: "rt_u16", 4: "rt_u32", 8: "rt_u64"}
"""Types by which elements are moved whose value does not matter, by their bytes."""


def element(dtype: Any) -> Element:
    """Return how elements of a NumPy type are read, computed and written."""
    name = np.dtype(dtype).name
    found = ELEMENTS.get(name)
    if found is None:
        raise TypeError(
            f"no kernel reads elements of type {name}; known are {', '.join(ELEMENTS)}"
        )
    return found


def is_known(dtype: Any) -> bool:
    """Whether kernels read and write elements of a NumPy type."""
    return np.dtype(dtype).name in ELEMENTS
