"""GPT-2 with past keys and values as inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from .attention import (
    extend,
    merge_heads,
    padding_mask,
    past_feeds,
    past_inputs,
    positions,
    split_heads,
    token_feeds,
)
from .build import Builder
from .nodes import BOOL, INT64, MINIMUM
from .spelling import builder


@dataclass(frozen=True)
class Config:
    """Sizes of the decoder."""

    width: int
    layers: int
    heads: int
    vocabulary: int = 50257
    positions: int = 1024

    @property
    def size(self) -> int:
        """Channels of a head."""
        return self.width // self.heads


SIZES = {"full": Config(768, 12, 12), "tiny": Config(32, 2, 4, 101, 64)}


def build(
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return the model; ``changes`` replace fields of its config."""
    c = replace(SIZES[size], **changes)
    b = builder("gpt2", spelling, opset, seed)
    ids = b.input("input_ids", INT64, "batch", "sequence")
    mask = b.input("attention_mask", INT64, "batch", "total")
    past = past_inputs(b, c.layers, c.heads, c.size)
    with b.scope("transformer"):
        where, _, _ = positions(b, past[0], ids)
        x = b.embedding("wte", c.vocabulary, c.width, ids)
        y = b.embedding("wpe", c.positions, c.width, b.unsqueeze(where, 0))
        x = b.op("Add", x, y)
        bias = padding_mask(b, mask)
        seen = np.tril(np.ones((1, 1, c.positions, c.positions), BOOL))
        table = b.constant(seen, BOOL)
        for i in range(c.layers):
            with b.scope(f"h.{i}"):
                x = _layer(b, c, x, bias, table, past[2 * i], past[2 * i + 1])
        x = b.layer_norm("ln_f", x, c.width)
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
    tokens = token_feeds(c.vocabulary, batch, sequence, seed)
    kv = past_feeds(c.layers, c.heads, c.size, batch, past, seed)
    return {**tokens, "attention_mask": mask, **kv}


def _layer(
    b: Builder, c: Config, x: str, bias: str, table: str, key: str, value: str
) -> str:
    y = b.layer_norm("ln_1", x, c.width)
    with b.scope("attn"):
        y = _conv1d(b, "c_attn", y, c.width, 3 * c.width)
        split = b.constant([c.width] * 3, INT64)
        parts = b.op("Split", y, split, outputs=3, axis=2)
        q, k, v = (split_heads(b, part, c.heads, c.size) for part in parts)
        k = extend(b, key, k, c.heads, c.size)
        v = extend(b, value, v, c.heads, c.size)
        scores = b.op("MatMul", q, b.transpose(k, 0, 1, 3, 2))
        scores = b.op("Div", scores, b.root_of_size(v, 3, c.size))
        scores = _causal(b, scores, table, q, k)
        y = merge_heads(b, b.weigh(scores, v, bias), c.width)
        y = _conv1d(b, "c_proj", y, c.width, c.width)
    x = b.op("Add", y, x)
    y = b.layer_norm("ln_2", x, c.width)
    with b.scope("mlp"):
        y = _conv1d(b, "c_fc", y, c.width, 4 * c.width)
        with b.scope("act"):
            y = b.gelu_tanh(y)
        y = _conv1d(b, "c_proj", y, 4 * c.width, c.width)
    return b.op("Add", x, y)


def _causal(b: Builder, scores: str, table: str, q: str, k: str) -> str:
    """Hide later keys by a slice of a triangular table, as the buffer in torch does."""
    new, total = b.size(q, 2, "sequence"), b.size(k, 2, "total")
    start, stop = b.as_dim(b.op("Sub", total, new)), b.as_dim(total)
    seen = b.slice(b.slice(table, 2, start, stop), 3, 0, stop)
    return b.op("Where", seen, b.recast(scores), b.constant(MINIMUM))


def _conv1d(b: Builder, name: str, x: str, inputs: int, outputs: int) -> str:
    """GPT-2's linear layer: flattened, one Gemm, and back."""
    with b.scope(name):
        flat = b.view(x, -1, b.dim(x, 2, inputs))
        weight = b.weight("weight", inputs, outputs, std=inputs**-0.5)
        bias = b.weight("bias", outputs, std=0.1)
        y = b.op("Gemm", flat, weight, bias, alpha=1.0, beta=1.0)
        return b.view(y, b.dim(x, 0, "batch"), b.dim(x, 1, "sequence"), outputs)
