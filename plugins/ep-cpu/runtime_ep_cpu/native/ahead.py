"""Makes kernels ready while a model is still being read: those that nearly all need."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial

from runtime.locks import ProcessLock

from runtime_ep_cpu import pool
from runtime_ep_cpu.codegen import usual
from runtime_ep_cpu.codegen.library import Store, library
from runtime_ep_cpu.codegen.target import Target

logger = logging.getLogger("runtime.cpu")

_lock = ProcessLock()
_running: _Errand | None = None


class _Errand:
    """Tasks done one after the other by a thread, until it is told to stop.

    What goes wrong is logged: whoever needs what a task was to make tries it again.
    """

    def __init__(self, tasks: Sequence[Callable[[], object]]) -> None:
        self._tasks = tasks
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="runtime-cpu-ahead")
        self._thread.start()

    def _work(self) -> None:
        for task in self._tasks:
            if self._stopped:
                return
            try:
                task()
            except Exception:
                logger.debug("kernels were not made ahead", exc_info=True)

    @property
    def is_over(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Begin no other task; wait for the one that has begun."""
        self._stopped = True
        self._thread.join()


def begin(target: Target, threads: int, store: Store | None) -> None:
    """Have a thread load the walk and the usual kernels, or compile and keep them.

    Returns at once. Nothing happens where all are loaded or another thread is at it.
    """
    global _running
    kernels = library(target)
    missing = [b for b in usual.batches(target) if not all(map(kernels.has, b))]
    if not missing and pool.is_shared(threads, target):
        return
    tasks: list[Callable[[], object]] = [
        partial(pool.shared, threads, target, store),
        *(partial(kernels.load, batch, store) for batch in missing),
    ]
    with _lock:
        if _running is None or _running.is_over:
            _running = _Errand(tasks)


def finish() -> None:
    """Leave what has not begun to those who need it, and no thread behind."""
    global _running
    with _lock:
        errand, _running = _running, None
    if errand is not None:
        errand.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=finish)
