"""Which way a library shall do an operation: a session's tuner, with its stream and limit."""

from __future__ import annotations

from runtime_ep_cuda import cublaslt_lowering
from runtime_ep_cuda.driver import Candidate, Stream
from runtime_ep_cuda.library import refusal
from runtime_ep_cuda.operations import Operation
from runtime_ep_cuda.tuning import Tuner


class Choosing:
    """What planners ask: may a library do an operation, and how shall it?"""

    def __init__(
        self, tuner: Tuner, limit: int, stream: Stream, cudnn: bool = True
    ) -> None:
        self._tuner = tuner
        self._limit = limit
        self._stream = stream
        self._cudnn = cudnn

    def may(self, operation: Operation) -> bool:
        """Whether it is worth asking: nothing is built."""
        if not self._cudnn:
            return not cublaslt_lowering.refusal(operation)
        return not refusal(operation, self._tuner.driver.properties.sm)

    def choose(self, operation: Operation) -> Candidate | None:
        """Return the candidate to use, or ``None`` where no library has the operation."""
        return self._tuner.choose(operation, self._limit, self._stream)


def is_others(candidate: Candidate) -> bool:
    """Whether a candidate is another library's than cuDNN, whose names begin with eng."""
    return not candidate.name.startswith("eng")
