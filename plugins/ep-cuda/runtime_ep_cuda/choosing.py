"""Which way a library shall do an operation: a session's tuner, with its stream and limit."""

from __future__ import annotations

from runtime_ep_cuda.driver import Candidate, Stream
from runtime_ep_cuda.library import refusal
from runtime_ep_cuda.operations import Operation
from runtime_ep_cuda.tuning import Tuner


class Choosing:
    """What planners ask: may a library do an operation, and how shall it?"""

    def __init__(self, tuner: Tuner, limit: int, stream: Stream) -> None:
        self._tuner = tuner
        self._limit = limit
        self._stream = stream

    def may(self, operation: Operation) -> bool:
        """Whether it is worth asking: nothing is built."""
        return not refusal(operation, self._tuner.driver.properties.sm)

    def choose(self, operation: Operation) -> Candidate | None:
        """Return the candidate to use, or ``None`` where no library has the operation."""
        return self._tuner.choose(operation, self._limit, self._stream)
