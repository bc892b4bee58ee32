"""OrtValue: one value on any device, shared by pointer where it can be."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.api.devices import OrtDevice, device_of, reachable, transfer
from runtime.api.inner import Inner, itself
from runtime.api.sparse import SparseTensor
from runtime.plugin import HOST, Device
from runtime.valuetypes import ELEMENT_TYPES, element_code, numpy_dtype

ON_HOST = (1, 0)
"""DLPack's number of the host's memory, and of the first device of that kind."""


class OrtValue:
    """A tensor, sequence, map or nothing, with the device it lives on."""

    __slots__ = ("_device", "_keep", "_value")
    _value: Any
    _device: Device
    _keep: Any
    _ortvalue = Inner(itself)

    def __init__(self, value: Any, device: Device = HOST, keep: Any = None) -> None:
        if isinstance(value, OrtValue):  # one of the extension module, for clients
            value, device, keep = value._value, value._device, value._keep
        self._value = value
        self._device = device
        self._keep = keep

    @staticmethod
    def ortvalue_from_numpy(
        numpy_obj: Any,
        device_type: str = "cpu",
        device_id: int = 0,
        vendor_id: int = -1,
    ) -> OrtValue:
        """Wrap an array on the host without copying, or copy it to a device."""
        if not isinstance(numpy_obj, (np.ndarray, np.generic)):
            raise RuntimeError(
                f"expected a NumPy array, found {type(numpy_obj).__name__}; "
                "use OrtValue.from_dlpack for other libraries' tensors"
            )
        device = reachable(device_of(device_type, device_id))
        array = native(np.asarray(numpy_obj))
        return OrtValue(transfer(HOST, device)(array), device)

    @staticmethod
    def ortvalue_from_numpy_with_onnx_type(
        data: Any, onnx_element_type: int
    ) -> OrtValue:
        """Reinterpret an array's bytes as another element type of the same size."""
        target = numpy_dtype(int(onnx_element_type))
        if target.itemsize != data.dtype.itemsize:
            raise RuntimeError(
                f"{data.dtype} has {data.dtype.itemsize} bytes an element, "
                f"{target} has {target.itemsize}"
            )
        return OrtValue(data.view(target))

    @staticmethod
    def ortvalue_from_shape_and_type(
        shape: Sequence[int],
        element_type: Any,
        device_type: str = "cpu",
        device_id: int = 0,
        vendor_id: int = -1,
        memory_info: Any = None,
    ) -> OrtValue:
        """Allocate an uninitialised tensor."""
        dtype = dtype_of(element_type)
        device = reachable(device_of(device_type, device_id))
        if device == HOST:
            return OrtValue(np.empty(tuple(shape), dtype))
        copy = transfer(HOST, device)
        if hasattr(copy, "empty"):
            return OrtValue(copy.empty(tuple(shape), dtype), device)
        return OrtValue(copy(np.empty(tuple(shape), dtype)), device)

    @staticmethod
    def from_dlpack(obj: Any, is_bool_tensor: bool = False) -> OrtValue:
        """Wrap any tensor that speaks DLPack, without copying where it is on the host.

        A capsule is taken too, and used up. ``is_bool_tensor`` makes booleans of bytes,
        as which older makers of capsules pass them.
        """
        if type(obj).__name__ == "PyCapsule":
            from runtime.api import dlpack

            value = native(dlpack.borrow(obj))
        elif hasattr(obj, "__dlpack__"):
            value = from_dlpack(obj)
        else:
            raise TypeError(f"{type(obj).__name__} does not speak DLPack")
        if is_bool_tensor and value.dtype == np.uint8:
            value = value.view(np.bool_)
        return OrtValue(value, keep=obj)

    def to_dlpack(self) -> Any:
        """Return a DLPack capsule over the tensor's memory."""
        return self.__dlpack__()

    @staticmethod
    def ort_value_from_sparse_tensor(sparse_tensor: SparseTensor) -> OrtValue:
        """Wrap a sparse tensor; `as_sparse_tensor` gives it back."""
        return OrtValue(sparse_tensor)

    def as_sparse_tensor(self) -> SparseTensor:
        """Return the sparse tensor; any other value is a RuntimeError."""
        if not isinstance(self._value, SparseTensor):
            raise RuntimeError(f"the value is a {self.data_type()}, no sparse tensor")
        return self._value

    def numpy(self) -> Any:
        """Return the value on the host: the same memory there, else a copy."""
        self._must_be_dense()
        return transfer(self._device, HOST)(self._value)

    def _must_be_dense(self) -> None:
        if isinstance(self._value, SparseTensor):
            raise RuntimeError(
                "the value is a sparse tensor; as_sparse_tensor().numpy() makes it dense"
            )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, *, stream: Any = None, **keywords: Any) -> Any:
        if self._device != HOST:
            return self._value.__dlpack__(stream=stream, **keywords)
        try:
            return self._value.__dlpack__(**keywords)
        except BufferError:
            if np.dtype(self._value.dtype).type.__module__ == "numpy":
                raise
            from runtime.api import dlpack

            return dlpack.lend(self._value, keywords.get("max_version"))

    def __dlpack_device__(self) -> tuple[int, int]:
        found = getattr(self._value, "__dlpack_device__", None)
        told: tuple[int, int] = found() if found is not None else ON_HOST
        return told

    def data_ptr(self) -> int:
        """Return the address of the first element."""
        self._must_be_dense()
        return pointer(self._value)

    def device_name(self) -> str:
        """Return the kind of the device, e.g. ``cpu``."""
        return self._device.kind

    def device(self) -> OrtDevice:
        """Return the device."""
        return OrtDevice(self._device.kind, self._device.index)

    def shape(self) -> list[int]:
        """Return a tensor's shape."""
        if isinstance(self._value, SparseTensor):
            return self._value.dense_shape()
        return [int(dim) for dim in self._value.shape]

    def data_type(self) -> str:
        """Return the type as ``tensor(float)``."""
        if isinstance(self._value, list):
            inner = OrtValue(self._value[0]).data_type() if self._value else "tensor"
            return f"seq({inner})"
        if isinstance(self._value, dict):
            return "map"
        if isinstance(self._value, SparseTensor):
            return self._value.data_type()
        return f"tensor({ELEMENT_TYPES[self.element_type()].name})"

    def element_type(self) -> int:
        """Return the ONNX number of the element type."""
        if isinstance(self._value, SparseTensor):
            return self._value.element_type()
        return element_code(self._value.dtype)

    def tensor_size_in_bytes(self) -> int:
        """Return the bytes a tensor takes."""
        self._must_be_dense()
        return int(self._value.nbytes)

    def has_value(self) -> bool:
        """Whether there is anything."""
        return self._value is not None

    def is_tensor(self) -> bool:
        """Whether it is a dense tensor."""
        return hasattr(self._value, "dtype")

    def is_sparse_tensor(self) -> bool:
        """Whether it is a sparse tensor."""
        return isinstance(self._value, SparseTensor)

    def is_tensor_sequence(self) -> bool:
        """Whether it is a sequence of tensors."""
        return isinstance(self._value, list)

    def update_inplace(self, np_arr: Any) -> None:
        """Overwrite the tensor with one of the same shape and element type."""
        source = np_arr._value if isinstance(np_arr, OrtValue) else np.asarray(np_arr)
        if tuple(source.shape) != tuple(self._value.shape) or (
            source.dtype != self._value.dtype
        ):
            raise ValueError(
                f"the value is {self._value.dtype}{list(self._value.shape)}, "
                f"the update {source.dtype}{list(source.shape)}; they must be the same"
            )
        if self._device == HOST:
            np.copyto(self._value, np.asarray(source))
            return
        copy = transfer(HOST, self._device)
        if not hasattr(copy, "copy"):
            raise RuntimeError(f"{self._device} has no copy into existing memory")
        copy.copy(source, self._value)


