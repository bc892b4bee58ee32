"""Takes the way that a library thinks the fastest."""
from __future__ import annotations

from runtime_ep_cuda.driver import Candidate, Driver
from runtime_ep_cuda.operations import Operation, text_of


class First:
    """Chooses without timing anything."""

    def __init__(self, driver: Driver, limit: int) -> None:
        self._driver = driver
        self._limit = limit
        self._made: dict[str, Candidate | None] = {}

    def may(self, operation: Operation) -> bool:
        """Ask nobody beforehand."""
        return True

    def choose(self, operation: Operation) -> Candidate | None:
        """Return the first candidate."""
        key = text_of(operation)
        if key not in self._made:
            found = self._driver.candidates(operation, self._limit)
            self._made[key] = found[0] if found else None
        return self._made[key]
