"""Streams of a device, lent to whoever works in one, and lent again when that is gone."""

from __future__ import annotations

import weakref
from collections import deque

from runtime_ep_cuda.driver import Driver, Stream


class Streams:
    """None is ever destroyed: what is still to be done in one comes before all else."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._idle: deque[Stream] = deque()

    def lend(self, borrower: object) -> Stream:
        """Return a stream that is nobody else's as long as the borrower lives."""
        try:
            stream = self._idle.pop()
        except IndexError:
            stream = self._driver.stream()
        gone = weakref.finalize(borrower, self._idle.append, stream)
        gone.atexit = False
        return stream
