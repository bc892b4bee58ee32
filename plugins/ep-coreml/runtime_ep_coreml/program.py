"""A partition as Core ML runs it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.abilities import Context
from runtime.errors import ExecutionError
from runtime.kernels import filled
from runtime.plugin import Partition

from runtime_ep_coreml.boundary import Array, Boundary
from runtime_ep_coreml.engine import Engine
from runtime_ep_coreml.folder import Folder
from runtime_ep_coreml.package import packed
from runtime_ep_coreml.tools import first_line


class Program:
    """An executable; several threads may run it at once.

    ``package`` is the folder of its ``.mlpackage``, which lives as long as the program.
    """

    concurrent = True

    def __init__(
        self,
        partition: Partition,
        boundary: Boundary,
        engine: Engine,
        folder: Folder,
        facts: Mapping[str, str],
    ) -> None:
        self._boundary = boundary
        self._engine = engine
        self._folder = folder
        self.package = folder.package
        self.facts = dict(facts)
        self.weights = {value.name: "repacked" for value in partition.constants}

    def run(
        self, inputs: Sequence[Array], outputs: Sequence[Any], context: Context
    ) -> list[Array]:
        """Run once; the trace has an event for what Core ML does, with its plan.

        Raises `ExecutionError` with Core ML's reason.
        """
        feed = self._boundary.feed(inputs)
        began = time.perf_counter_ns()
        try:
            made = self._engine.predict(feed)
        except RuntimeError as error:
            raise ExecutionError(first_line(error)) from error
        if context.trace is not None:
            ended = time.perf_counter_ns()
            context.trace.add("predict", "CoreML", began, ended, dict(self.facts))
        return filled(self._boundary.results(made), outputs)

    def export(self) -> bytes:
        """Return the package as bytes, for `runtime_ep_coreml.package.unpack`."""
        return packed(self.package)

    def trim(self) -> None:
        """Let go of models that only runs side by side need."""
        trim = getattr(self._engine, "trim", None)
        if trim is not None:
            trim()

    def close(self) -> None:
        """Release the models and remove the package."""
        self._engine.close()
        self._folder.close()
