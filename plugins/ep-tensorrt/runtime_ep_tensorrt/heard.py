"""What TensorRT says, and calls of Python's: kept, and never raised through it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

logger = logging.getLogger("runtime.tensorrt")

MOST_ERRORS = 64
"""Messages that are kept for the reason of a failure: the last ones."""
LEVELS = {"INTERNAL_ERROR": 40, "ERROR": 40, "WARNING": 30, "INFO": 20, "VERBOSE": 10}


class Caught:
    """Calls that TensorRT makes into Python: what they raise must not pass through it.

    It is raised again when TensorRT has returned.
    """

    def __init__(self) -> None:
        self._error: BaseException | None = None

    def call(self, otherwise: Any, function: Callable[..., Any], *told: Any) -> Any:
        """Return what a function returns, or something else where it or another raised."""
        try:
            found = function(*told)
        except BaseException as error:
            self._error = self._error or error
        return otherwise if self._error is not None else found

    def again(self) -> None:
        """Raise what was caught."""
        error, self._error = self._error, None
        if error is not None:
            raise error


class Said:
    """What TensorRT has logged as errors since it was asked for something."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=MOST_ERRORS)

    def hear(self, severity: str, message: str) -> None:
        """Hand on to Python's log, whose handlers may fail; keep errors."""
        level = LEVELS.get(severity, logging.INFO)
        if level >= logging.ERROR:
            self._errors.append(message)
        with suppress(Exception):
            logger.log(level, "%s", message)

    def forget(self) -> None:
        self._errors.clear()

    def why(self, otherwise: str) -> str:
        return "; ".join(self._errors) or otherwise
