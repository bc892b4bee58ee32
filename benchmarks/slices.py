"""Lets contenders take turns in shuffled slices and throws disturbed ones away."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.quiet import Gate, Usage, disturbance
from benchmarks.ratios import FEWEST, Round

GAP = 0.002
"""Seconds between two slices, for caches of the scheduler to settle."""

ENOUGH = 7
"""Whole rounds, with which the time that was asked for suffices."""


class Rival(Protocol):
    """A process that runs its model when asked, and can be parked."""

    def ask(self, **request: Any) -> dict[str, Any]:
        """Ask and wait."""

    def park(self) -> None:
        """Stop all threads."""

    def resume(self) -> None:
        """Go on."""


@dataclass
class Turns:
    """What came of it: medians of a round in seconds, and what was thrown away.

    ``noisy`` holds the same rounds with the last slice of each rival whatever it was: what
    can be said, with a warning, where the machine was never quiet.
    """

    rounds: list[Round] = field(default_factory=list)
    noisy: list[Round] = field(default_factory=list)
    taken: int = 0
    thrown: Counter[str] = field(default_factory=Counter)
    """Slices thrown away, by reason."""


def turn(rival: Rival, count: int, warm: int) -> tuple[float, str]:
    """Let one rival run; return its median seconds, and why they do not count."""
    rival.resume()
    answer = rival.ask(run=count, warm=warm)
    rival.park()
    return statistics.median(answer["ns"]) / 1e9, disturbance(Usage(**answer["usage"]))


def counts(rivals: Mapping[str, Rival], length: float) -> dict[str, tuple[int, int]]:
    """Return how many runs fill a slice, and how many warm it up, for each rival."""
    found = {}
    for name, rival in rivals.items():
        first, _ = turn(rival, 3, 1)
        again = max(3, min(200, math.ceil(0.02 / first)))
        once, _ = turn(rival, again, 1)
        warm = max(1, min(50, round(0.01 / once)))
        found[name] = max(3, min(20_000, round(length / once))), warm
    return found


def take_turns(
    rivals: Mapping[str, Rival],
    gate: Gate,
    seconds: float,
    *,
    length: float = 0.2,
    tries: int = 3,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Turns:
    """Run rounds of one slice each, in shuffled order, until the time is up.

    A disturbed slice is taken again, ``tries`` times at most, so that the pairs of a
    round stay close in time; then the round goes without it. Where fewer than `ENOUGH`
    rounds are whole, three times the time is given.
    """
    for rival in rivals.values():
        rival.park()
    runs = counts(rivals, length)
    order, shuffled = list(rivals), random.Random(seed)
    turns, began = Turns(), clock()
    while unfinished(turns, (clock() - began) / seconds):
        shuffled.shuffle(order)
        clean: dict[str, float | None] = {}
        last: dict[str, float | None] = {}
        for name in order:
            last[name], kept = _taken(rivals[name], gate, runs[name], tries, turns)
            clean[name] = last[name] if kept else None
        turns.rounds.append(clean)
        turns.noisy.append(last)
    for rival in rivals.values():
        rival.resume()
    return turns


def unfinished(turns: Turns, spent: float) -> bool:
    """Say whether to go on, ``spent`` being the part of the time that has passed."""
    if len(turns.rounds) < FEWEST:
        return True
    whole = sum(None not in each.values() for each in turns.rounds)
    return spent < (1 if whole >= ENOUGH else 3)


def _taken(
    rival: Rival, gate: Gate, runs: tuple[int, int], tries: int, turns: Turns
) -> tuple[float, bool]:
    """Take a rival's slice until one is undisturbed; say whether the last one was."""
    median = 0.0
    for _ in range(tries):
        quiet = gate.wait()
        time.sleep(GAP)
        median, reason = turn(rival, *runs)
        turns.taken += 1
        steady = quiet and gate.reading()
        reason = reason or ("" if steady else "calibration")
        if not reason:
            return median, True
        turns.thrown[reason] += 1
    return median, False
