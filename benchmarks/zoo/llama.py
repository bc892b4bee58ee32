"""A Llama-style decoder: RMSNorm, rotary positions, grouped heads, SwiGLU, past."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from .attention import (
    eager,
    extend,
    merge_heads,
    past_feeds,
    past_inputs,
    positions,
    split_heads,
    token_feeds,
)
from .build import Builder
from .nodes import BOOL, FLOAT, INT64, MINIMUM
from .spelling import builder


@dataclass(frozen=True)
class Config:
    """Sizes of the decoder; full is SmolLM-135M."""

    width: int
    layers: int
    heads: int
    shared: int
    inner: int
    vocabulary: int = 49152
    theta: float = 10000.0

    @property
    def size(self) -> int:
        """Channels of a head."""
        return self.width // self.heads


SIZES = {"full": Config(576, 30, 9, 3, 1536), "tiny": Config(32, 2, 4, 2, 64, 101)}


def build(
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return the model; ``changes`` replace fields of its config."""
    c = replace(SIZES[size], **changes)
    b = builder(
        "llama", spelling, opset or (14 if spelling == "torchscript" else 0), seed
    )
    ids = b.input("input_ids", INT64, "batch", "sequence")
    mask = b.input("attention_mask", INT64, "batch", "total")
    where = b.input("position_ids", INT64, "batch", "sequence")
    past = past_inputs(b, c.layers, c.shared, c.size)
    with b.scope("model"):
        x = b.embedding("embed_tokens", c.vocabulary, c.width, ids)
        bias = _mask(b, x, mask, past[0])
        angles = _angles(b, c, where)
        for i in range(c.layers):
            with b.scope(f"layers.{i}"):
                x = _layer(b, c, x, bias, angles, past[2 * i], past[2 * i + 1])
        x = b.rms_norm("norm", x, c.width)
    logits = b.linear("lm_head", x, c.width, c.vocabulary, bias=False)
    b.output(logits, "logits", "batch", "sequence", c.vocabulary)
    return b.model()


