"""Places in callers' streams, until which memory is in use whoever lets it go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runtime.errors import ExecutionError

from runtime_ep_cuda.driver import Driver, Stream
from runtime_ep_cuda.memory import Allocation


class Mark:
    """What was begun in a stream so far; the stream itself may be gone meanwhile.

    Of marks that somebody makes in one ``order`` a later one is reached after all before.
    """

    def __init__(
        self, driver: Driver, stream: Stream, order: object | None = None
    ) -> None:
        self.order = self if order is None else order
        self._driver = driver
        self._event = driver.event(timed=False)
        driver.record(self._event, stream)

    def precede(self, stream: Stream) -> None:
        """Have what is begun in a stream from now on come after it."""
        self._driver.wait(self._event, stream)

    def reached(self) -> bool:
        """Whether all of it is done."""
        return self._driver.reached(self._event)

    def finish(self) -> None:
        """Wait until all of it is done."""
        self._driver.finish(self._event)


def check_free(driver: Driver, stream: Stream) -> None:
    """Raise `ExecutionError` where a caller's stream is being captured."""
    if driver.records(stream):
        raise ExecutionError(
            "the caller's stream is being captured, and memory moves between runs; "
            "run outside of the capture: sessions record graphs by themselves"
        )


def keep(arrays: Iterable[Any], mark: Mark) -> None:
    """Have the memory of arrays not given out again before a mark is reached."""
    for array in arrays:
        owner = getattr(array, "owner", None)
        if isinstance(owner, Allocation):
            owner.until(mark)
