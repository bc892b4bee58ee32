"""The views of compiled data that onnxruntime hands to callbacks; none are handed out here."""

from __future__ import annotations


class OrtEpContextData:
    """Compiled data to read from."""

    def __init__(self) -> None:
        raise TypeError("compiled data is in the model itself; nobody hands it out")

    @property
    def size(self) -> int:
        """The number of bytes."""
        return 0

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """Return some of the bytes."""
        return b""


class OrtEpContextDataBuffer:
    """Room for compiled data, to write into."""

    def __init__(self) -> None:
        raise TypeError("compiled data is in the model itself; nobody asks for it")

    is_allocated = False
    max_size = 0
    size = 0

    def allocate(self, size: int) -> None:
        """Make room."""

    def write(self, data: bytes, offset: int = 0) -> None:
        """Write some of the bytes."""
