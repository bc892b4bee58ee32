"""DLPack for the element types that NumPy's own exchange leaves out, by ctypes.

NumPy exchanges what it has types for. bfloat16, the floats of 8 bits and int4 are arrays
of `ml_dtypes` here, whose memory other libraries can take all the same: the protocol has
codes for them. Layout of the structures: dlpack.h, version 1.1.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, NamedTuple

import numpy as np

from runtime.api.values import ON_HOST
from runtime.valuetypes import code_of_name, element_code, numpy_dtype


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("index", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    )


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    """``DLManagedTensor``, the form before version 1."""

    _fields_ = (
        ("tensor", _Tensor),
        ("context", ctypes.c_void_p),
        ("deleter", _Deleter),
    )


class _Versioned(ctypes.Structure):
    """``DLManagedTensorVersioned``."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", _Deleter),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


class _Form(NamedTuple):
    """One form of a managed tensor and the names its capsule bears before and after use."""

    kind: type[ctypes.Structure]
    name: bytes
    used: bytes


_OLD = _Form(_Managed, b"dltensor", b"used_dltensor")
_NEW = _Form(_Versioned, b"dltensor_versioned", b"used_dltensor_versioned")
_PADDED = 4
"""The flag that says that elements of fewer than 8 bits take a byte each."""

# ONNX's spelling → the protocol's type code and bits
_CODES = {
    "int8": (0, 8), "int16": (0, 16), "int32": (0, 32), "int64": (0, 64),
    "uint8": (1, 8), "uint16": (1, 16), "uint32": (1, 32), "uint64": (1, 64),
    "float16": (2, 16), "float": (2, 32), "double": (2, 64),
    "bfloat16": (4, 16), "complex64": (5, 64), "complex128": (5, 128), "bool": (6, 8),
    "float8e4m3fn": (10, 8), "float8e4m3fnuz": (11, 8), "float8e5m2": (12, 8),
    "float8e5m2fnuz": (13, 8), "float8e8m0": (14, 8), "float6e2m3": (15, 6),
    "float6e3m2": (16, 6), "float4e2m1": (17, 4),
    "int4": (0, 4), "uint4": (1, 4), "int2": (0, 2), "uint2": (1, 2),
}  # fmt: skip
_BY_NUMBER = {code_of_name(name): entry for name, entry in _CODES.items()}
_BY_ENTRY = {entry: code_of_name(name) for name, entry in _CODES.items()}

# not ctypes.pythonapi itself: whoever uses that shares its declarations with everybody
_api = ctypes.PyDLL("python", handle=ctypes.pythonapi._handle)
_new = _api.PyCapsule_New
_new.restype, _new.argtypes = (
    ctypes.py_object,
    (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
)
_valid = _api.PyCapsule_IsValid
_valid.restype, _valid.argtypes = ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p)
_pointer = _api.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = (
    ctypes.c_void_p,
    (ctypes.c_void_p, ctypes.c_char_p),
)
_rename = _api.PyCapsule_SetName
_rename.restype, _rename.argtypes = ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p)

_lent: dict[int, tuple[Any, ...]] = {}
"""What is lent out, by address: the array and the structures that describe it."""

_offered: list[Any] = []
"""Capsules that nobody had used when they were last looked at."""


