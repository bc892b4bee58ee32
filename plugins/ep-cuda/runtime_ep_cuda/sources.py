"""Where pools take regions from, besides a driver: a caller's functions, a part of a pool."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager

from runtime_ep_cuda.driver import OutOfMemory
from runtime_ep_cuda.memory import Pool


class Share:
    """A part of a pool, for one purpose, as the source of a pool within.

    What is freed there is only used again in the streams of whoever has it.
    """

    def __init__(self, pool: Pool, note: str):
        self._pool = pool
        self._note = note

    def allocate(self, size: int) -> int:
        """Return the address of new memory. Raises `LimitExceeded` as the pool does."""
        return self._pool.allocate(size, self._note)

    def free(self, address: int) -> None:
        """Give it back."""
        self._pool.free(address)


class External:
    """A caller's allocator, given by the addresses of C functions.

    ``allocate`` is ``void* (size_t)`` and ``free`` is ``void (void*)``, as onnxruntime's
    ``gpu_external_alloc`` and ``gpu_external_free`` are. They are called while the
    thread is on the device, by ``current``.
    """

    def __init__(
        self,
        allocate: int,
        free: int,
        empty_cache: int = 0,
        *,
        current: AbstractContextManager[None],
    ):
        self._current = current
        sized = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)
        pointed = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        self._allocate: Callable[[int], int | None] = sized(allocate)
        self._free: Callable[[int], None] = pointed(free)
        self._empty = ctypes.CFUNCTYPE(None)(empty_cache) if empty_cache else None

    def allocate(self, size: int) -> int:
        """Return the address of new memory."""
        with self._current:
            address = self._allocate(size)
        if not address:
            raise OutOfMemory(f"the external allocator has no {size} bytes")
        return address

    def free(self, address: int) -> None:
        """Give it back, and tell the caller's cache."""
        with self._current:
            self._free(address)
            if self._empty is not None:
                self._empty()
