"""A float64 reference by `onnx.reference`: the same model with every float a double.

usage: python -m benchmarks.reference MODEL.onnx FEED.npz OUTPUTS.npz
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from benchmarks.zoo.precision import converted, retyped


class Erf(OpRun):  # type: ignore[misc]
    """The error function without `numpy.vectorize`, several times faster."""

    op_domain = ""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        values = np.fromiter(map(math.erf, x.reshape(-1).tolist()), x.dtype, x.size)
        return (values.reshape(x.shape),)


class BatchNormalization(OpRun):  # type: ignore[misc]
    """Inference's form; before opset 14 `onnx.reference` normalises by the batch."""

    op_domain = ""

    def _run(
        self,
        x: np.ndarray,
        scale: np.ndarray,
        bias: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        epsilon: float = 1e-5,
        **_: Any,
    ) -> tuple[np.ndarray]:
        factor = scale / np.sqrt(variance + epsilon)
        axes = (-1, *(1,) * (x.ndim - 2))
        return (x * factor.reshape(axes) + (bias - mean * factor).reshape(axes),)


class LSTM(OpRun):  # type: ignore[misc]
    """With lengths of sequences, which `onnx.reference` passes over; usual cells only."""

    op_domain = ""

    def _run(
        self,
        x: np.ndarray,
        weights: np.ndarray,
        recurrent: np.ndarray,
        bias: np.ndarray | None = None,
        lengths: np.ndarray | None = None,
        first_h: np.ndarray | None = None,
        first_c: np.ndarray | None = None,
        peepholes: np.ndarray | None = None,
        direction: str = "forward",
        activations: Sequence[str] | None = None,
        clip: float | None = None,
        layout: int = 0,
        **_: Any,
    ) -> tuple[np.ndarray, ...]:
        if peepholes is not None or activations or clip or layout:
            raise NotImplementedError("only LSTMs of the usual kind")
        steps, batch, _features = x.shape
        directions, _gates, hidden = recurrent.shape
        ends = np.full(batch, steps) if lengths is None else lengths
        made = np.zeros((steps, directions, batch, hidden))
        last = np.zeros((2, directions, batch, hidden))
        for number in range(directions):
            backwards = number == 1 or direction == "reverse"
            given = bias[number].reshape(2, -1).sum(0) if bias is not None else 0.0
            h, c = (
                np.zeros((batch, hidden)) if one is None else one[number].copy()
                for one in (first_h, first_c)
            )
            for step in range(steps)[:: -1 if backwards else 1]:
                there = (step < ends)[:, None]
                sums = x[step] @ weights[number].T + h @ recurrent[number].T + given
                i, o, f, g = np.split(sums, 4, axis=1)
                new = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
                c = np.where(there, new, c)
                h = np.where(there, _sigmoid(o) * np.tanh(new), h)
                made[step, number] = np.where(there, h, 0)
            last[:, number] = h, c
        return made, *last


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


REPLACED = [Erf, BatchNormalization, LSTM]


def reference(
    model: onnx.ModelProto, feed: dict[str, np.ndarray]
) -> list[np.ndarray | Any]:
    """Return the outputs in float64."""
    wide = {name: converted(array, np.float64) for name, array in feed.items()}
    evaluator = ReferenceEvaluator(retyped(model, np.float64), new_ops=REPLACED)
    return list(evaluator.run(None, wide))


def error(got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> float:
    """Return the largest difference of any output, over that output's largest value.

    NaN and infinities must stand in the same places, else the error is infinite.
    """
    worst = 0.0
    for one, other in zip(got, want, strict=True):
        if one.shape != other.shape:
            raise ValueError(f"an output has shape {one.shape}, not {other.shape}")
        finite = np.isfinite(other)
        if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
            return math.inf
        wide, known = one[finite].astype(np.float64), other[finite].astype(np.float64)
        difference = float(np.max(np.abs(wide - known), initial=0.0))
        if not math.isfinite(difference):
            return math.inf
        worst = max(worst, difference / (np.max(np.abs(known), initial=0.0) or 1.0))
    return float(worst)


def main() -> None:
    """Compute and write."""
    path, feed, target = sys.argv[1:]
    with np.load(feed) as arrays:
        outputs = reference(onnx.load(path), dict(arrays))
    np.savez(target, *outputs)


if __name__ == "__main__":
    main()
