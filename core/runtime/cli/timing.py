"""Times calls: warm-up until stable, then at least so long and so often, in rounds."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Call = Callable[[], Any]

LONGEST_WARM_UP = 5.0
PAUSE = 0.05
"""Seconds between turns of different calls: one's idle threads may spin that long."""

STABLE = 0.05
"""Warm-up ends when two successive windows' medians differ by less than this."""


@dataclass(slots=True)
class Times:
    """The seconds of every run, and the time all of them took together."""

    runs: list[float] = field(default_factory=list)
    wall: float = 0.0

    def percentile(self, percent: float) -> float:
        """Return the run that so many per cent of the runs were not slower than."""
        ranked = sorted(self.runs)
        at = max(0, -(-len(ranked) * percent // 100) - 1)
        return ranked[int(at)]

    def summary(self) -> dict[str, float]:
        """Return percentiles, mean, spread and throughput."""
        return {
            **{f"p{percent}": self.percentile(percent) for percent in (50, 90, 95, 99)},
            "max": max(self.runs),
            "mean": statistics.fmean(self.runs),
            "std": statistics.pstdev(self.runs),
            "runs": len(self.runs),
            "per_second": len(self.runs) / self.wall if self.wall else 0.0,
        }


def warm_up(call: Call, shortest: float) -> int:
    """Call until windows of runs take the same time, at least ``shortest`` seconds."""
    began, runs = time.perf_counter(), 0
    before = 0.0
    while True:
        window: list[float] = []
        until = time.perf_counter() + shortest / 4
        while len(window) < 3 or time.perf_counter() < until:
            start = time.perf_counter()
            call()
            window.append(time.perf_counter() - start)
        runs += len(window)
        now, passed = statistics.median(window), time.perf_counter() - began
        stable = abs(now - before) <= STABLE * before
        if (stable and passed >= shortest) or passed > max(LONGEST_WARM_UP, shortest):
            return runs
        before = now


def measure(call: Call, seconds: float, runs: int, threads: int, times: Times) -> None:
    """Add at least so many seconds and runs, from so many threads at once."""
    began = time.perf_counter()
    if threads == 1:
        times.runs += _repeat(call, began + seconds, runs)
    else:
        times.runs += _together(call, began + seconds, -(-runs // threads), threads)
    times.wall += time.perf_counter() - began


def _repeat(call: Call, until: float, runs: int) -> list[float]:
    found: list[float] = []
    clock = time.perf_counter
    now = clock()
    while len(found) < runs or now < until:
        call()
        before, now = now, clock()
        found.append(now - before)
    return found


def _together(call: Call, until: float, runs: int, threads: int) -> list[float]:
    found: list[list[float]] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(_repeat(call, until, runs))
        except BaseException as error:  # handed to the caller's thread
            failed.append(error)

    pool = [threading.Thread(target=work) for _ in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    if failed:
        raise failed[0]
    return [seconds for part in found for seconds in part]


def alternate(
    calls: Sequence[Call],
    seconds: float,
    runs: int,
    threads: int,
    progress: Callable[[float], None] = lambda done: None,
) -> tuple[list[Times], list[list[float]]]:
    """Measure several calls in turn, in rounds, so that all meet the same conditions.

    Returns each call's times, and for each round the calls' medians.
    """
    times, rounds = [Times() for _ in calls], []
    count = 1 if len(calls) == 1 else 10
    for at in range(count):
        progress(at / count)
        medians = []
        order = list(zip(calls, times, strict=True))
        for call, own in order:
            if count > 1:
                time.sleep(PAUSE)
            known = len(own.runs)
            measure(call, seconds / count, -(-runs // count), threads, own)
            medians.append(statistics.median(own.runs[known:]))
        rounds.append(medians)
    return times, rounds
