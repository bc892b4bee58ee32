"""ResNet-18 and ResNet-50, batch normalisation folded as exporters fold it, or not."""

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
    """Blocks per stage, the first stage's width, and where dims are static."""

    blocks: tuple[int, ...]
    bottleneck: bool
    width: int = 64
    classes: int = 1000
    image: int = 224
    static: bool = True
    batch_norm: bool = False


SIZES = {
    "resnet18": {
        "full": Config((2, 2, 2, 2), False),
        "tiny": Config((1, 1, 1, 1), False, 8, 10, 64, static=False),
    },
    "resnet50": {
        "full": Config((3, 4, 6, 3), True),
        "tiny": Config((2, 1, 1, 1), True, 8, 10, 64, static=False),
    },
}


def build(
    kind: str,
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return one of the classifiers; ``changes`` replace fields of its config."""
    c = replace(SIZES[kind][size], **changes)
    b = builder(kind, spelling, opset, seed)
    dims = (c.image, c.image) if c.static else ("height", "width")
    x = b.input("pixels", FLOAT, "batch", 3, *dims)
    x = b.op("Relu", _conv(b, c, "conv1", x, 3, c.width, 7, 2))
    with b.scope("maxpool"):
        x = b.max_pool(x, 3, 2, 1)
    inputs = c.width
    for stage, count in enumerate(c.blocks):
        width = c.width << stage
        for i in range(count):
            stride = 2 if stage and not i else 1
            with b.scope(f"layer{stage + 1}", f"layer{stage + 1}.{i}"):
                block = _bottleneck if c.bottleneck else _basic
                x = block(b, c, x, inputs, width, stride)
            inputs = width * (4 if c.bottleneck else 1)
    x = b.global_pool(x, inputs)
    b.output(b.gemm("fc", x, inputs, c.classes), "logits", "batch", c.classes)
    return b.model()


def feeds(
    kind: str, size: str = "tiny", batch: int = 1, seed: int = 0, **image: int
) -> dict[str, np.ndarray]:
    """Return normalised pixels; ``image`` may give height and width if dynamic."""
    edge = SIZES[kind][size].image
    shape = batch, 3, image.get("height", edge), image.get("width", edge)
    return {"pixels": np.random.default_rng(seed).standard_normal(shape, np.float32)}


def _conv(
    b: Builder,
    c: Config,
    name: str,
    x: str,
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    gain: float = 2**0.5,
) -> str:
    bias = not c.batch_norm
    x = b.conv(name, x, inputs, outputs, kernel, stride, gain=gain, bias=bias)
    return x if bias else b.batch_norm(f"{name}_bn", x, outputs)


def _basic(b: Builder, c: Config, x: str, inputs: int, width: int, stride: int) -> str:
    y = b.op("Relu", _conv(b, c, "conv1", x, inputs, width, 3, stride))
    y = _conv(b, c, "conv2", y, width, width, 3, gain=0.5)
    if stride != 1 or inputs != width:
        with b.scope("downsample"):
            x = _conv(b, c, "downsample.0", x, inputs, width, 1, stride, gain=1.0)
    return b.op("Relu", b.op("Add", y, x))


def _bottleneck(
    b: Builder, c: Config, x: str, inputs: int, width: int, stride: int
) -> str:
    y = b.op("Relu", _conv(b, c, "conv1", x, inputs, width))
    y = b.op("Relu", _conv(b, c, "conv2", y, width, width, 3, stride))
    y = _conv(b, c, "conv3", y, width, 4 * width, gain=0.5)
    if stride != 1 or inputs != 4 * width:
        with b.scope("downsample"):
            x = _conv(b, c, "downsample.0", x, inputs, 4 * width, 1, stride, gain=1.0)
    return b.op("Relu", b.op("Add", y, x))
