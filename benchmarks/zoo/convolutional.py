"""Twenty convolutional nets that nobody published, drawn from a fixed seed.

Odd sizes of images, widths that fill no register, groups, dilations, every way in which
layers are joined, one to three axes, opsets 11 to 20 and both exporters' spellings; each
runs in a fraction of a second. Like `generated`, with ``random.Random``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx

from . import Entry
from .build import Builder
from .nodes import FLOAT
from .spelling import builder

SEED = 16
COUNT = 20
OPSETS = {"torchscript": (11, 20), "dynamo": (18, 20)}
ACTIVATIONS = ("relu", "relu", "silu", "gelu", "leaky", "hard", "sigmoid")
BLOCKS = ("basic", "bottleneck", "inverted", "dense", "dilated", "grouped", "pyramid")
SIZES = {1: (3999, 8000, 16001), 2: (57, 83, 111, 127, 160), 3: (19, 26, 33)}


@dataclass(frozen=True)
class Config:
    """What is drawn of a net: an image, a stem, and blocks with widths and strides."""

    rank: int
    image: int
    channels: int
    stem: int
    kernel: int
    activation: str
    batch_norm: bool
    pool: str
    blocks: tuple[tuple[str, int, int, int], ...]
    """Kind, width, kernel and stride of each block."""


def build(
    c: Config, spelling: str, opset: int, size: str = "full", seed: int = 0
) -> onnx.ModelProto:
    """Return the classifier; both sizes are the same."""
    b = builder("convolutional", spelling, opset, seed)
    x = b.input("x", FLOAT, "batch", c.channels, *(c.image,) * c.rank)
    x, width = _conv(b, c, "stem", x, c.channels, c.stem, c.kernel, 2), c.stem
    x = _pool(b, c, x)
    for number, block in enumerate(c.blocks):
        with b.scope(f"blocks.{number}"):
            x, width = _block(b, c, x, width, *block)
    x = b.global_pool(x, width)
    b.output(b.gemm("head", x, width, 37), "logits", "batch", 37)
    return b.model()


def feeds(
    c: Config, size: str = "full", batch: int = 1, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return normal numbers in the shape of an image."""
    shape = batch, c.channels, *(c.image,) * c.rank
    return {"x": np.random.default_rng(seed).standard_normal(shape, np.float32)}


def _activation(b: Builder, c: Config, x: str) -> str:
    if c.activation == "silu":
        return b.silu(x)
    if c.activation == "gelu":
        return b.gelu(x)
    if c.activation == "leaky":
        return b.op("LeakyRelu", x, alpha=0.1)
    if c.activation == "hard":
        return b.op("Mul", x, b.op("HardSigmoid", x, alpha=1 / 6))
    return b.op({"relu": "Relu", "sigmoid": "Sigmoid"}[c.activation], x)


def _plain(
    b: Builder,
    c: Config,
    name: str,
    x: str,
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    gain: float = 1.0,
) -> str:
    y = b.conv(
        name,
        x,
        inputs,
        outputs,
        kernel,
        stride,
        groups,
        gain,
        c.rank,
        bias=not c.batch_norm,
        dilation=dilation,
    )
    return b.batch_norm(f"{name}_bn", y, outputs) if c.batch_norm else y


def _conv(
    b: Builder,
    c: Config,
    name: str,
    x: str,
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
) -> str:
    y = _plain(b, c, name, x, inputs, outputs, kernel, stride, groups, dilation, 2**0.5)
    return _activation(b, c, y)


def _pool(b: Builder, c: Config, x: str) -> str:
    if c.pool == "none":
        return x
    ceil = {"ceil_mode": 1} if c.pool == "ceil" else {}
    kind = "AveragePool" if c.pool == "average" else "MaxPool"
    return b.op(
        kind,
        x,
        kernel_shape=[3] * c.rank,
        pads=[1] * 2 * c.rank,
        strides=[2] * c.rank,
        **ceil,
    )


