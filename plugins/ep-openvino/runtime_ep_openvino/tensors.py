"""Tensors that share memory with arrays, and OpenVINO's names and messages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import openvino as ov


@cache
def engine() -> ov.Core:
    """Return the process's one OpenVINO core."""
    return ov.Core()


class _Writable:
    """Says of read-only memory that it may be written, which OpenVINO asks for."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface
        self.array = array


ELEMENTS: Mapping[int, str] = {
    1: "f32", 2: "u8", 3: "i8", 4: "u16", 5: "i16", 6: "i32", 7: "i64", 9: "boolean",
    10: "f16", 11: "f64", 12: "u32", 13: "u64", 16: "bf16", 17: "f8e4m3", 19: "f8e5m2",
}  # fmt: skip
"""ONNX element types by OpenVINO's names, of those whose arrays it can share."""

_PLAIN = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13))


def tensor_over(array: np.ndarray[Any, Any], dtype: int) -> ov.Tensor:
    """Return a tensor on an array's memory; the caller keeps the array alive.

    The array is C-contiguous; OpenVINO only reads it where it is an input or a weight.
    """
    if not array.flags.writeable:
        array = np.asarray(_Writable(array))
    if dtype in _PLAIN:
        return ov.Tensor(array, shared_memory=True)
    bits = array.view(np.uint8 if array.itemsize == 1 else np.uint16)
    return ov.Tensor(bits, array.shape, getattr(ov.Type, ELEMENTS[dtype]))


def first_line(error: BaseException) -> str:
    """Return the part of OpenVINO's message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [
        line for line in lines if line and not line.startswith(("Exception", "Check"))
    ]
    skipped = ("FrontEnd API failed", "Model wasn't fully converted", "Summary")
    told = [line for line in told if not line.startswith(skipped)]
    return (told or lines or [type(error).__name__])[0][:300]
