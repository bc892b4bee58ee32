"""A U-Net as in Stable Diffusion: time embedding, skips, self and cross attention."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from .attention import merge_heads, split_heads
from .build import Builder
from .nodes import FLOAT, INT64, Dim
from .spelling import builder


@dataclass(frozen=True)
class Config:
    """Channels of each level, which of them attend, blocks per level."""

    channels: tuple[int, ...]
    attends: tuple[bool, ...]
    depth: int = 2
    groups: int = 32
    heads: int = 8
    context: int = 768
    inputs: int = 4
    frequencies: int = 64

    @property
    def time(self) -> int:
        """Channels of the time embedding."""
        return 4 * self.channels[0]


SIZES = {
    "full": Config((128, 256, 512), (False, True, True)),
    "tiny": Config((16, 32), (False, True), 1, 4, 2, 24, 4, 8),
}


def build(
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return the model; ``changes`` replace fields of its config."""
    c = replace(SIZES[size], **changes)
    b = builder("unet", spelling, opset, seed)
    x = b.input("sample", FLOAT, "batch", c.inputs, "height", "width")
    step = b.input("timestep", INT64, "batch")
    context = b.input("encoder_hidden_states", FLOAT, "batch", "words", c.context)
    time = _time(b, c, step)
    x = b.conv("conv_in", x, c.inputs, c.channels[0], 3)
    skips = [(x, c.channels[0])]
    for level in range(len(c.channels)):
        with b.scope(f"down_blocks.{level}"):
            x = _down(b, c, level, x, time, context, skips)
    with b.scope("mid_block"):
        width = c.channels[-1]
        x = _residual(b, c, "resnets.0", x, time, width, width)
        x = _transformer(b, c, "attentions.0", x, context, width)
        x = _residual(b, c, "resnets.1", x, time, width, width)
    for level in reversed(range(len(c.channels))):
        with b.scope(f"up_blocks.{level}"):
            x, width = _up(b, c, level, x, time, context, skips, width)
    x = b.silu(b.group_norm("conv_norm_out", x, width, c.groups))
    x = b.conv("conv_out", x, width, c.inputs, 3)
    b.output(x, "noise", "batch", c.inputs, "height", "width")
    return b.model()


