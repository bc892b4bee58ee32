"""MobileNetV2: inverted residual blocks of pointwise and depthwise convolutions."""

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
    """Blocks as (expansion, channels, count, stride); stem and head widths."""

    blocks: tuple[tuple[int, int, int, int], ...]
    stem: int = 32
    head: int = 1280
    classes: int = 1000
    image: int = 224
    static: bool = True


SIZES = {
    "full": Config(
        (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        )
    ),
    "tiny": Config(
        ((1, 8, 1, 1), (6, 12, 2, 2), (6, 20, 2, 2)), 16, 64, 10, 32, static=False
    ),
}


def build(
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return the classifier; ``changes`` replace fields of its config."""
    c = replace(SIZES[size], **changes)
    b = builder("mobilenet_v2", spelling, opset, seed)
    dims = (c.image, c.image) if c.static else ("height", "width")
    x = b.input("pixels", FLOAT, "batch", 3, *dims)
    inputs = c.stem
    with b.scope("features"):
        x = _relu6(b, "features.0", x, 3, inputs, 3, 2)
        number = 1
        for expansion, width, count, stride in c.blocks:
            for i in range(count):
                with b.scope(f"features.{number}", "conv"):
                    step = 1 if i else stride
                    x = _block(b, x, inputs, width, expansion, step)
                inputs, number = width, number + 1
        x = _relu6(b, f"features.{number}", x, inputs, c.head)
    x = b.global_pool(x, c.head)
    logits = b.gemm("classifier.1", x, c.head, c.classes)
    b.output(logits, "logits", "batch", c.classes)
    return b.model()


def feeds(
    size: str = "tiny", batch: int = 1, seed: int = 0, **image: int
) -> dict[str, np.ndarray]:
    """Return normalised pixels; ``image`` may give height and width if dynamic."""
    edge = SIZES[size].image
    shape = batch, 3, image.get("height", edge), image.get("width", edge)
    return {"pixels": np.random.default_rng(seed).standard_normal(shape, np.float32)}


def _relu6(
    b: Builder,
    name: str,
    x: str,
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
) -> str:
    return b.relu6(
        b.conv(name, x, inputs, outputs, kernel, stride, groups, gain=2**0.5)
    )


def _block(
    b: Builder, x: str, inputs: int, outputs: int, expansion: int, stride: int
) -> str:
    width = inputs * expansion
    y = _relu6(b, "conv.0", x, inputs, width) if expansion > 1 else x
    y = _relu6(b, "conv.1", y, width, width, 3, stride, width)
    y = b.conv("conv.2", y, width, outputs)
    return b.op("Add", x, y) if stride == 1 and inputs == outputs else y
