"""Runs models for long with random shapes, threads and sessions that come and go.

usage: python tests/soak.py [MINUTES]

Every answer is compared, and the process's memory is looked at as it goes on: what it grows
by in a run, over the second half of the time, is the slope that is printed. Exit code 1 for
a wrong answer, or for more than 1 kB a run. `nox -s soak` takes half an hour.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import runtime as ort
from models import FLOAT, dense, dense_reference, model, node

LIMIT = 1024.0
"""Bytes that memory may grow by in a run."""

THREADS = 4
LIFE = 60
"""Runs after which a thread makes its session anew, on average."""


def _norm(x: Any) -> Any:
    return np.tanh(x) * x.mean(-1, keepdims=True)


NORM = model(
    [
        node("Tanh", ["x"], ["t"]),
        node("ReduceMean", ["x"], ["m"], axes=[-1], keepdims=1),
        node("Mul", ["t", "m"], ["y"]),
    ],
    {"x": (FLOAT, ["a", "b", 8])},
    {"y": (FLOAT, ["a", "b", 8])},
).SerializeToString()

Subject = tuple[bytes, Callable[[random.Random], tuple[int, ...]], Callable[[Any], Any]]
SUBJECTS: tuple[Subject, ...] = (
    (dense(), lambda r: (r.randint(1, 64), 4), dense_reference),
    (NORM, lambda r: (r.randint(1, 9), r.randint(1, 9), 8), _norm),
)


def plainly(session: Any, x: Any) -> Any:
    """Run as most programs do."""
    return session.run(None, {"x": x})[0]


def bound(session: Any, x: Any) -> Any:
    """Run by a binding, twice, into memory of the runtime's own."""
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    session.run_with_iobinding(binding)
    return binding.copy_outputs_to_cpu()[0]


def later(session: Any, x: Any) -> Any:
    """Run on a thread of the session's."""
    done, told = threading.Event(), []

    def back(results: list[Any], _: Any, error: str) -> None:
        told.extend(results or [error])
        done.set()

    session.run_async(None, {"x": x}, back, None)
    done.wait(60)
    return told[0]


WAYS = (plainly, plainly, plainly, bound, later)


class Soak:
    """Threads that run until the time is over, and what they saw."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.runs = 0
        self.wrong: list[str] = []
        self.samples: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def go(self) -> None:
        """Run every thread to the end, looking at memory meanwhile."""
        threads = [
            threading.Thread(target=self._work, args=(n,)) for n in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(1)
            gc.collect()
            self.samples.append((self.runs, resident()))
        for thread in threads:
            thread.join()

    def _work(self, seed: int) -> None:
        chance = random.Random(seed)
        numbers = np.random.default_rng(seed)
        while time.monotonic() < self._end and not self.wrong:
            source, shape, reference = chance.choice(SUBJECTS)
            with ort.InferenceSession(source) as session:
                for _ in range(chance.randint(1, 2 * LIFE)):
                    x = numbers.standard_normal(shape(chance)).astype(np.float32)
                    self._check(chance.choice(WAYS), session, x, reference)

    def _check(self, way: Any, session: Any, x: Any, reference: Any) -> None:
        try:
            np.testing.assert_allclose(way(session, x), reference(x), 1e-4, 1e-5)
        except Exception as error:
            self.wrong.append(f"{way.__name__} {x.shape}: {error}")
        with self._lock:
            self.runs += 1

    def slope(self) -> float:
        """Return the bytes that memory grew by in a run, over the second half."""
        late = np.array(self.samples[len(self.samples) // 2 :], float)
        return float(np.polyfit(late[:, 0], late[:, 1], 1)[0]) if len(late) > 2 else 0.0


def resident() -> int:
    """Return the bytes of the process that are in memory; 0 where that is not told."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGESIZE")


def main() -> int:
    """Soak for some minutes and say how it went."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    soak = Soak(60 * minutes)
    soak.go()
    slope = soak.slope()
    print(f"{soak.runs:,} runs, {len(soak.wrong)} wrong, {slope:.0f} bytes a run")
    print("\n".join(soak.wrong[:5]), end="")
    return int(bool(soak.wrong) or slope > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