def feeds(
    size: str = "tiny",
    batch: int = 1,
    height: int = 64,
    width: int = 64,
    words: int = 77,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Return noise, time steps and text; height and width are even at every level."""
    c = SIZES[size]
    rng = np.random.default_rng(seed)
    return {
        "sample": rng.standard_normal((batch, c.inputs, height, width), np.float32),
        "timestep": rng.integers(0, 1000, batch),
        "encoder_hidden_states": rng.standard_normal(
            (batch, words, c.context), np.float32
        ),
    }


def _time(b: Builder, c: Config, step: str) -> str:
    """Sines and cosines of the time step through two layers."""
    with b.scope("time_proj"):
        rates = np.exp(-math.log(1e4) * np.arange(c.frequencies) / c.frequencies)
        angles = b.cast(b.unsqueeze(step, 1), FLOAT)
        angles = b.op("Mul", angles, b.constant(rates[None]))
        x = b.op("Concat", b.op("Cos", angles), b.op("Sin", angles), axis=-1)
    with b.scope("time_embedding"):
        x = b.silu(b.gemm("linear_1", x, 2 * c.frequencies, c.time))
        return b.gemm("linear_2", x, c.time, c.time)


def _down(
    b: Builder,
    c: Config,
    level: int,
    x: str,
    time: str,
    context: str,
    skips: list[tuple[str, int]],
) -> str:
    width = c.channels[level]
    for i in range(c.depth):
        x = _residual(b, c, f"resnets.{i}", x, time, skips[-1][1], width)
        if c.attends[level]:
            x = _transformer(b, c, f"attentions.{i}", x, context, width)
        skips.append((x, width))
    if level + 1 < len(c.channels):
        x = b.conv("downsamplers.0.conv", x, width, width, 3, 2)
        skips.append((x, width))
    return x


def _up(
    b: Builder,
    c: Config,
    level: int,
    x: str,
    time: str,
    context: str,
    skips: list[tuple[str, int]],
    inputs: int,
) -> tuple[str, int]:
    width = c.channels[level]
    for i in range(c.depth + 1):
        skip, more = skips.pop()
        x = b.op("Concat", x, skip, axis=1)
        x = _residual(b, c, f"resnets.{i}", x, time, inputs + more, width)
        if c.attends[level]:
            x = _transformer(b, c, f"attentions.{i}", x, context, width)
        inputs = width
    if level:
        x = b.conv("upsamplers.0.conv", b.upsample(x), width, width, 3)
    return x, width


def _residual(
    b: Builder, c: Config, name: str, x: str, time: str, inputs: int, outputs: int
) -> str:
    with b.scope(name):
        y = b.silu(b.group_norm("norm1", x, inputs, c.groups))
        y = b.conv("conv1", y, inputs, outputs, 3)
        shift = b.gemm("time_emb_proj", b.silu(time), c.time, outputs)
        y = b.op("Add", y, b.unsqueeze(shift, 2, 3))
        y = b.silu(b.group_norm("norm2", y, outputs, c.groups))
        y = b.conv("conv2", y, outputs, outputs, 3)
        if inputs != outputs:
            x = b.conv("conv_shortcut", x, inputs, outputs)
        return b.op("Add", x, y)


def _transformer(
    b: Builder, c: Config, name: str, x: str, context: str, width: int
) -> str:
    """Self attention over the pixels, cross attention to the words, GEGLU."""
    with b.scope(name):
        height, breadth = b.size(x, 2), b.size(x, 3)
        pixels = b.as_dim(b.op("Mul", height, breadth))
        y = b.conv(
            "proj_in", b.group_norm("norm", x, width, c.groups, 1e-6), width, width
        )
        y = b.transpose(y, 0, 2, 3, 1)
        y = b.view(y, b.dim(y, 0, "batch"), pixels, width)
        with b.scope("transformer_blocks.0"):
            z = b.layer_norm("norm1", y, width)
            y = b.op("Add", _attend(b, c, "attn1", z, z, width, width, -1), y)
            z = b.layer_norm("norm2", y, width)
            z = _attend(b, c, "attn2", z, context, width, c.context, "words")
            y = b.op("Add", z, y)
            y = b.op("Add", _geglu(b, b.layer_norm("norm3", y, width), width), y)
        dims = b.dim(y, 0, "batch"), b.as_dim(height), b.as_dim(breadth), width
        y = b.transpose(b.view(y, *dims), 0, 3, 1, 2)
        return b.op("Add", b.conv("proj_out", y, width, width, gain=0.5), x)


def _attend(
    b: Builder, c: Config, name: str, x: str, y: str, width: int, other: int, keys: Dim
) -> str:
    size = width // c.heads
    with b.scope(name):
        q = b.linear("to_q", x, width, width, bias=False)
        k = b.linear("to_k", y, other, width, bias=False)
        v = b.linear("to_v", y, other, width, bias=False)
        q = split_heads(b, q, c.heads, size, symbol=-1)
        k = split_heads(b, k, c.heads, size, symbol=keys)
        v = split_heads(b, v, c.heads, size, symbol=keys)
        y = merge_heads(b, b.sdpa(q, k, v, size), width, -1)
        return b.linear("to_out.0", y, width, width)


def _geglu(b: Builder, x: str, width: int) -> str:
    with b.scope("ff"):
        with b.scope("net.0"):
            y, gate = b.chunk(b.linear("proj", x, width, 8 * width), 4 * width)
            y = b.op("Mul", y, b.gelu(gate))
        return b.linear("net.2", y, 4 * width, width)
