"""ViT-B/16: patches, a class token, pre-norm layers over the fused attention."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from .build import Builder
from .nodes import FLOAT, INT64
from .spelling import builder


@dataclass(frozen=True)
class Config:
    """Sizes of the encoder."""

    width: int
    layers: int
    heads: int
    patch: int = 16
    image: int = 224
    classes: int = 1000

    @property
    def size(self) -> int:
        """Channels of a head."""
        return self.width // self.heads

    @property
    def length(self) -> int:
        """Patches and the class token."""
        return (self.image // self.patch) ** 2 + 1


SIZES = {"full": Config(768, 12, 12), "tiny": Config(32, 2, 4, 8, 32, 10)}


def build(
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return the classifier; ``changes`` replace fields of its config."""
    c = replace(SIZES[size], **changes)
    b = builder("vit", spelling, opset, seed)
    x = b.input("pixels", FLOAT, "batch", 3, c.image, c.image)
    with b.scope("patch_embed"):
        x = b.conv("proj", x, 3, c.width, c.patch, c.patch, pad=0)
        x = b.view(x, b.dim(x, 0, "batch"), b.dim(x, 1, c.width), c.length - 1)
        x = b.transpose(x, 0, 2, 1)
    token = b.weight("cls_token", 1, 1, c.width, std=0.5)
    token = b.expand(token, b.dim(x, 0, "batch"), -1, -1)
    table = b.weight("pos_embed", 1, c.length, c.width, std=0.5)
    x = b.op("Add", b.op("Concat", token, x, axis=1), table)
    for i in range(c.layers):
        with b.scope("blocks", f"blocks.{i}"):
            x = _layer(b, c, x)
    x = b.layer_norm("norm", x, c.width, 1e-6)
    first = b.op("Gather", x, b.constant(0, INT64), axis=1)
    logits = b.gemm("head", first, c.width, c.classes)
    b.output(logits, "logits", "batch", c.classes)
    return b.model()


def feeds(
    size: str = "tiny", batch: int = 1, seed: int = 0, **changes: Any
) -> dict[str, np.ndarray]:
    """Return normalised pixels."""
    c = replace(SIZES[size], **changes)
    shape = batch, 3, c.image, c.image
    return {"pixels": np.random.default_rng(seed).standard_normal(shape, np.float32)}


def _layer(b: Builder, c: Config, x: str) -> str:
    y = b.layer_norm("norm1", x, c.width, 1e-6)
    with b.scope("attn"):
        batch, length = b.dim(y, 0, "batch"), b.dim(y, 1, c.length)
        y = b.linear("qkv", y, c.width, 3 * c.width)
        y = b.view(y, batch, length, 3, c.heads, c.size)
        q, k, v = b.unbind(b.transpose(y, 2, 0, 3, 1, 4), 3)
        y = b.transpose(b.sdpa(q, k, v, c.size), 0, 2, 1, 3)
        y = b.linear("proj", b.view(y, batch, length, c.width), c.width, c.width)
    x = b.op("Add", x, y)
    y = b.layer_norm("norm2", x, c.width, 1e-6)
    with b.scope("mlp"):
        y = b.linear("fc1", y, c.width, 4 * c.width)
        with b.scope("act"):
            y = b.gelu(y)
        return b.op("Add", x, b.linear("fc2", y, 4 * c.width, c.width))
