"""The last part of a model's step: from scores to what its node gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from runtime.graph import Value

from runtime_ep_cpu.codegen import scores
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.layout import Layout, Unplannable, of_array
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.numbers import double_bits

PITCH = 16
"""Rows of scores are a multiple of so many: as many as a vector may read at once."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """What is made of scores [classes, pitch], see `codegen.scores`.

    ``numbers`` are the labels by class, as int64: themselves, or which of the strings.
    """

    given: str
    computed: str
    result: str
    transform: str = "NONE"
    verdict: str = "none"
    completes: str = "no"
    numbers: np.ndarray[Any, Any] | None = None
    chosen: int = 0
    threshold: float = 0.0

    @property
    def spec(self) -> Spec:
        """The kernel."""
        return scores.spec(
            self.given,
            self.computed,
            self.result,
            self.transform,
            self.verdict,
            self.completes,
        )

    def told(self, wanted: bool) -> Scoring:
        """Return the same, without a label where nobody asks for it."""
        return self if wanted else replace(self, verdict="none")

    def plan(
        self,
        planner: Planner,
        given: Layout,
        rows: int,
        result: Value,
        label: Value | None = None,
        judged: Layout | None = None,
    ) -> None:
        """Plan labels and values of as many rows; ``judged`` are the scores themselves."""
        classes, pitch = given.shape
        width = classes if self.completes == "no" else 2
        out = planner.allocate(result, (rows, width), self.result)
        writes = [out]
        labels = table = None
        if label is not None and self.numbers is not None:
            labels = planner.allocate(label, (rows,), "i64")
            table = of_array(self.numbers)
            writes.append(labels)
        elif self.verdict != "none":
            raise Unplannable("nobody asks for a label")
        judged = given if judged is None else judged
        each = scores.rows_per_chunk(rows, planner.target.lanes)
        arguments: list[Argument] = [
            given, pitch, classes, rows, each, out, width, labels, table,
            judged, judged.shape[0], self.chosen, double_bits(self.threshold),
        ]  # fmt: skip
        planner.step(
            self.spec,
            arguments,
            -(-rows // each),
            [given, judged] if judged is not given else [given],
            writes,
            scores.scratch(classes, planner.target.lanes),
            work=float(rows * width * (4 if self.transform == "NONE" else 20)),
        )


def padded(rows: int) -> int:
    """Return how far scores of one class and of the next are apart."""
    return -(-rows // PITCH) * PITCH


def numbered(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return labels as int64: themselves, or the numbers of strings."""
    if labels.dtype == np.int64:
        return labels
    return np.arange(len(labels))
