"""How long a run goes on after it is asked to stop, whatever else the machine does."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import runtime as ort


def least_seconds_to_stop(
    session: Any, feed: dict[str, Any], after: float, tries: int = 10
) -> float:
    """Return the least time of several runs from being asked to stop to their end.

    Args:
        session: what to run.
        feed: its inputs; the run must last well over `after`.
        after: seconds from a run's begin until it is asked to stop.
        tries: the number of runs.

    Returns:
        Seconds; the least, as what disturbs a shared machine only adds.
    """
    return min(_seconds_to_stop(session, feed, after) for _ in range(tries))


def _seconds_to_stop(session: Any, feed: dict[str, Any], after: float) -> float:
    options, asked = ort.RunOptions(), []

    def ask() -> None:
        asked.append(time.perf_counter())
        options.terminate = True

    timer = threading.Timer(after, ask)
    timer.start()
    with pytest.raises(Exception, match="stopped"):
        session.run(None, feed, options)
    ended = time.perf_counter()
    timer.join()
    return ended - asked[0]