def lend(array: np.ndarray[Any, Any], version: tuple[int, int] | None = None) -> Any:
    """Return a capsule over an array's memory, which lives until the capsule is done with.

    ``version`` is the newest the consumer reads; ``None`` means the old form. Raises
    ``BufferError`` for what the protocol cannot say: strings, and elements of fewer than 8
    bits for a consumer that does not know they may take a byte each.
    """
    entry = _BY_NUMBER.get(element_code(array.dtype))
    if entry is None:
        raise BufferError(f"DLPack has no type for {array.dtype}")
    form = _NEW if version is not None and tuple(version) >= (1, 0) else _OLD
    small = entry[1] < 8
    if small and (version is None or tuple(version) < (1, 1)):
        raise BufferError(
            f"{array.dtype} takes a byte for each element here, which DLPack can say from "
            "version 1.1 on; ask for max_version=(1, 1)"
        )
    dims = ctypes.c_int64 * max(array.ndim, 1)
    shape = dims(*array.shape)
    strides = dims(*(step // array.itemsize for step in array.strides))
    managed = form.kind()
    managed.deleter = _DELETE
    if form is _NEW:
        managed.major, managed.minor = 1, 1
        managed.flags = _PADDED if small else 0
    tensor = managed.tensor
    tensor.data, tensor.ndim = array.ctypes.data, array.ndim
    tensor.device = _Device(*ON_HOST)
    tensor.dtype = _Type(*entry, 1)
    tensor.shape, tensor.strides = shape, strides
    address = ctypes.addressof(managed)
    take_back()
    _lent[address] = (array, managed, shape, strides)
    capsule = _new(address, form.name, None)
    _offered.append(capsule)
    return capsule


def take_back() -> None:
    """Let go of what was offered in capsules that went without having been used.

    A capsule's own destructor may run while an exception is on its way, where no Python
    code must; so this is done when something is lent next.
    """
    for at in reversed(range(len(_offered))):
        found = [form for form in (_OLD, _NEW) if _valid(id(_offered[at]), form.name)]
        if found and sys.getrefcount(_offered[at]) <= 2:
            _delete(_pointer(id(_offered[at]), found[0].name))
        elif found:
            continue
        del _offered[at]


def _delete(address: int) -> None:
    _lent.pop(address, None)


_DELETE = _Deleter(_delete)


def peeked(capsule: Any) -> int | None:
    """Return the ONNX number of a capsule's element type; the capsule stays usable."""
    form = next((f for f in (_OLD, _NEW) if _valid(id(capsule), f.name)), None)
    if form is None:
        raise BufferError("it is no DLPack capsule, or it was used before")
    managed = form.kind.from_address(_pointer(id(capsule), form.name) or 0)
    return _BY_ENTRY.get((managed.tensor.dtype.code, managed.tensor.dtype.bits))


class _Borrowed:
    """Memory of another library: gives it back when no array looks into it any more."""

    def __init__(self, managed: Any, described: dict[str, Any]) -> None:
        self._managed = managed
        self.__array_interface__ = described

    def __del__(self) -> None:
        if self._managed.deleter:
            self._managed.deleter(ctypes.addressof(self._managed))


def borrow(capsule: Any) -> np.ndarray[Any, Any]:
    """Return an array over a capsule's memory, of whatever type; the capsule is used up.

    Raises ``BufferError`` for memory that is not the host's, for packed elements of fewer
    than 8 bits, and for a type that ONNX has not.
    """
    form = next((f for f in (_OLD, _NEW) if _valid(id(capsule), f.name)), None)
    if form is None:
        raise BufferError("it is no DLPack capsule, or it was used before")
    managed = form.kind.from_address(_pointer(id(capsule), form.name) or 0)
    tensor = managed.tensor
    if tensor.device.kind != ON_HOST[0]:
        raise BufferError(f"the tensor is on device {tensor.device.kind}, not the host")
    code = _BY_ENTRY.get((tensor.dtype.code, tensor.dtype.bits))
    if code is None or tensor.dtype.lanes != 1:
        raise BufferError(f"ONNX has no type for DLPack's {tensor.dtype.code}")
    if tensor.dtype.bits < 8 and not (form is _NEW and managed.flags & _PADDED):
        raise BufferError("elements of fewer than 8 bits are packed; unpack them first")
    dtype = numpy_dtype(code)
    shape = tuple(tensor.shape[: tensor.ndim])
    steps = tensor.strides[: tensor.ndim] if tensor.strides else None
    described = {
        "version": 3,
        "shape": shape,
        "typestr": f"|V{dtype.itemsize}",
        "data": ((tensor.data or 0) + tensor.byte_offset, False),
        "strides": None if steps is None else tuple(s * dtype.itemsize for s in steps),
    }
    _rename(id(capsule), form.used)
    owner = _Borrowed(managed, described)
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.asarray(owner).view(dtype)
