"""Runs sessions from many threads for a while and checks every answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.quiet import status
from benchmarks.reference import error

TOLERANCE = 2e-5
"""How far an answer may be from the first one, as a part of its largest magnitude."""


class Crew:
    """Threads that run sessions, each thread with inputs of its own."""

    def __init__(
        self,
        sessions: Sequence[Any],
        feeds: Sequence[dict[str, np.ndarray]],
        threads: int,
        gap: float,
    ) -> None:
        self._sessions, self._feeds, self._gap = sessions, feeds, gap
        self._wanted = [sessions[0].outputs(feed) for feed in feeds]
        self._start = threading.Barrier(threads + 1)
        self._end = 0.0
        self.times: list[list[float]] = [[] for _ in range(threads)]
        self.wrong = 0
        self.failures: list[str] = []

    def work(self, index: int) -> None:
        """Be one thread: run until the time is up."""
        session = self._sessions[index % len(self._sessions)]
        which = index % len(self._feeds)
        feed, want = self._feeds[which], self._wanted[which]
        self._start.wait()
        while time.perf_counter() < self._end:
            began = time.perf_counter()
            try:
                got = session.outputs(feed)
            except Exception as problem:
                self.failures.append(f"{type(problem).__name__}: {problem}")
                return
            self.times[index].append(time.perf_counter() - began)
            if not error(got, want) <= TOLERANCE:
                self.wrong += 1
            if self._gap:
                time.sleep(self._gap)

    def run(self, seconds: float) -> float:
        """Let all threads work; return the seconds until the last one ended."""
        crew = [
            threading.Thread(target=self.work, args=(index,), daemon=True)
            for index in range(len(self.times))
        ]
        for thread in crew:
            thread.start()
        began = time.perf_counter()
        self._end = began + seconds
        self._start.wait()
        for thread in crew:
            thread.join()
        return time.perf_counter() - began


def answer(opened: Callable[[], Any], request: dict[str, Any]) -> dict[str, Any]:
    """Serve a worker's request.

    ``{"sessions", "threads", "seconds", "gap", "feeds": [FILE.npz, …]}``; ``opened`` makes
    a session. Answers with runs a second, latencies, wrong answers and failures.
    """
    feeds = []
    for path in request["feeds"]:
        with np.load(path) as arrays:
            feeds.append(dict(arrays))
    sessions = [opened() for _ in range(request["sessions"])]
    crew = Crew(sessions, feeds, request["threads"], request["gap"])
    seconds = crew.run(request["seconds"])
    times = np.array([value for each in crew.times for value in each] or [np.nan])
    return {
        "runs": sum(map(len, crew.times)),
        "seconds": seconds,
        "fewest": min(map(len, crew.times)),
        "median_ms": 1e3 * float(np.median(times)),
        "worst_ms": 1e3 * float(np.max(times)),
        "wrong": crew.wrong,
        "failures": crew.failures,
        "memory": status(),
    }
