"""NVIDIA's libraries on one device as one: who has candidates for an operation."""

from __future__ import annotations

from typing import Any

from runtime_ep_cuda import cublaslt, cublaslt_lowering, cudnn, cudnn_rules
from runtime_ep_cuda.operations import Operation, Product

Candidate = cudnn.Plan | cublaslt.Candidate


def refusal(operation: Operation, sm: int) -> str:
    """Return why no library has an operation, by rules alone; nothing where one has."""
    reason = cudnn_rules.refusal(operation, sm)
    if reason and isinstance(operation, Product):
        other = cublaslt_lowering.refusal(operation)
        return other and f"cuDNN: {reason}; cublasLt: {other}"
    return reason


class Library:
    """cuDNN and cublasLt on the device that is current when they are first used.

    At most ``most`` candidates come from each; one is enough where none are timed.
    Candidates may run while others are built: cuDNN has a handle for either, and
    cublasLt's may be shared.
    """

    def __init__(
        self,
        sm: int,
        multiprocessors: int,
        *,
        most: int = 8,
    ):
        self.sm = sm
        self.runner = cudnn.Device(sm, multiprocessors)
        self.cudnn = cudnn.Device(sm, multiprocessors, most=most, runner=self.runner)
        self.cublaslt = cublaslt.Device(most)

    def accepts(self, operation: Operation) -> str:
        """Return why no library has an operation, by rules alone; nothing if one has."""
        return refusal(operation, self.sm)

    def candidates(
        self,
        operation: Operation,
        limit: int,
        most: int | None = None,
        deterministic: bool = False,
    ) -> list[Candidate]:
        """Return candidates in at most ``limit`` bytes; for products cublasLt's first.

        Where one is enough, cuDNN builds none beside it. cublasLt's are ``deterministic``
        all of them: each is one algorithm in one stream.
        """
        found: list[Candidate] = []
        if isinstance(operation, Product):
            found += cublaslt.candidates(self.cublaslt, operation, limit)[:most]
        if found and most == 1:
            return found
        if not cudnn_rules.refusal(operation, self.sm):
            found += cudnn.candidates(self.cudnn, operation, limit, most, deterministic)
        return found

    def restore(self, operation: Operation, saved: bytes) -> Candidate | None:
        """Return a candidate that was saved, or ``None`` where it does not fit here."""
        if saved.startswith(cublaslt.MARK):
            return cublaslt.restore(self.cublaslt, operation, saved)
        return cudnn.restore(self.cudnn, saved)

    def close(self) -> None:
        """Give the handles back."""
        self.cudnn.close()
        self.runner.close()
        self.cublaslt.close()


def versions() -> tuple[tuple[str, str], ...]:
    """Return the versions that saved candidates depend on."""
    import cudnn as frontend

    module: Any = frontend
    return (
        ("cuDNN", str(module.backend_version())),
        ("cuDNN frontend", str(module.__version__)),
        ("cublasLt", str(cublaslt.library().cublasLtGetVersion())),
    )
