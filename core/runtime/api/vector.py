"""OrtValueVector: the list of values that libraries with a C++ habit pass around."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from runtime.api.values import OrtValue


class OrtValueVector(list[OrtValue]):
    """A list of OrtValues with the methods of onnxruntime's vector."""

    def __init__(self, values: Iterable[OrtValue] = ()) -> None:
        super().__init__(values)

    def push_back(self, value: Any, is_bool_tensor: bool = False) -> None:
        """Append an OrtValue, or any tensor that speaks DLPack."""
        self.append(
            value
            if isinstance(value, OrtValue)
            else OrtValue.from_dlpack(value, is_bool_tensor)
        )

    def push_back_batch(
        self,
        tensors: Sequence[Any],
        data_ptrs: Sequence[int],
        element_types: Sequence[Any],
        shapes: Sequence[Sequence[int]],
        devices: Sequence[Any],
    ) -> None:
        """Append views of memory by address; ``tensors`` are kept alive with them."""
        from runtime.api.devices import device_of
        from runtime.api.values import at_pointer, dtype_of

        for tensor, address, kind, shape, place in zip(
            tensors, data_ptrs, element_types, shapes, devices, strict=True
        ):
            device = device_of(place._kind, place.device_id())
            value = at_pointer(address, shape, dtype_of(kind), device)
            self.append(OrtValue(value, device, keep=tensor))

    def reserve(self, count: int) -> None:
        """Do nothing: lists grow by themselves."""

    def shrink_to_fit(self) -> None:
        """Do nothing: lists shrink by themselves."""

    def element_type_at(self, index: int) -> int:
        """Return the ONNX number of a value's element type."""
        return self[index].element_type()

    def dlpack_at(self, index: int) -> Any:
        """Return a value as a DLPack capsule."""
        return self[index].__dlpack__()

    def to_dlpacks(self, to_tensor: Callable[[Any], Any] | None = None) -> list[Any]:
        """Return every value as a DLPack capsule, or as what ``to_tensor`` makes of it."""
        capsules = [value.__dlpack__() for value in self]
        return capsules if to_tensor is None else [to_tensor(each) for each in capsules]

    def bool_tensor_indices(self) -> list[int]:
        """Return where the boolean tensors stand."""
        return [at for at, value in enumerate(self) if value.element_type() == 9]
