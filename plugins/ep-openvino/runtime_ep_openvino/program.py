"""What runs: a partition compiled by OpenVINO, once or once per combination of shapes."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import openvino as ov
from runtime.abilities import Context
from runtime.errors import Cancelled, ExecutionError
from runtime.plugin import Partition

from runtime_ep_openvino.requests import Compiled
from runtime_ep_openvino.tensors import first_line

Array = np.ndarray[Any, Any]
Shapes = tuple[tuple[int, ...], ...]


class Build(Protocol):
    """What makes compiled models, and what it tells of them."""

    weights: Mapping[str, str]
    facts: Mapping[str, str]
    held: list[Any]

    def __call__(self, shapes: Shapes | None) -> ov.CompiledModel:
        """Compile for given input shapes, or for all of them."""


class Program:
    """A partition as OpenVINO runs it.

    Safe from several threads: each run leases a request of its own. ``static`` programs
    have one compiled model for each combination of input shapes seen.
    """

    concurrent = True

    def __init__(self, build: Build, partition: Partition, static: bool) -> None:
        self._build = build
        self._partition = partition
        self._static = static
        self._lock = threading.Lock()
        self._compiled: dict[Any, Compiled] = {}
        if not static:
            self._compiled[None] = Compiled(build(None), partition)
        self.weights = dict(build.weights)
        self.facts = {**build.facts, "shapes": "one by one" if static else "any"}

    def run(
        self, inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> list[Array]:
        """Run once; the interpreter's lock is released while OpenVINO works.

        Raises `ExecutionError` with OpenVINO's reason, or `Cancelled`.
        """
        compiled = self._compiled.get(self._key(inputs)) or self._compile(inputs)
        request = compiled.lease()
        try:
            return request.run(inputs, outputs)
        except RuntimeError as error:
            if "was canceled" in str(error):
                raise Cancelled("the run was stopped, as asked") from error
            raise ExecutionError(first_line(error)) from error
        finally:
            compiled.give_back(request)

    def _key(self, inputs: Sequence[Any]) -> Shapes | None:
        return tuple([array.shape for array in inputs]) if self._static else None

    def _compile(self, inputs: Sequence[Any]) -> Compiled:
        key = self._key(inputs)
        with self._lock:
            if key not in self._compiled:
                self._compiled[key] = Compiled(self._build(key), self._partition)
            return self._compiled[key]

    def cancel(self) -> None:
        """Make runs in progress raise `Cancelled` soon."""
        for compiled in list(self._compiled.values()):
            for request in list(compiled.active):
                request.cancel()

    def memory(self) -> dict[str, int]:
        """Return the bytes of weights held for OpenVINO, its own copies not counted."""
        return {"weights": sum(array.nbytes for array in self._build.held)}

    def trim(self) -> None:
        """Drop idle requests and what OpenVINO holds between runs."""
        for compiled in list(self._compiled.values()):
            compiled.trim()

    def close(self) -> None:
        """Release the compiled models and let go of the weights."""
        self._compiled.clear()
        self._build.held.clear()
