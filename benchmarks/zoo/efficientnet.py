"""MobileNetV3-Large and EfficientNet-B0: inverted residuals that weigh their channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from .build import Builder
from .nodes import FLOAT
from .spelling import builder


@dataclass(frozen=True)
class Block:
    """An inverted residual: kernel, inner and outer channels, and what it has.

    ``squeeze`` is the width of the layer that weighs channels, 0 where there is none;
    ``swish`` tells the activation from the plain one.
    """

    kernel: int
    inner: int
    outer: int
    squeeze: int
    swish: bool
    stride: int


@dataclass(frozen=True)
class Config:
    """Blocks, widths of stem and head, and whether activations are the hard ones."""

    blocks: tuple[Block, ...]
    stem: int
    head: int
    hidden: int
    hard: bool
    classes: int = 1000
    image: int = 224
    static: bool = True


def _v3(*rows: tuple[int, int, int, int, int, int]) -> tuple[Block, ...]:
    return tuple(Block(k, i, o, s, bool(w), t) for k, i, o, s, w, t in rows)


def _b0(*stages: tuple[int, int, int, int, int], stem: int) -> tuple[Block, ...]:
    """Take stages of (kernel, expansion, channels, count, stride) apart."""
    blocks, inputs = [], stem
    for kernel, expansion, channels, count, stride in stages:
        for i in range(count):
            step, inner = stride if not i else 1, inputs * expansion
            squeeze = max(1, inputs // 4)
            blocks.append(Block(kernel, inner, channels, squeeze, True, step))
            inputs = channels
    return tuple(blocks)


SIZES = {
    "mobilenet_v3": {
        "full": Config(
            _v3(
                (3, 16, 16, 0, 0, 1),
                (3, 64, 24, 0, 0, 2),
                (3, 72, 24, 0, 0, 1),
                (5, 72, 40, 24, 0, 2),
                (5, 120, 40, 32, 0, 1),
                (5, 120, 40, 32, 0, 1),
                (3, 240, 80, 0, 1, 2),
                (3, 200, 80, 0, 1, 1),
                (3, 184, 80, 0, 1, 1),
                (3, 184, 80, 0, 1, 1),
                (3, 480, 112, 120, 1, 1),
                (3, 672, 112, 168, 1, 1),
                (5, 672, 160, 168, 1, 2),
                (5, 960, 160, 240, 1, 1),
                (5, 960, 160, 240, 1, 1),
            ),
            stem=16,
            head=960,
            hidden=1280,
            hard=True,
        ),
        "tiny": Config(
            _v3((3, 8, 8, 0, 0, 1), (5, 24, 12, 8, 1, 2), (3, 36, 12, 8, 1, 1)),
            *(8, 36, 20, True, 10, 32, False),
        ),
    },
    "efficientnet": {
        "full": Config(
            _b0(
                (3, 1, 16, 1, 1),
                (3, 6, 24, 2, 2),
                (5, 6, 40, 2, 2),
                (3, 6, 80, 3, 2),
                (5, 6, 112, 3, 1),
                (5, 6, 192, 4, 2),
                (3, 6, 320, 1, 1),
                stem=32,
            ),
            stem=32,
            head=1280,
            hidden=0,
            hard=False,
        ),
        "tiny": Config(
            _b0((3, 1, 8, 1, 1), (5, 6, 12, 2, 2), stem=16),
            *(16, 48, 0, False, 10, 32, False),
        ),
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
    inputs = c.stem
    with b.scope("features"):
        x = _activated(b, c, "features.0", x, 3, inputs, 3, 2)
        for number, block in enumerate(c.blocks, 1):
            with b.scope(f"features.{number}", "block"):
                x = _inverted(b, c, block, x, inputs)
            inputs = block.outer
        x = _activated(b, c, "features.head", x, inputs, c.head)
    x, inputs = b.global_pool(x, c.head), c.head
    if c.hidden:
        x = _swish(b, c, b.gemm("classifier.0", x, inputs, c.hidden))
        inputs = c.hidden
    logits = b.gemm("classifier.1", x, inputs, c.classes)
    b.output(logits, "logits", "batch", c.classes)
    return b.model()


def feeds(
    kind: str, size: str = "tiny", batch: int = 1, seed: int = 0, **image: int
) -> dict[str, np.ndarray]:
    """Return normalised pixels; ``image`` may give height and width if dynamic."""
    edge = SIZES[kind][size].image
    shape = batch, 3, image.get("height", edge), image.get("width", edge)
    return {"pixels": np.random.default_rng(seed).standard_normal(shape, np.float32)}


def _swish(b: Builder, c: Config, x: str) -> str:
    if not c.hard:
        return b.silu(x)
    return b.op("HardSwish", x) if b.opset >= 14 else b.op("Mul", x, _gate(b, c, x))


def _gate(b: Builder, c: Config, x: str) -> str:
    return b.op("HardSigmoid", x, alpha=1 / 6) if c.hard else b.op("Sigmoid", x)


def _activated(
    b: Builder,
    c: Config,
    name: str,
    x: str,
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    swish: bool = True,
) -> str:
    gain = 2**0.5
    y = b.conv(name, x, inputs, outputs, kernel, stride, groups, gain=gain)
    return _swish(b, c, y) if swish else b.op("Relu", y)


def _inverted(b: Builder, c: Config, block: Block, x: str, inputs: int) -> str:
    inner, y, swish = block.inner, x, block.swish
    if inner != inputs:
        y = _activated(b, c, "expand", y, inputs, inner, swish=swish)
    y = _activated(
        b, c, "depthwise", y, inner, inner, block.kernel, block.stride, inner, swish
    )
    if block.squeeze:
        y = b.op("Mul", _weights(b, c, block, y), y)
    y = b.conv("project", y, inner, block.outer)
    return b.op("Add", y, x) if block.stride == 1 and inputs == block.outer else y


def _weights(b: Builder, c: Config, block: Block, x: str) -> str:
    """Return a factor for each channel, from the average over its pixels."""
    inner, squeeze = block.inner, block.squeeze
    with b.scope("squeeze"):
        y = b.conv("fc1", b.op("GlobalAveragePool", x), inner, squeeze)
        y = b.op("Relu", y) if c.hard else b.silu(y)
        return _gate(b, c, b.conv("fc2", y, squeeze, inner))
