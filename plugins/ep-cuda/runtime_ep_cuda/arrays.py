"""Arrays on a device: an address with a shape, which the host cannot read by accident."""

from __future__ import annotations

from math import prod
from typing import Any, NoReturn

import numpy as np

from runtime_ep_cuda.driver import Driver

ON_CUDA = 2
"""DLPack's number of CUDA devices."""


class DeviceArray:
    """A C-ordered array in a device's memory, which ``owner`` keeps alive.

    Whoever makes one has waited for what is written into it.
    """

    __slots__ = ("driver", "dtype", "owner", "pointer", "shape")

    def __init__(
        self,
        driver: Driver,
        pointer: int,
        shape: tuple[int, ...],
        dtype: Any,
        owner: Any = None,
    ):
        self.driver = driver
        self.pointer = pointer
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.owner = owner

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without axes has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        dims = ", ".join(map(str, self.shape))
        return f"<{self.dtype}[{dims}] on cuda:{self.driver.index}>"

    def __array__(self, *args: Any, **keywords: Any) -> NoReturn:
        raise TypeError(
            f"this array is on cuda:{self.driver.index}, and NumPy cannot read it there; "
            "OrtValue.numpy() copies it to the host"
        )

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return ON_CUDA, self.driver.index

    def __dlpack__(self, *, stream: Any = None, **keywords: Any) -> Any:
        """Lend the memory; it is finished, so that no stream has to wait."""
        view = self.driver.view(self.pointer, self.shape, self.dtype, self)
        if tuple(view.__dlpack_device__()) != self.__dlpack_device__():
            raise BufferError(f"{self!r} cannot be lent: its driver is not CUDA's")
        return view.__dlpack__(stream=-1, **keywords)
