"""The feature encoder of wav2vec 2.0: one-dimensional convolutions over a waveform."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from .nodes import FLOAT
from .spelling import builder


@dataclass(frozen=True)
class Config:
    """Layers as (kernel, stride), their width, and the samples of a clip."""

    layers: tuple[tuple[int, int], ...]
    width: int
    samples: int
    classes: int = 32


SIZES = {
    "full": Config(
        ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)), 512, 16000
    ),
    "tiny": Config(((10, 5), (3, 2), (2, 2)), 24, 400, 10),
}


def build(
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return the encoder with a layer of logits; ``changes`` replace fields."""
    c = replace(SIZES[size], **changes)
    b = builder("audio", spelling, opset, seed)
    x = b.input("waveform", FLOAT, "batch", 1, "samples")
    inputs = 1
    for number, (kernel, stride) in enumerate(c.layers):
        with b.scope(f"conv_layers.{number}"):
            x = b.conv(
                "conv", x, inputs, c.width, kernel, stride, rank=1, pad=0, gain=1.7
            )
            if not number:
                x = b.group_norm("norm", x, c.width, c.width, rank=1)
            x = b.gelu(x)
        inputs = c.width
    x = b.layer_norm("layer_norm", b.transpose(x, 0, 2, 1), c.width)
    logits = b.linear("head", x, c.width, c.classes)
    b.output(logits, "logits", "batch", "frames", c.classes)
    return b.model()


def feeds(
    size: str = "tiny", batch: int = 1, samples: int = 0, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return a waveform of unit power."""
    shape = batch, 1, samples or SIZES[size].samples
    return {"waveform": np.random.default_rng(seed).standard_normal(shape, np.float32)}
