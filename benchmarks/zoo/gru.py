"""A keyword spotter: two GRU layers over frames of features, a label for each clip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from .build import Builder
from .nodes import FLOAT
from .spelling import builder


@dataclass(frozen=True)
class Config:
    """Sizes of the spotter."""

    features: int
    hidden: int
    layers: int = 2
    labels: int = 35


SIZES = {"full": Config(40, 128), "tiny": Config(8, 12, 2, 5)}


def build(
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return the spotter; ``changes`` replace fields of its config."""
    c = replace(SIZES[size], **changes)
    b = builder("gru", spelling, opset, seed)
    x = b.input("features", FLOAT, "batch", "frames", c.features)
    with b.scope("gru"):
        batch = b.dim(x, 0, "batch")
        first = b.op("ConstantOfShape", b.join(1, batch, c.hidden))
        x = b.transpose(x, 1, 0, 2)
        for i in range(c.layers):
            x, last = _layer(b, c, i, x, c.hidden if i else c.features, first)
    last = b.op("Squeeze", last, b.ints(0))
    scores = b.op("LogSoftmax", b.linear("head", last, c.hidden, c.labels), axis=-1)
    b.output(scores, "log_probabilities", "batch", c.labels)
    return b.model()


def feeds(
    size: str = "tiny", batch: int = 1, frames: int = 20, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return the features of some clips of equal length."""
    rng = np.random.default_rng(seed)
    shape = (batch, frames, SIZES[size].features)
    return {"features": rng.standard_normal(shape).astype(np.float32)}


def _layer(
    b: Builder, c: Config, i: int, x: str, inputs: int, first: str
) -> tuple[str, str]:
    """Run one layer; return its states as rows of each frame, and the last of them."""
    gates, std = 3 * c.hidden, c.hidden**-0.5
    weights = [
        b.weight(f"weight_ih_l{i}", 1, gates, inputs, std=std),
        b.weight(f"weight_hh_l{i}", 1, gates, c.hidden, std=std),
        b.weight(f"bias_l{i}", 1, 2 * gates, std=0.1),
    ]
    y, last = b.op(
        "GRU", x, *weights, "", first, outputs=2, hidden_size=c.hidden,
        linear_before_reset=1,
    )  # fmt: skip
    return b.op("Squeeze", y, b.ints(1)), last
