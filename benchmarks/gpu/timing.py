"""Times work on a device: recorded, replayed, between two events."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.operations import Operation, Spec, specs_of
from runtime_ep_cuda.tensor import Buffer, Tensor

ROUNDS = 7
LONG_ENOUGH = 1e-3
MOST_RUNS = 50


class Bench:
    """A driver with a stream of its own, and memory that is given back at the end."""

    def __init__(self, driver: Any, dry: bool = False) -> None:
        self.driver = driver
        self.dry = dry
        self.stream = driver.stream()
        self._taken: list[int] = []

    @contextmanager
    def memory(self) -> Iterator[None]:
        """Give back what is taken meanwhile."""
        before = len(self._taken)
        try:
            yield
        finally:
            self.driver.synchronize(self.stream)
            while len(self._taken) > before:
                self.driver.free(self._taken.pop())

    def take(self, size: int, dtype: Any = np.int8) -> int:
        """Return new memory full of random numbers: zeros would cost less power."""
        size = -(-max(size, 256) // 256) * 256
        address = int(self.driver.allocate(size))
        self._taken.append(address)
        noise = np.random.default_rng(0).standard_normal(1 << 16).astype(np.float32)
        numbers = np.resize(noise, size // np.dtype(dtype).itemsize).astype(dtype)
        self.driver.upload(address, numbers, self.stream)
        return address

    def tensor(
        self, dtype: Any, shape: Sequence[int], order: Sequence[int] | None = None
    ) -> Tensor:
        """Return a dense tensor in new memory."""
        size = prod(shape) * np.dtype(dtype).itemsize
        made = Tensor.dense(Buffer(size), dtype, shape, order)
        made.buffer.address = self.take(size, dtype)
        return made

    def launching(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """Return what begins some launches, compiled now."""
        functions = self.driver.load([each.kernel for each in launches], None)
        ready = [
            (
                functions[each.kernel.name], each.grid, each.block, each.shared,
                [a.address if isinstance(a, Tensor) else a for a in each.arguments],
                self.stream,
            )
            for each in launches
        ]  # fmt: skip

        def run() -> None:
            for arguments in ready:
                self.driver.launch(*arguments)

        return run

    def calling(self, operation: Operation, candidate: Any) -> Callable[[], None]:
        """Return what begins a library's work in new memory."""
        specs = specs_of(operation)
        pointers = [self.take(span(spec), np.dtype(spec.dtype)) for spec in specs]
        workspace = self.take(candidate.workspace)
        return lambda: candidate.run(pointers, workspace, self.stream)

    def seconds(self, run: Callable[[], None]) -> float:
        """Return the seconds of a run on the device: the median of replays."""
        run()
        single = self._between(self._recorded(run, 1))
        count = min(MOST_RUNS, max(1, round(LONG_ENOUGH / max(single, 1e-9))))
        if self.dry:
            return single
        replay = self._recorded(run, count)
        return statistics.median(self._between(replay) for _ in range(ROUNDS)) / count

    def _recorded(self, run: Callable[[], None], count: int) -> Callable[[], None]:
        with self.driver.recording(self.stream) as found:
            for _ in range(count):
                run()
        return lambda: found[0].launch(self.stream)

    def _between(self, run: Callable[[], None]) -> float:
        begin, end = self.driver.event(), self.driver.event()
        self.driver.record(begin, self.stream)
        run()
        self.driver.record(end, self.stream)
        self.driver.synchronize(self.stream)
        return float(self.driver.elapsed(begin, end))

    def host_seconds(self, run: Callable[[], None], count: int = 200) -> float:
        """Return the seconds of the host's processor that beginning a run takes."""
        count = 3 if self.dry else count
        run()
        times = []
        for _ in range(3):
            self.driver.synchronize(self.stream)
            began = time.perf_counter()
            for _ in range(count):
                run()
            times.append((time.perf_counter() - began) / count)
        self.driver.synchronize(self.stream)
        return min(times)


def span(spec: Spec) -> int:
    """Bytes from a tensor's first element to its last."""
    axes = zip(spec.shape, spec.strides, strict=True)
    reach = 1 + sum((dim - 1) * step for dim, step in axes)
    return reach * np.dtype(spec.dtype).itemsize


def flops(operation: Operation) -> int:
    """Return the multiplications and additions of an operation."""
    specs = specs_of(operation)
    kind = type(operation).__name__
    if kind == "Convolution":
        turned = getattr(operation, "transposed", False)
        every = specs[0] if turned else specs[-1]
        return 2 * prod(every.shape) * prod(specs[1].shape[1:])
    if kind == "Product":
        return 2 * prod(specs[-1].shape) * specs[0].shape[-1]
    q, k, v = specs[:3]
    return 2 * prod(q.shape[:3]) * k.shape[2] * (q.shape[3] + v.shape[3])
