"""A tagger: embedding, two bidirectional LSTM layers, a label for each word."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from .build import Builder
from .nodes import INT64
from .spelling import builder


@dataclass(frozen=True)
class Config:
    """Sizes of the tagger."""

    width: int
    hidden: int
    layers: int = 2
    labels: int = 17
    vocabulary: int = 20000


SIZES = {"full": Config(128, 256), "tiny": Config(16, 12, 2, 5, 101)}


def build(
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return the tagger; ``changes`` replace fields of its config."""
    c = replace(SIZES[size], **changes)
    b = builder("lstm", spelling, opset, seed)
    ids = b.input("input_ids", INT64, "batch", "sequence")
    lengths = b.input("lengths", INT64, "batch")
    x = b.embedding("embedding", c.vocabulary, c.width, ids)
    with b.scope("lstm"):
        count = b.cast(lengths, np.int32)
        batch = b.dim(x, 0, "batch")
        zeros = b.op("ConstantOfShape", b.join(2 * c.layers, batch, c.hidden))
        x = b.transpose(x, 1, 0, 2)
        for i in range(c.layers):
            inputs = 2 * c.hidden if i else c.width
            x = _layer(b, c, i, x, inputs, count, zeros)
        x = b.transpose(x, 1, 0, 2)
    x = b.linear("head", x, 2 * c.hidden, c.labels)
    scores = b.op("LogSoftmax", x, axis=-1)
    b.output(scores, "log_probabilities", "batch", "sequence", c.labels)
    labels = b.op("ArgMax", "log_probabilities", axis=-1, keepdims=0)
    b.output(labels, "labels", "batch", "sequence", dtype=np.int64)
    return b.model()


def feeds(
    size: str = "tiny", batch: int = 1, sequence: int = 32, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return word ids and the length of each sentence."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, SIZES[size].vocabulary, (batch, sequence))
    return {"input_ids": ids, "lengths": sequence - np.arange(batch) % sequence}


def _layer(
    b: Builder, c: Config, i: int, x: str, inputs: int, count: str, zeros: str
) -> str:
    """Run one bidirectional layer and put its directions side by side."""
    states = [b.slice(zeros, 0, 2 * i, 2 * i + 2) for _ in "hc"]
    gates, std = 4 * c.hidden, c.hidden**-0.5
    weights = [
        b.weight(f"weight_ih_l{i}", 2, gates, inputs, std=std),
        b.weight(f"weight_hh_l{i}", 2, gates, c.hidden, std=std),
        b.weight(f"bias_l{i}", 2, 2 * gates, std=0.1),
    ]
    y, _, _ = b.op(
        "LSTM",
        x,
        *weights,
        count,
        *states,
        outputs=3,
        direction="bidirectional",
        hidden_size=c.hidden,
    )
    return b.view(b.transpose(y, 0, 2, 1, 3), 0, 0, -1)
