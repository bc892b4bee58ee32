"""Pinned memory of the host, through which arrays of any size are copied piece by piece."""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

PIECE = 4 << 20
PIECES = 4
"""While one piece is on its way, the next is filled."""


class Staging:
    """A ring of pinned pieces, each free again when its event is reached.

    ``runtime`` is ``cupy.cuda.runtime``. Callers have made the device current.
    """

    def __init__(self, runtime: Any):
        self._runtime = runtime
        self._lock = threading.Lock()
        self._ring: deque[tuple[int, int]] = deque()

    def upload(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy from the host's memory, which may be changed when this returns."""
        kind = self._runtime.memcpyHostToDevice
        with self._lock:
            for offset, count in _pieces(size):
                piece, event = self._next()
                self._runtime.eventSynchronize(event)
                ctypes.memmove(piece, source + offset, count)
                self._runtime.memcpyAsync(target + offset, piece, count, kind, stream)
                self._runtime.eventRecord(event, stream)

    def download(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy into the host's memory, and wait until it is there."""
        kind = self._runtime.memcpyDeviceToHost
        begun: deque[tuple[int, int, int, int]] = deque()
        with self._lock:
            for offset, count in _pieces(size):
                if len(begun) == PIECES:
                    self._land(target, *begun.popleft())
                piece, event = self._next()
                self._runtime.eventSynchronize(event)
                self._runtime.memcpyAsync(piece, source + offset, count, kind, stream)
                self._runtime.eventRecord(event, stream)
                begun.append((offset, count, piece, event))
            for each in begun:
                self._land(target, *each)

    def close(self) -> None:
        """Give the memory back."""
        with self._lock:
            while self._ring:
                piece, event = self._ring.popleft()
                self._runtime.eventSynchronize(event)
                self._runtime.eventDestroy(event)
                self._runtime.freeHost(piece)

    def _land(
        self, target: int, offset: int, count: int, piece: int, event: int
    ) -> None:
        self._runtime.eventSynchronize(event)
        ctypes.memmove(target + offset, piece, count)

    def _next(self) -> tuple[int, int]:
        if len(self._ring) < PIECES:
            piece = self._runtime.hostAlloc(PIECE, self._runtime.hostAllocDefault)
            event = self._runtime.eventCreateWithFlags(self._runtime.eventDisableTiming)
            self._ring.append((piece, event))
        else:
            self._ring.rotate(-1)
        return self._ring[-1]


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    for offset in range(0, size, PIECE):
        yield offset, min(PIECE, size - offset)
