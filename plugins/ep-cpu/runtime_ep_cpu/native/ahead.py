"""Makes kernels ready beside what else is done: before a model is read, and behind it.

Those that nearly all models need are begun while a model is still being read. Those that
depend on sizes which a model leaves open are not waited for when a session is made: they
are ready when its first plan is, or soon after.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from runtime.locks import ProcessLock

from runtime_ep_cpu import pool
from runtime_ep_cpu.codegen import usual
from runtime_ep_cpu.codegen.library import Library, Spec, Store, library
from runtime_ep_cpu.codegen.target import Target

logger = logging.getLogger("runtime.cpu")

_lock = ProcessLock()
_running: _Errand | None = None
_behind: list[_Errand] = []


class _Errand:
    """Tasks done one after the other by a thread, which ends when there are none.

    What goes wrong is logged: whoever needs what a task was to make tries it again.
    """

    def __init__(self, tasks: Sequence[Callable[[], object]]) -> None:
        self._tasks = deque(tasks)
        self._guard = threading.Lock()
        self.is_over = False
        """Whether the thread takes no further task."""
        self._thread = threading.Thread(target=self._work, name="runtime-cpu-ahead")
        self._thread.start()

    def _work(self) -> None:
        while task := self._next():
            try:
                task()
            except Exception:
                logger.debug("kernels were not made ahead", exc_info=True)

    def _next(self) -> Callable[[], object] | None:
        with self._guard:
            if self._tasks:
                return self._tasks.popleft()
            self.is_over = True
            return None

    def take(self, task: Callable[[], object]) -> bool:
        """Do a task before all that have not begun; say no where the thread ends."""
        with self._guard:
            if not self.is_over:
                self._tasks.appendleft(task)
            return not self.is_over

    def stop(self) -> None:
        """Begin no other task; wait for the one that has begun."""
        with self._guard:
            self._tasks.clear()
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
        *(partial(_make_usual, kernels, batch, store) for batch in missing),
    ]
    with _lock:
        if _running is None or _running.is_over:
            _running = _Errand(tasks)


def _make_usual(kernels: Library, batch: frozenset[Spec], store: Store | None) -> None:
    """Load a batch that is kept; compile it only where the process finds a cold cache.

    So a second session of a model compiles nothing, whatever the first one got done.
    """
    if kernels.compiled:
        kernels.load(batch, store)
    else:
        kernels.recall(batch, store)


def finish() -> None:
    """Leave what has not begun to those who need it, and no thread behind."""
    global _running
    with _lock:
        errand, _running = _running, None
    if errand is not None:
        errand.stop()


def later(task: Callable[[], object]) -> None:
    """Have the thread do next what nobody waits for yet; return at once.

    `finish` does not end it any more.
    """
    global _running
    with _lock:
        errand, _running = _running, None
        if errand is None or not errand.take(task):
            errand = _Errand([task])
        _behind[:] = [*(each for each in _behind if not each.is_over), errand]


def settle() -> None:
    """Leave no thread behind, once each has done what it has begun."""
    finish()
    with _lock:
        errands, _behind[:] = list(_behind), []
    for errand in errands:
        errand.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=settle)
