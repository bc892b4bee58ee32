"""R3D-18: a residual network of three-dimensional convolutions over frames of video."""

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
    """Blocks per stage, the first stage's width, frames and their edges."""

    blocks: tuple[int, ...]
    width: int
    frames: int
    image: int
    classes: int = 400


SIZES = {
    "full": Config((2, 2, 2, 2), 64, 8, 112),
    "tiny": Config((1, 1), 8, 4, 20, 10),
}


def build(
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return the classifier of clips; ``changes`` replace fields of its config."""
    c = replace(SIZES[size], **changes)
    b = builder("video", spelling, opset, seed)
    x = b.input("frames", FLOAT, "batch", 3, c.frames, c.image, c.image)
    x = b.op("Relu", _conv(b, "stem.0", x, 3, c.width, (3, 7, 7), (1, 2, 2)))
    inputs = c.width
    for stage, count in enumerate(c.blocks):
        width = c.width << stage
        for i in range(count):
            stride = 2 if stage and not i else 1
            with b.scope(f"layer{stage + 1}", f"layer{stage + 1}.{i}"):
                x = _block(b, x, inputs, width, stride)
            inputs = width
    x = b.global_pool(x, inputs)
    b.output(b.gemm("fc", x, inputs, c.classes), "logits", "batch", c.classes)
    return b.model()


def feeds(size: str = "tiny", batch: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    """Return normalised frames."""
    c = SIZES[size]
    shape = batch, 3, c.frames, c.image, c.image
    return {"frames": np.random.default_rng(seed).standard_normal(shape, np.float32)}


def _conv(
    b: Builder,
    name: str,
    x: str,
    inputs: int,
    outputs: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int],
    gain: float = 2**0.5,
) -> str:
    fan = inputs * int(np.prod(kernel))
    pads = [size // 2 for size in kernel]
    with b.scope(name):
        weight = b.weight("weight", outputs, inputs, *kernel, std=gain / fan**0.5)
        return b.op(
            "Conv",
            x,
            weight,
            b.weight("bias", outputs, std=0.1),
            dilations=[1, 1, 1],
            group=1,
            kernel_shape=[*kernel],
            pads=[*pads, *pads],
            strides=[*stride],
        )


def _block(b: Builder, x: str, inputs: int, width: int, stride: int) -> str:
    step, three = (stride,) * 3, (3, 3, 3)
    y = b.op("Relu", _conv(b, "conv1", x, inputs, width, three, step))
    y = _conv(b, "conv2", y, width, width, three, (1, 1, 1), gain=0.5)
    if stride != 1 or inputs != width:
        x = _conv(b, "downsample", x, inputs, width, (1, 1, 1), step, gain=1.0)
    return b.op("Relu", b.op("Add", y, x))
