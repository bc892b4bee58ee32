"""Runs that go on while their caller does something else, and tell when they are done."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

logger = logging.getLogger("runtime")

Callback = Callable[[list[Any], Any, str], Any]
"""Called with the results, the caller's own value, and ``""`` or what went wrong."""

_AT_ONCE = 4


class Later:
    """A few threads of one session, made when the first run is asked for."""

    def __init__(self, owner: object) -> None:
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="runtime-async")
        weakref.finalize(owner, self._pool.shutdown, wait=False)

    def call(
        self, run: Callable[[], list[Any]], callback: Callback, user_data: Any
    ) -> None:
        """Run and then call back, both on a thread; an error becomes a text."""

        def task() -> None:
            try:
                results, told = run(), ""
            except Exception as error:
                results, told = [], str(error) or type(error).__name__
            try:
                callback(results, user_data, told)
            except Exception:
                logger.exception("the callback of run_async raised")

        self._pool.submit(task)