def dtype_of(element_type: Any) -> np.dtype[Any]:
    """Return the NumPy dtype of a dtype or an ONNX number."""
    if isinstance(element_type, int) and not isinstance(element_type, bool):
        return numpy_dtype(element_type)
    found: np.dtype[Any] = np.dtype(element_type)
    return found


def native(array: Any) -> Any:
    """Return an array in the machine's byte order, C-ordered; a copy only where needed."""
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def from_dlpack(obj: Any) -> Any:
    """Return a host array over any DLPack tensor; others' devices are copied down."""
    kind, _ = obj.__dlpack_device__()
    if kind != ON_HOST[0] and hasattr(obj, "cpu"):
        obj = obj.cpu()
    if hasattr(obj, "detach"):
        obj = obj.detach()
    if hasattr(obj, "is_contiguous") and not obj.is_contiguous():
        obj = obj.contiguous()
    try:
        return native(np.from_dlpack(obj))
    except (BufferError, RuntimeError, TypeError):
        from runtime.api import dlpack

        return native(dlpack.borrow(_capsule(obj)))


def from_cuda(obj: Any) -> OrtValue:
    """Wrap memory of a CUDA device by its array interface, where it is.

    Raises ``RuntimeError`` where no provider here owns the device, and ``ValueError`` for
    memory that is not C-ordered.
    """
    told = obj.__cuda_array_interface__
    shape, dtype = tuple(told["shape"]), np.dtype(told["typestr"])
    steps = told.get("strides")
    if steps is not None and tuple(steps) != _c_strides(shape, dtype.itemsize):
        raise ValueError(
            "memory of a CUDA device is taken in C order only; copy it first"
        )
    index = getattr(getattr(obj, "device", None), "index", None)
    index = getattr(getattr(obj, "device", None), "id", index)
    device = Device("cuda", index if isinstance(index, int) else 0)
    value = at_pointer(told["data"][0], shape, dtype, device)
    return OrtValue(value, device, keep=obj)


def _c_strides(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """Return the bytes between neighbours along each axis, in C order."""
    steps = []
    for dim in reversed(shape):
        steps.append(size)
        size *= dim
    return tuple(reversed(steps))


def _capsule(obj: Any) -> Any:
    """Return a tensor's capsule, of the newest form its maker knows."""
    try:
        return obj.__dlpack__(max_version=(1, 1))
    except TypeError:
        return obj.__dlpack__()


def pointer(value: Any) -> int:
    """Return the address of an array's first element, on whatever device."""
    for name in ("__array_interface__", "__cuda_array_interface__"):
        interface = getattr(value, name, None)
        if interface is not None:
            return int(interface["data"][0])
    address = getattr(value, "pointer", None)
    if address is None:
        raise TypeError(f"{type(value).__name__} has no address")
    return int(address)


def at_pointer(address: int, shape: Sequence[int], dtype: Any, device: Device) -> Any:
    """Return a view of foreign memory on a device."""
    dtype = np.dtype(dtype)
    if device != HOST:
        wrap = getattr(transfer(HOST, device), "wrap", None)
        if wrap is None:
            raise RuntimeError(f"the provider of {device} cannot use foreign memory")
        return wrap(address, tuple(shape), dtype)
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if count == 0:
        return np.empty(tuple(shape), dtype)
    block = (ctypes.c_uint8 * count).from_address(address)
    return np.frombuffer(block, dtype).reshape(tuple(shape))
