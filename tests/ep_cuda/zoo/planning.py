"""A device that plans and never runs: no memory behind its addresses, nothing computed.

Whole models of full size are planned on it in seconds. What a plan would have had compiled
and asked libraries for is kept, to be compiled and built by those who have no device either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from math import prod
from typing import Any

import numpy as np
from runtime_ep_cuda.codegen.kernel import Kernel
from runtime_ep_cuda.driver import Properties
from runtime_ep_cuda.library import refusal
from runtime_ep_cuda.operations import Operation

MEMORY = 80 << 30
GRAIN = 256


class Stub:
    """A candidate or a recording: begins nothing."""

    name = "stub"
    workspace = 0

    def run(self, pointers: Sequence[int], workspace: int, stream: int) -> None:
        """Begin nothing."""

    def launch(self, stream: int) -> None:
        """Begin nothing."""

    def save(self) -> bytes:
        """Return something to keep."""
        return b"stub"

    def close(self) -> None:
        """Forget nothing."""


class PlanningDriver:
    """A device of some compute capability that does nothing.

    ``kernels`` are those it was to load, by name; ``operations`` those that a library was
    to do; ``uploaded`` counts bytes.
    """

    xp: Any = np

    def __init__(self, index: int = 0, capability: tuple[int, int] = (9, 0)):
        self.index = index
        self.current: AbstractContextManager[None] = nullcontext()
        self.properties = Properties(
            "planning alone", capability, 132, MEMORY, 227 << 10, 50 << 20,
            (("planning", "1"),),
        )  # fmt: skip
        self.kernels: dict[str, Kernel] = {}
        self.operations: dict[Operation, None] = {}
        self.uploaded = 0
        self._held: dict[int, int] = {}
        self._next = GRAIN
        self._streams = count(1)

    def allocate(self, size: int) -> int:
        """Return an address at which there is nothing."""
        address = self._next
        self._next += -(-max(size, 1) // GRAIN) * GRAIN
        self._held[address] = size
        return address

    def free(self, address: int) -> None:
        """Count it as free."""
        del self._held[address]

    def memory(self) -> tuple[int, int]:
        """Return the bytes free and in all."""
        return MEMORY - sum(self._held.values()), MEMORY

    def upload(self, target: int, source: np.ndarray[Any, Any], stream: int) -> None:
        """Count the bytes."""
        self.uploaded += source.nbytes

    def download(self, target: np.ndarray[Any, Any], source: int, stream: int) -> None:
        """Fill with zeros."""
        target.fill(0)

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy nothing."""

    def fill(self, target: int, byte: int, size: int, stream: int) -> None:
        """Fill nothing."""

    def stream(self) -> int:
        """Return a number."""
        return next(self._streams)

    def event(self, timed: bool = True) -> object:
        """Return something."""
        return object()

    def record(self, event: object, stream: int) -> None:
        """Mark nothing."""

    def wait(self, event: object, stream: int) -> None:
        """Wait for nothing."""

    def records(self, stream: int) -> bool:
        """Say no."""
        return False

    def reached(self, event: object) -> bool:
        """Say so: nothing is ever begun."""
        return True

    def finish(self, event: object) -> None:
        """Wait for nothing."""

    def elapsed(self, begin: object, end: object) -> float:
        """Return the time that nothing takes."""
        return 0.0

    def synchronize(self, stream: int) -> None:
        """Wait for nothing."""

    def load(self, kernels: Iterable[Kernel], cache: Any) -> Mapping[str, Kernel]:
        """Keep what is to be compiled; one name has one text."""
        found = {kernel.name: kernel for kernel in kernels}
        for name, kernel in found.items():
            if self.kernels.setdefault(name, kernel) != kernel:
                raise RuntimeError(f"two kernels with the name {name}")
        return found

    def launch(self, *arguments: Any) -> None:
        """Begin nothing."""

    @contextmanager
    def recording(self, stream: int) -> Iterator[list[Stub]]:
        """Record nothing."""
        found: list[Stub] = []
        yield found
        found.append(Stub())

    def candidates(
        self, operation: Operation, limit: int, most: int = 8, steady: bool = False
    ) -> list[Stub]:
        """Keep what a library is asked for, if the rules say that one has it."""
        if refusal(operation, self.properties.sm):
            return []
        self.operations[operation] = None
        return [Stub()]

    def restore(self, operation: Operation, saved: bytes) -> Stub:
        """Return what was saved."""
        return self.candidates(operation, 0)[0]

    def view(
        self, address: int, shape: tuple[int, ...], dtype: Any, owner: Any = None
    ) -> Any:
        """Return zeros, whatever the address."""
        return np.zeros(max(prod(shape), 1), dtype)[: prod(shape)].reshape(shape)

    @contextmanager
    def using(self, stream: int, memory: object = None) -> Iterator[None]:
        """Let NumPy work on zeros."""
        yield

    def close(self) -> None:
        """Give everything back."""
        self._held.clear()
