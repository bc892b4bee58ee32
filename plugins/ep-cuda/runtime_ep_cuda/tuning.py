"""Chooses among a library's candidates, by order or by the clock, and remembers on disk."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from threading import Lock
from typing import Any, Literal, NamedTuple

import ml_dtypes  # noqa: F401  NumPy knows bfloat16 by it
import numpy as np
from runtime.errors import LimitExceeded

from runtime_ep_cuda.driver import Candidate, Driver, Stream
from runtime_ep_cuda.memory import Pool
from runtime_ep_cuda.operations import Operation, Spec, specs_of, text_of

logger = logging.getLogger("runtime")

Search = Literal["EXHAUSTIVE", "HEURISTIC", "DEFAULT"]

MOST_TIMED = 8
"""How many candidates of each library are built to be timed."""

ROUNDS = 5
"""How often a candidate is timed; the median counts."""

LONG_ENOUGH = 1e-3
"""Seconds of work between two events, by which their grain does not matter."""

MOST_RUNS = 20
"""How often a candidate runs between two events, at most."""

HOPELESS = 1.5
"""By what factor a single run may exceed the best before a candidate is given up."""

NOTICEABLE = 0.02
"""By what share a candidate must be faster than one that the library likes better."""

FILLING = 0x35
"""The byte that arguments are filled with: a small normal number of every type."""


class Choice(NamedTuple):
    """What was chosen for an operation, and the seconds of all that were timed."""

    operation: Operation
    candidate: Candidate
    origin: str
    """``"timed"``, ``"first"`` or ``"cache"``."""
    seconds: tuple[tuple[str, float], ...] = ()


@dataclass
class Tuner:
    """The chooser of one session: how it searches, and where it keeps what it found.

    ``EXHAUSTIVE`` times every candidate on the device, ``HEURISTIC`` takes the first,
    ``DEFAULT`` the first of those that need the least scratch memory. ``options`` are
    whatever else the driver's candidates depend on. With ``captured`` candidates are
    timed as parts of a recording, and those that cannot be recorded are taken only where
    none can; the default stream cannot be recorded. One that fails is never taken.
    ``admits`` tells of a candidate whether it may be chosen at all; ``deterministic``
    ones alone are offered where that is asked for.
    """

    driver: Driver
    cache: Any
    search: Search = "EXHAUSTIVE"
    options: tuple[Any, ...] = ()
    captured: bool = True
    admits: Callable[[Candidate], bool] = lambda candidate: True
    deterministic: bool = False
    choices: list[Choice] = field(default_factory=list)

    pool: Pool | None = None
    """Whose memory candidates are timed in: a session's, with its limit."""

    def __post_init__(self) -> None:
        self._pool = Pool(self.driver) if self.pool is None else self.pool
        self._known: dict[str, Candidate | None] = {}
        self._lock = Lock()

    def choose(
        self, operation: Operation, limit: int, stream: Stream
    ) -> Candidate | None:
        """Return the candidate to use; ``None`` where no library has the operation.

        What was chosen before, here or by another process, is chosen again without
        building anything.
        """
        key = self.key(operation, limit)
        with self._lock:
            if key not in self._known:
                choice = self._restored(operation, key)
                if choice is None:
                    choice = self._searched(operation, limit, stream)
                    self._keep(key, choice)
                if choice is not None:
                    self.choices.append(choice)
                self._known[key] = choice and choice.candidate
            return self._known[key]

    def key(self, operation: Operation, limit: int) -> str:
        """Return what a choice depends on, hashed: the key of the cache."""
        parts = (self.driver.properties, self.search, self.options, self.captured)
        steady = ("deterministic",) if self.deterministic else ()
        text = repr((text_of(operation), limit, parts, *steady))
        return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()

    def _restored(self, operation: Operation, key: str) -> Choice | None:
        saved = self.cache.get(key)
        if saved is None:
            return None
        candidate = self.driver.restore(operation, saved)
        if candidate is None:
            logger.debug("a cached choice does not fit here: %s", text_of(operation))
            return None
        return Choice(operation, candidate, "cache")

    def _keep(self, key: str, choice: Choice | None) -> None:
        if choice is None:
            return
        try:
            self.cache.put(key, choice.candidate.save())
        except RuntimeError as error:
            logger.debug("a choice cannot be saved: %s", error)

    def _searched(
        self, operation: Operation, limit: int, stream: Stream
    ) -> Choice | None:
        most = 1 if self.search == "HEURISTIC" else MOST_TIMED
        offered = self.driver.candidates(operation, limit, most, self.deterministic)
        found = list(filter(self.admits, offered))
        if not found:
            return None
        if self.search == "DEFAULT":
            least = min(found, key=lambda candidate: candidate.workspace)
            return Choice(operation, least, "first")
        if self.search == "HEURISTIC" or len(found) == 1:
            return Choice(operation, found[0], "first")
        try:
            return self._timed(operation, found, stream)
        except LimitExceeded as error:
            logger.debug("too little memory to time candidates: %s", error)
            least = min(found, key=lambda candidate: candidate.workspace)
            return Choice(operation, least, "first")

    def _timed(
        self, operation: Operation, found: Sequence[Candidate], stream: Stream
    ) -> Choice | None:
        scratch = max(candidate.workspace for candidate in found)
        sizes = [_span(spec) for spec in specs_of(operation)]
        with self._memory([*sizes, scratch], stream) as addresses:
            captured = self.captured and stream != 0
            timed = self._clocked(found, addresses, stream, captured)
            if not timed and captured:  # a plan may do without a recording
                timed = self._clocked(found, addresses, stream, False)
        if not timed:
            told = text_of(operation)
            logger.warning("%d ways of libraries to do %s fail", len(found), told)
            return None
        enough = min(seconds for _, seconds in timed) * (1 + NOTICEABLE)
        chosen = next(candidate for candidate, seconds in timed if seconds <= enough)
        names = tuple((candidate.name, seconds) for candidate, seconds in timed)
        logger.debug("%s is chosen of %s", chosen.name, names)
        return Choice(operation, chosen, "timed", names)

    def _clocked(
        self,
        found: Sequence[Candidate],
        addresses: Sequence[int],
        stream: Stream,
        captured: bool,
    ) -> list[tuple[Candidate, float]]:
        """Return those of some candidates that run, with their seconds."""
        timed: list[tuple[Candidate, float]] = []
        best = float("inf")
        for candidate in found:
            clock = _Clock(self.driver, candidate, addresses, stream, captured)
            try:
                seconds = clock.measure(best)
            except RuntimeError as error:
                logger.debug("%s cannot run: %s", candidate.name, error)
                continue
            timed.append((candidate, seconds))
            best = min(best, seconds)
        return timed

    @contextmanager
    def _memory(self, sizes: Sequence[int], stream: Stream) -> Iterator[list[int]]:
        """Lend memory of these sizes, filled; 0 where there is nothing to lend.

        Raises `LimitExceeded` where there is none within the session's limit.
        """
        addresses: list[int] = []
        try:
            for size in sizes:
                addresses.append(self._pool.lend(size, "timing") if size else 0)
                if size:
                    self.driver.fill(addresses[-1], FILLING, size, stream)
            yield addresses
        finally:
            self.driver.synchronize(stream)
            for address in filter(None, addresses):
                self._pool.returned(address)


