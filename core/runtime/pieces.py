"""A file read piece by piece, where and when its bytes are asked for; never mapped.

A mapped file that is cut short kills the process that reads it. Here it is an error, and
so is a file that was written since it was opened.
"""

from __future__ import annotations

import os
import threading
from typing import Any, overload

import numpy as np

from runtime.errors import ModelUnreadable

Array = np.ndarray[Any, Any]

_WINDOW = 1 << 14


class FilePieces:
    """A file's bytes: an index reads one, a slice is a `Piece` that is read later.

    ``key`` names the file as it was when it was opened. Thread-safe but for indexing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  closed by `close`
        self._lock = threading.Lock()
        self.key = self._stamp()
        self._window = np.empty(0, np.uint8)
        self._start = 0

    def _stamp(self) -> tuple[int, int, int, int]:
        stat = os.fstat(self._file.fileno())
        return (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)

    def __len__(self) -> int:
        return self.key[-1]

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> Piece: ...
    def __getitem__(self, place: int | slice) -> int | Piece:
        if isinstance(place, slice):
            start, stop, _ = place.indices(len(self))
            return Piece(self, start, stop)
        if not 0 <= place - self._start < len(self._window):
            if place >= len(self):
                raise IndexError(f"byte {place} of {len(self)}")
            self._window = self[place : place + _WINDOW].read()
            self._start = place
        return int(self._window[place - self._start])

    def fill(self, array: Array, start: int) -> None:
        """Fill an array of bytes with those from ``start`` on.

        Raises `ModelUnreadable` where the file has changed since it was opened.
        """
        left, count = array.data, 1
        with self._lock:
            self._file.seek(start)
            while len(left) and count:
                count = self._file.readinto(left) or 0
                left = left[count:]
            if len(left) or self._stamp() != self.key:
                raise ModelUnreadable(
                    f"{self._file.name!r} was written while it was being read; "
                    "load it again when it is complete"
                )

    def close(self) -> None:
        """Close the file; no piece can be read after that."""
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()


class Piece:
    """A part of a file that is not in memory."""

    __slots__ = ("_file", "_start", "_stop")

    def __init__(self, file: FilePieces, start: int, stop: int) -> None:
        self._file = file
        self._start = start
        self._stop = max(start, stop)

    def __len__(self) -> int:
        return self._stop - self._start

    def __bytes__(self) -> bytes:
        return self.read().tobytes()

    @property
    def key(self) -> tuple[int, ...]:
        """What it is a part of, and where it begins."""
        return (*self._file.key, self._start)

    def read(self, room: Array | None = None) -> Array:
        """Return the bytes, in the first of ``room`` where that is given."""
        array = np.empty(len(self), np.uint8) if room is None else room[: len(self)]
        self._file.fill(array, self._start)
        return array
