"""Locks of the whole process, which a forked child finds open."""

from __future__ import annotations

import os
import threading


class ProcessLock:
    """A lock that another thread's hold does not carry over into a forked child."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()
