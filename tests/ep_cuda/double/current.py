"""Whether a thread is on the double, for what must be called while it is."""

from __future__ import annotations

import threading


class Current:
    """A context in which the calling thread is on the device."""

    def __init__(self) -> None:
        self._depth = threading.local()

    @property
    def is_here(self) -> bool:
        """Whether the calling thread is on the device now."""
        return bool(getattr(self._depth, "value", 0))

    def __enter__(self) -> None:
        self._depth.value = getattr(self._depth, "value", 0) + 1

    def __exit__(self, *error: object) -> None:
        self._depth.value -= 1
