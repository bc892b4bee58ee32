"""How many threads the machine grants, and telling NumPy's linear algebra to use them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

from runtime import quota


@cache
def granted() -> int:
    """Return the threads worth using: the least of affinity, cgroup quota and real cores."""
    allowed = _affinity()
    share = quota.cpus() or len(allowed)
    return max(1, min(len(allowed), ceil(share), _cores(allowed)))


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _cores(allowed: set[int], root: str = "/sys/devices/system/cpu") -> int:
    """Return how many real cores the allowed processors belong to."""
    cores = set()
    for index in allowed:
        path = Path(root, f"cpu{index}", "topology", "thread_siblings_list")
        try:
            cores.add(path.read_text().strip())
        except OSError:
            return len(allowed)
    return len(cores) or len(allowed)


class _Blas:
    """NumPy's linear algebra library: how many threads it was last told to use."""

    def __init__(self) -> None:
        import numpy as np  # noqa: F401  the library must be loaded to be found
        from threadpoolctl import ThreadpoolController

        self._libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        self.threads = 0

    def use(self, threads: int) -> None:
        """Set the number of threads, where it is not set already."""
        if threads != self.threads:
            for library in self._libraries:
                library.set_num_threads(threads)
            self.threads = threads


@cache
def _blas() -> _Blas:
    return _Blas()


def use_threads(threads: int) -> None:
    """Have linear algebra use a number of threads from now on."""
    _blas().use(threads)


class Threaded:
    """An executable whose linear algebra uses a given number of threads.

    The library has one setting per process: sessions that ask for different numbers and
    run at the same moment share whichever was set last. Results do not depend on it.
    """

    concurrent = True

    def __init__(self, inner: Any, threads: int) -> None:
        self._inner = inner
        self._threads = threads or granted()
        self.weights, self.memory = inner.weights, inner.memory
        self.facts = {"threads": str(self._threads)}
        _blas().use(self._threads)

    def run(
        self, inputs: Sequence[Any], outputs: Sequence[Any], context: Any
    ) -> Sequence[Any]:
        """Run once with this session's number of threads."""
        _blas().use(self._threads)
        results: Sequence[Any] = self._inner.run(inputs, outputs, context)
        return results
