"""Weights on the device: each in the forms that plans read, in slabs, uploaded once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from runtime.graph import Value

from runtime_ep_cuda.arena import aligned
from runtime_ep_cuda.dtypes import Dtype
from runtime_ep_cuda.quantized import constant_of
from runtime_ep_cuda.tensor import Buffer, Tensor

Array = np.ndarray[Any, Any]


class Weights:
    """Constants of one executable, by value and form.

    A form that a plan asks for anew waits on the host until `settle` puts all that wait
    into one slab.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, Tensor] = {}
        self._waiting: list[tuple[Buffer, Array]] = []
        self._slabs: list[int] = []
        self.bytes = 0

    def get(
        self,
        value: Value,
        dtype: Dtype,
        form: Hashable = "as it is",
        make: Callable[[Array], Array] | None = None,
    ) -> Tensor:
        """Return a constant in a type and form; ``make`` turns its array into the form."""
        key = (value, dtype, form)
        if key not in self._made:
            array = constant_of(value)
            if array is None:
                raise ValueError(f"{value.name!r} is no constant")
            array = make(array) if make is not None else array
            self._made[key] = self.put(array.astype(dtype, copy=False))
        return self._made[key]

    def put(self, array: Array) -> Tensor:
        """Return an array as a tensor that waits to be uploaded."""
        array = np.ascontiguousarray(array).reshape(array.shape)
        buffer = Buffer(array.nbytes, "weight")
        self._waiting.append((buffer, array))
        return Tensor.dense(buffer, array.dtype, array.shape)

    def settle(
        self,
        allocate: Callable[[int], int],
        upload: Callable[[int, Array], None],
    ) -> None:
        """Give everything that waits an address, and its contents."""
        size = sum(aligned(max(buffer.size, 1)) for buffer, _ in self._waiting)
        if not size:
            return
        slab = allocate(size)
        self._slabs.append(slab)
        self.bytes += size
        offset = slab
        for buffer, array in self._waiting:
            buffer.address = offset
            if buffer.size:
                upload(offset, array)
            offset += aligned(max(buffer.size, 1))
        self._waiting.clear()

    def release(self, free: Callable[[int], None]) -> None:
        """Give every slab back."""
        for slab in self._slabs:
            free(slab)
        self._slabs.clear()
        self._made.clear()
        self.bytes = 0
