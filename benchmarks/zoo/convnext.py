"""ConvNeXt-T: depthwise 7×7, LayerNorm over channels, pointwise layers, layer scale."""

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
    """Depth and width of each stage."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    classes: int = 1000
    image: int = 224
    static: bool = True


SIZES = {
    "full": Config((3, 3, 9, 3), (96, 192, 384, 768)),
    "tiny": Config((1, 1, 2, 1), (8, 12, 16, 24), 10, 64, static=False),
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
    b = builder("convnext", spelling, opset, seed)
    dims = (c.image, c.image) if c.static else ("height", "width")
    x = b.input("pixels", FLOAT, "batch", 3, *dims)
    with b.scope("features"):
        x = b.conv("stem.0", x, 3, c.widths[0], 4, 4, pad=0)
        x = _norm(b, "stem.1", x, c.widths[0])
        for stage, (depth, width) in enumerate(zip(c.depths, c.widths, strict=True)):
            if stage:
                inputs = c.widths[stage - 1]
                x = _norm(b, f"{stage}.norm", x, inputs)
                x = b.conv(f"{stage}.reduce", x, inputs, width, 2, 2, pad=0)
            for i in range(depth):
                with b.scope(f"{stage}.{i}"):
                    x = _block(b, x, width)
    width = c.widths[-1]
    x = b.layer_norm("classifier.0", b.global_pool(x, width), width, 1e-6)
    logits = b.gemm("classifier.2", x, width, c.classes)
    b.output(logits, "logits", "batch", c.classes)
    return b.model()


def feeds(
    size: str = "tiny", batch: int = 1, seed: int = 0, **image: int
) -> dict[str, np.ndarray]:
    """Return normalised pixels; ``image`` may give height and width if dynamic."""
    edge = SIZES[size].image
    shape = batch, 3, image.get("height", edge), image.get("width", edge)
    return {"pixels": np.random.default_rng(seed).standard_normal(shape, np.float32)}


def _norm(b: Builder, name: str, x: str, width: int) -> str:
    """LayerNorm over the channels of an image."""
    x = b.layer_norm(name, b.transpose(x, 0, 2, 3, 1), width, 1e-6)
    return b.transpose(x, 0, 3, 1, 2)


def _block(b: Builder, x: str, width: int) -> str:
    y = b.conv("block.0", x, width, width, 7, groups=width)
    y = b.layer_norm("block.2", b.transpose(y, 0, 2, 3, 1), width, 1e-6)
    y = b.gelu(b.linear("block.3", y, width, 4 * width))
    y = b.linear("block.5", y, 4 * width, width)
    y = b.transpose(y, 0, 3, 1, 2)
    scale = b.weight("layer_scale", width, 1, 1, std=0.1, mean=0.3)
    return b.op("Add", b.op("Mul", scale, y), x)
