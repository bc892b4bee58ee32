"""How a build goes on: a line on a terminal that is written over, and the log."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TextIO

logger = logging.getLogger("runtime.tensorrt")

WIDTH = 24


class Bar:
    """Tells of the outermost phase of a build, and of the one that goes on within it.

    It is shown where standard error is a terminal; `logging` has the rest.
    """

    def __init__(self, name: str, stream: TextIO | None = None) -> None:
        self._name = name
        self._stream = sys.stderr if stream is None else stream
        self._lock = threading.Lock()
        self._steps: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._outer = ""
        self._shown = self._stream is not None and self._stream.isatty()

    def begin(self, phase: str, parent: str, steps: int) -> None:
        """A phase has begun."""
        with self._lock:
            self._steps[phase], self._done[phase] = max(steps, 1), 0
            if not parent:
                self._outer = phase
                logger.info("%s: %s", self._name, phase)
            self._show(phase)

    def step(self, phase: str, step: int) -> bool:
        """A step of it is done; the build goes on."""
        with self._lock:
            self._done[phase] = step + 1
            self._show(phase)
        return True

    def end(self, phase: str) -> None:
        """The phase is over; with the outermost one, the line goes."""
        with self._lock:
            self._steps.pop(phase, None)
            self._done.pop(phase, None)
            if phase == self._outer:
                self._write("")

    def _show(self, phase: str) -> None:
        outer = self._outer or phase
        share = self._done.get(outer, 0) / self._steps.get(outer, 1)
        full = round(min(share, 1.0) * WIDTH)
        inner = "" if phase == outer else f", {phase}"
        self._write(f"TensorRT [{'#' * full:<{WIDTH}}] {share:4.0%} {outer}{inner}")

    def _write(self, text: str) -> None:
        if not self._shown:
            return
        try:
            self._stream.write(f"\r\x1b[K{text[:100]}")
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone, or has no such letters
            self._shown = False
