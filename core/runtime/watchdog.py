"""Tells whose call has not returned for too long, and where it stands."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from runtime.explain import Event, warn_once

Tell = Callable[[Event], None]

LINGER = 0.5
"""How many seconds the watching thread waits for another call before it ends."""


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    provider: str
    doing: str
    limit: float
    due: float
    thread: int
    tell: Tell


class _Watchdog:
    """One thread that sleeps until the next call is due; there only while calls are."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._changed = threading.Condition()
        self._calls: dict[_Call, None] = {}
        self._wakes = 0.0
        self._running = False

    def begin(self, call: _Call) -> None:
        """Watch a call from now on."""
        with self._changed:
            self._calls[call] = None
            if not self._running:
                self._running = True
                name = "runtime-watchdog"
                threading.Thread(target=self._watch, name=name, daemon=True).start()
            elif call.due < self._wakes:
                self._changed.notify()

    def end(self, call: _Call) -> None:
        """Stop watching a call."""
        with self._changed:
            self._calls.pop(call, None)

    def _watch(self) -> None:
        """Sleep until something is due; a tick without calls ends the thread."""
        idle = False
        while True:
            with self._changed:
                if idle and not self._calls:
                    self._running = False
                    return
                idle = not self._calls
                now = time.monotonic()
                late = [call for call in self._calls if call.due <= now]
                for call in late:
                    del self._calls[call]
                due = (call.due for call in self._calls)
                self._wakes = min(due, default=now + LINGER)
                if not late:
                    self._changed.wait(max(self._wakes - now, 0.0))
            for call in late:
                _report(call)


def _report(call: _Call) -> None:
    """Say who hangs and where; a warning turned into an error must not end the watch."""
    frame = sys._current_frames().get(call.thread)
    stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
    reason = f"{call.doing} has not returned for {call.limit:g} s"
    if stack:
        reason += f"; it stands at\n{stack.rstrip()}"
    try:
        call.tell(Event(call.provider, "hang", reason))
    except Warning:
        return


_watchdog = _Watchdog()


@contextmanager
def patience(
    provider: str, doing: str, limit: float, tell: Tell = warn_once
) -> Iterator[None]:
    """Report a provider whose work in this block takes longer than ``limit`` seconds.

    The block goes on: nothing can end a thread that does not return.
    """
    thread = threading.get_ident()
    call = _Call(provider, doing, limit, time.monotonic() + limit, thread, tell)
    _watchdog.begin(call)
    try:
        yield
    finally:
        _watchdog.end(call)


def watched(
    function: Callable[..., Any], provider: str, doing: str, limit: float
) -> Callable[..., Any]:
    """Return a function under `patience`, or itself where the limit is 0."""
    if not limit:
        return function

    def call(*arguments: Any, **keywords: Any) -> Any:
        with patience(provider, doing, limit):
            return function(*arguments, **keywords)

    return call