def _block(
    b: Builder,
    c: Config,
    x: str,
    inputs: int,
    kind: str,
    width: int,
    kernel: int,
    stride: int,
) -> tuple[str, int]:
    """Add a block; return its result and how wide that is."""
    if kind == "dense":
        for i in range(3):
            grown = width // 4
            y = _conv(b, c, f"grow{i}", x, inputs, grown, kernel)
            x, inputs = b.op("Concat", x, y, axis=1), inputs + grown
        return _conv(b, c, "narrow", x, inputs, width, 1, stride), width
    if kind == "pyramid":
        parts = [_conv(b, c, "one", x, inputs, width // 2, 1, stride)]
        for i in (1, 2):
            y = _conv(b, c, f"far{i}", x, inputs, width // 4, 3, stride, 1, 2 * i)
            parts.append(y)
        whole = width // 2 + 2 * (width // 4)
        return _conv(b, c, "join", b.op("Concat", *parts, axis=1), whole, width), width
    y = x
    if kind == "basic":
        y = _conv(b, c, "conv1", y, inputs, width, kernel, stride)
        y = _plain(b, c, "conv2", y, width, width, kernel, gain=0.5)
    elif kind == "dilated":
        y = _conv(b, c, "conv1", y, inputs, width, kernel, stride, 1, 2)
        y = _plain(b, c, "conv2", y, width, width, kernel, 1, 1, 3, 0.5)
    elif kind == "inverted":
        inner = 4 * inputs
        y = _conv(b, c, "expand", y, inputs, inner)
        y = _conv(b, c, "depthwise", y, inner, inner, kernel, stride, inner)
        y = _plain(b, c, "project", y, inner, width, gain=0.5)
    else:
        groups = 4 if kind == "grouped" else 1
        inner = -(-width // 2 // groups) * groups
        y = _conv(b, c, "reduce", y, inputs, inner)
        y = _conv(b, c, "conv", y, inner, inner, kernel, stride, groups)
        y = _plain(b, c, "restore", y, inner, width, gain=0.5)
    if inputs != width or stride != 1:
        x = _plain(b, c, "shortcut", x, inputs, width, 1, stride)
    return _activation(b, c, b.op("Add", x, y)), width


def _config(rng: random.Random) -> Config:
    rank = rng.choice((1, 2, 2, 2, 2, 2, 2, 3))
    width = rng.choice((18, 24, 27, 33, 40, 52))
    blocks = []
    for i in range(rng.randint(4, 9)):
        stride = 2 if i and rng.random() < 0.3 else 1
        if stride == 2:
            width = width * rng.choice((3, 4)) // 2
        kernel = rng.choice((3, 3, 3, 5, 7) if rank < 3 else (3,))
        blocks.append((rng.choice(BLOCKS), width, kernel, stride))
    return Config(
        rank,
        rng.choice(SIZES[rank]),
        rng.choice((1, 3, 3, 4, 9)),
        rng.choice((12, 16, 21, 32)),
        rng.choice((3, 5, 7)),
        rng.choice(ACTIVATIONS),
        rng.random() < 0.4,
        rng.choice(("none", "max", "ceil", "average")),
        tuple(blocks),
    )


def _entry(rng: random.Random) -> Entry:
    c, batch = _config(rng), rng.choice((1, 1, 1, 2, 3))
    spelling = rng.choice(("torchscript", "dynamo"))
    opset = rng.randint(*OPSETS[spelling])
    kinds = ", ".join(f"{kind} {width}" for kind, width, _, _ in c.blocks)
    words = f"{c.rank} axes of {c.image}, {c.activation}, {kinds}; {spelling}, {opset}"
    case = {"batch": (batch,)}
    made = partial(build, c, spelling, opset)
    return Entry(words, made, partial(feeds, c), {"tiny": case, "full": case})


def _draw() -> Mapping[str, Entry]:
    rng = random.Random(SEED)
    return {f"convolutional{i:02}": _entry(rng) for i in range(COUNT)}


CONVOLUTIONAL = _draw()