class _Clock:
    """Times one candidate on arguments that stay the same."""

    def __init__(
        self,
        driver: Driver,
        candidate: Candidate,
        addresses: Sequence[int],
        stream: Stream,
        captured: bool,
    ):
        self.driver = driver
        self.captured = captured
        self.candidate = candidate
        self.arguments = (addresses[:-1], addresses[-1], stream)
        self.stream = stream
        self.begin, self.end = driver.event(), driver.event()

    def measure(self, best: float) -> float:
        """Return the seconds of a run: the median, or a single run's if it is hopeless."""
        self.candidate.run(*self.arguments)
        with self._runs(1) as run:
            run()
            self.driver.synchronize(self.stream)
            single = self._time(run)
        if single > HOPELESS * max(best, LONG_ENOUGH / MOST_RUNS):
            return single
        runs = min(MOST_RUNS, max(1, round(LONG_ENOUGH / max(single, 1e-9))))
        with self._runs(runs) as run:
            samples = [self._time(run) / runs for _ in range(ROUNDS)]
        return median(samples)

    def _time(self, run: Any) -> float:
        self.driver.record(self.begin, self.stream)
        run()
        self.driver.record(self.end, self.stream)
        self.driver.synchronize(self.stream)
        return self.driver.elapsed(self.begin, self.end)

    @contextmanager
    def _runs(self, count: int) -> Iterator[Any]:
        """Lend a function that begins so many runs."""

        def run() -> None:
            for _ in range(count):
                self.candidate.run(*self.arguments)

        if not self.captured:
            yield run
            return
        with self.driver.recording(self.stream) as recorded:
            run()

        def replay() -> None:
            for each in recorded:
                each.launch(self.stream)

        try:
            yield replay
        finally:
            for each in recorded:
                each.close()


def _span(spec: Spec) -> int:
    """Bytes from a tensor's first element to its last."""
    axes = zip(spec.shape, spec.strides, strict=True)
    if 0 in spec.shape:
        return 0
    return (1 + sum((dim - 1) * step for dim, step in axes)) * np.dtype(
        spec.dtype
    ).itemsize
