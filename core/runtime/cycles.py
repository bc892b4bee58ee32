"""Puts the search for unreachable cycles off while a model is made ready.

A graph is many objects that all stay; Python's collector would go through them, and through
all that the process has beside them, time and again.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.locks import ProcessLock

_lock = ProcessLock()
_holders = 0


@contextmanager
def unsearched() -> Iterator[None]:
    """Hold the collector off during the body, of several threads until the last one's end.

    Where somebody else has turned it off it stays as it is.
    """
    global _holders
    with _lock:
        held = _holders > 0 or gc.isenabled()
        if held:
            gc.disable()
            _holders += 1
    try:
        yield
    finally:
        if held:
            _let_go()


def _let_go() -> None:
    global _holders
    with _lock:
        if _holders:  # none is left where the body has forked
            _holders -= 1
            if not _holders:
                gc.enable()


def _after_fork() -> None:
    """Let a child collect, in which the threads that held the collector off are gone."""
    global _holders
    if _holders:
        _holders = 0
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