def feeds(
    size: str = "tiny",
    batch: int = 1,
    sequence: int = 8,
    past: int = 0,
    seed: int = 0,
    **changes: Any,
) -> dict[str, np.ndarray]:
    """Return token ids, a mask whose later rows are padded in front, and the past."""
    c = replace(SIZES[size], **changes)
    total = past + sequence
    start = np.arange(batch) % max(1, total // 2)
    mask = (np.arange(total) >= start[:, None]).astype(np.int64)
    where = np.maximum(np.cumsum(mask, 1) - 1, 0)[:, past:]
    tokens = token_feeds(c.vocabulary, batch, sequence, seed)
    kv = past_feeds(c.layers, c.shared, c.size, batch, past, seed)
    return {**tokens, "attention_mask": mask, "position_ids": where, **kv}


def _mask(b: Builder, x: str, mask: str, past: str) -> str:
    """Hide later keys and padding, as Hugging Face's eager path builds the mask."""
    where, new, _ = positions(b, past, x)
    total = b.size(mask, 1, "total")
    fill = onnx.numpy_helper.from_array(np.array([MINIMUM], FLOAT))
    y = b.op("ConstantOfShape", b.join(b.as_dim(new), b.as_dim(total)), value=fill)
    y = b.op("Trilu", y, b.constant(1, INT64), upper=1)
    later = b.op("Greater", b.arange(b.constant(0, INT64), total), b.view(where, -1, 1))
    y = b.unsqueeze(b.op("Mul", y, b.cast(later, FLOAT)), 0, 1)
    y = b.expand(y, b.dim(x, 0, "batch"), 1, -1, -1)
    part = b.slice(y, 3, 0, b.as_dim(total))
    seen = b.op("Add", part, b.cast(b.unsqueeze(mask, 1, 2), FLOAT))
    padded = b.cast(b.op("Equal", seen, b.constant(0.0)), BOOL)
    filled = b.op("Where", padded, b.constant(MINIMUM), part)
    return _assign(b, y, filled) if b.scatters else filled


def _assign(b: Builder, x: str, values: str) -> str:
    """Write all four axes of a value, the way TorchScript spells an assignment."""
    grids = []
    for axis in range(4):
        count = b.arange(b.constant(0, INT64), b.size(x, axis))
        grids.append(b.view(count, -1, *[1] * (3 - axis)))
    total = grids[0]
    for grid in grids[1:]:
        total = b.op("Add", total, grid)
    shape = b.op("Shape", total)
    parts = [b.unsqueeze(b.op("Expand", grid, shape), -1) for grid in grids]
    index = b.op("Concat", *parts, axis=-1)
    return b.op("ScatterND", x, index, b.op("Reshape", values, shape))


def _angles(b: Builder, c: Config, where: str) -> tuple[str, str]:
    """Return cosine and sine of each position's angles, (batch, sequence, size)."""
    with b.scope("rotary_emb"):
        rate = c.theta ** -(np.arange(0, c.size, 2) / c.size)
        rates = b.expand(
            b.constant(rate[None, :, None]), b.dim(where, 0, "batch"), -1, 1
        )
        steps = b.cast(b.unsqueeze(where, 1), FLOAT)
        y = b.transpose(b.op("MatMul", b.recast(rates), b.recast(steps)), 0, 2, 1)
        y = b.op("Concat", y, y, axis=-1)
        cos = b.op("Mul", b.op("Cos", y), b.constant(1.0))
        sin = b.op("Mul", b.op("Sin", y), b.constant(1.0))
        return b.recast(cos), b.recast(sin)


def _layer(
    b: Builder,
    c: Config,
    x: str,
    mask: str,
    angles: tuple[str, str],
    key: str,
    value: str,
) -> str:
    y = b.rms_norm("input_layernorm", x, c.width)
    with b.scope("self_attn"):
        q = b.linear("q_proj", y, c.width, c.width, bias=False)
        k = b.linear("k_proj", y, c.width, c.shared * c.size, bias=False)
        v = b.linear("v_proj", y, c.width, c.shared * c.size, bias=False)
        q = split_heads(b, q, c.heads, c.size)
        k = split_heads(b, k, c.shared, c.size)
        v = split_heads(b, v, c.shared, c.size)
        cos, sin = (b.unsqueeze(angle, 1) for angle in angles)
        q, k = _rotate(b, c, q, cos, sin), _rotate(b, c, k, cos, sin)
        k = _repeat(b, c, extend(b, key, k, c.shared, c.size))
        v = _repeat(b, c, extend(b, value, v, c.shared, c.size))
        y = eager(b, q, b.transpose(k, 0, 1, 3, 2), v, c.size, mask)
        y = b.linear("o_proj", merge_heads(b, y, c.width), c.width, c.width, bias=False)
    x = b.op("Add", x, y)
    y = b.rms_norm("post_attention_layernorm", x, c.width)
    with b.scope("mlp"):
        gate = b.linear("gate_proj", y, c.width, c.inner, bias=False)
        with b.scope("act_fn"):
            gate = b.silu(gate)
        up = b.linear("up_proj", y, c.width, c.inner, bias=False)
        y = b.op("Mul", gate, up)
        y = b.linear("down_proj", y, c.inner, c.width, bias=False)
    return b.op("Add", x, y)


def _rotate(b: Builder, c: Config, x: str, cos: str, sin: str) -> str:
    first, second = b.halves(x, c.size)
    turned = b.op("Concat", b.op("Neg", second), first, axis=-1)
    return b.op("Add", b.op("Mul", x, cos), b.op("Mul", turned, sin))


def _repeat(b: Builder, c: Config, x: str) -> str:
    """Repeat each key or value head for the query heads that it serves."""
    times = c.heads // c.shared
    batch, length = b.dim(x, 0, "batch"), b.dim(x, 2, "total")
    y = b.unsqueeze(x, 2)
    y = b.expand(y, batch, b.dim(x, 1, c.shared), times, length, b.dim(x, 3, c.size))
    return b.view(y, batch, c.heads, length, c.size)
