"""What holds for a thread, or for all of them, while a device is at work."""

from __future__ import annotations

import gc
import threading
from typing import Any


class Current:
    """Makes a device's context the calling thread's, and puts back the one that was.

    Contexts and not devices are put back: to make a device current makes a context on
    it, too, and a thread that has never used CUDA would get one on the first device.
    """

    def __init__(self, runtime: Any, driver: Any, index: int):
        self._driver = driver
        self._before = threading.local()
        runtime.getDeviceCount()  # makes ready what contexts are asked of
        before = driver.ctxGetCurrent()
        runtime.setDevice(index)
        self._context = driver.ctxGetCurrent()
        driver.ctxSetCurrent(before)

    def __enter__(self) -> None:
        before = self._driver.ctxGetCurrent()
        self._before.__dict__.setdefault("stack", []).append(before)
        if before != self._context:
            self._driver.ctxSetCurrent(self._context)

    def __exit__(self, *error: object) -> None:
        before = self._before.stack.pop()
        if before != self._context:
            self._driver.ctxSetCurrent(before)


class Uncollected:
    """Puts off the collection of garbage: what is freed by it would break a capture."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._was_on = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._count:
                self._was_on = gc.isenabled()
                gc.disable()
            self._count += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._count -= 1
            if not self._count and self._was_on:
                gc.enable()


uncollected = Uncollected()
"""Shared by all devices, as the collector is the process's."""
