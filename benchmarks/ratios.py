"""Paired ratios of interleaved slices: medians, intervals by bootstrap, means of models."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Round = Mapping[str, float | None]
"""One round: each contender's median time, None where its slice was thrown away."""

FEWEST = 3
"""With fewer pairs than these there is no ratio."""


@dataclass(frozen=True)
class Ratio:
    """A median of paired ratios with its 95 % interval."""

    middle: float
    low: float
    high: float
    pairs: int

    def at_least(self, bound: float, slack: float = 0.02) -> bool:
        """Say whether the interval reaches the bound and the middle nearly does."""
        return self.high >= bound and self.middle >= bound - slack


def pairs(rounds: Sequence[Round], ours: str, peer: str) -> list[float]:
    """Return the peer's time over ours in every round that kept both."""
    found = []
    for each in rounds:
        mine, other = each.get(ours), each.get(peer)
        if mine is not None and other is not None:
            found.append(other / mine)
    return found


def interval(
    values: Sequence[float], draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of the median, by a seeded bootstrap over the values."""
    sample = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(sample), (draws, len(sample)))
    low, high = np.percentile(np.median(sample[chosen], axis=1), (2.5, 97.5))
    return float(low), float(high)


def ratio(rounds: Sequence[Round], ours: str, peer: str) -> Ratio | None:
    """Return the peer's time over ours, above 1 where ours is faster; None if unknown."""
    found = pairs(rounds, ours, peer)
    if len(found) < FEWEST:
        return None
    return Ratio(statistics.median(found), *interval(found), len(found))


def median(rounds: Sequence[Round], name: str) -> float | None:
    """Return a contender's median over the rounds that kept its slice."""
    kept = [value for each in rounds if (value := each.get(name)) is not None]
    return statistics.median(kept) if kept else None


def best(found: Mapping[str, Ratio | None]) -> str | None:
    """Return the peer with the lowest ratio, the hardest to beat; None where none is known."""
    known = {name: each.middle for name, each in found.items() if each is not None}
    return min(known, key=known.__getitem__) if known else None


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive numbers."""
    return math.exp(statistics.fmean(math.log(value) for value in values))
