"""A small perceptron, as tabular models are: overhead per call is all there is."""

from __future__ import annotations

import itertools

import numpy as np
import onnx

from .nodes import FLOAT
from .spelling import builder

SIZES = {"full": (64, 256, 256, 128, 10), "tiny": (8, 16, 16, 3)}


def build(
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    widths: tuple[int, ...] = (),
) -> onnx.ModelProto:
    """Return the classifier; ``widths`` are of input, hidden layers and output."""
    widths = widths or SIZES[size]
    b = builder("mlp", spelling, opset, seed)
    x = b.input("features", FLOAT, "batch", widths[0])
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        x = b.op("Relu", x) if i else x
        x = b.gemm(f"layers.{2 * i}", x, inputs, outputs)
    probabilities = b.op("Softmax", x, axis=-1)
    b.output(probabilities, "probabilities", "batch", widths[-1])
    return b.model()


def feeds(size: str = "tiny", batch: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    """Return standardised features."""
    shape = batch, SIZES[size][0]
    return {"features": np.random.default_rng(seed).standard_normal(shape, np.float32)}
