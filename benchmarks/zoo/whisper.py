"""Whisper: an encoder over log-mel frames, a decoder with cross attention and past."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from .attention import (
    causal_mask,
    extend,
    merge_heads,
    past_feeds,
    past_inputs,
    positions,
    split_heads,
    token_feeds,
)
from .build import Builder
from .nodes import FLOAT, INT64, Dim
from .spelling import builder


@dataclass(frozen=True)
class Config:
    """Sizes of encoder and decoder; full is Whisper base."""

    width: int
    layers: int
    heads: int
    mels: int = 80
    frames: int = 3000
    vocabulary: int = 51865
    positions: int = 448

    @property
    def size(self) -> int:
        """Channels of a head."""
        return self.width // self.heads


SIZES = {"full": Config(512, 6, 8), "tiny": Config(32, 2, 4, 8, 48, 101, 64)}


def build_encoder(
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return the encoder; ``changes`` replace fields of its config."""
    c = replace(SIZES[size], **changes)
    b = builder("whisper_encoder", spelling, opset, seed)
    x = b.input("input_features", FLOAT, "batch", c.mels, c.frames)
    with b.scope("encoder"):
        x = b.gelu(b.conv("conv1", x, c.mels, c.width, 3, rank=1))
        x = b.gelu(b.conv("conv2", x, c.width, c.width, 3, 2, rank=1))
        table = b.weight("embed_positions.weight", c.frames // 2, c.width, std=0.3)
        x = b.op("Add", b.transpose(x, 0, 2, 1), table)
        for i in range(c.layers):
            with b.scope(f"layers.{i}"):
                x = _encoder_layer(b, c, x)
        x = b.layer_norm("layer_norm", x, c.width)
    b.output(x, "last_hidden_state", "batch", c.frames // 2, c.width)
    return b.model()


def encoder_feeds(
    size: str = "tiny", batch: int = 1, seed: int = 0, **changes: Any
) -> dict[str, np.ndarray]:
    """Return normalised log-mel frames."""
    c = replace(SIZES[size], **changes)
    rng = np.random.default_rng([seed, 0])
    frames = rng.standard_normal((batch, c.mels, c.frames), np.float32)
    return {"input_features": frames}


def build_decoder(
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return the decoder of the later steps; ``changes`` as for the encoder."""
    c = replace(SIZES[size], **changes)
    b = builder("whisper_decoder", spelling, opset, seed)
    ids = b.input("input_ids", INT64, "batch", "sequence")
    past = past_inputs(b, c.layers, c.heads, c.size)
    cross = [
        b.input(name, FLOAT, "batch", c.heads, c.frames // 2, c.size)
        for name in _cross_names(c)
    ]
    with b.scope("decoder"):
        where, _, total = positions(b, past[0], ids)
        x = b.embedding("embed_tokens", c.vocabulary, c.width, ids)
        y = b.embedding("embed_positions", c.positions, c.width, b.unsqueeze(where, 0))
        x = b.op("Add", x, b.recast(y))
        mask = b.expand(causal_mask(b, where, total), b.dim(x, 0, "batch"), 1, -1, -1)
        for i in range(c.layers):
            j = slice(2 * i, 2 * i + 2)
            with b.scope(f"layers.{i}"):
                x = _decoder_layer(b, c, x, mask, past[j], cross[j])
        x = b.layer_norm("layer_norm", x, c.width)
    logits = b.linear("proj_out", x, c.width, c.vocabulary, bias=False)
    b.output(logits, "logits", "batch", "sequence", c.vocabulary)
    return b.model()


def decoder_feeds(
    size: str = "tiny",
    batch: int = 1,
    sequence: int = 1,
    past: int = 4,
    seed: int = 0,
    **changes: Any,
) -> dict[str, np.ndarray]:
    """Return token ids, the past, and the encoder's keys and values."""
    c = replace(SIZES[size], **changes)
    rng = np.random.default_rng([seed, 2])
    shape = (batch, c.heads, c.frames // 2, c.size)
    cross = {name: rng.standard_normal(shape, np.float32) for name in _cross_names(c)}
    tokens = token_feeds(c.vocabulary, batch, sequence, seed)
    kv = past_feeds(c.layers, c.heads, c.size, batch, past, seed)
    return {**tokens, **kv, **cross}


def _cross_names(c: Config) -> list[str]:
    return [
        f"past_key_values.{i}.encoder.{part}"
        for i in range(c.layers)
        for part in ("key", "value")
    ]


def _query(b: Builder, c: Config, x: str, symbol: Dim) -> str:
    """Whisper scales the queries, before they are split into heads."""
    q = b.linear("q_proj", x, c.width, c.width)
    q = b.op("Mul", q, b.constant(c.size**-0.5))
    return split_heads(b, q, c.heads, c.size, symbol=symbol)


def _encoder_layer(b: Builder, c: Config, x: str) -> str:
    y = b.layer_norm("self_attn_layer_norm", x, c.width)
    with b.scope("self_attn"):
        frames = c.frames // 2
        q = _query(b, c, y, frames)
        k = b.linear("k_proj", y, c.width, c.width, bias=False)
        v = b.linear("v_proj", y, c.width, c.width)
        k = split_heads(b, k, c.heads, c.size, (0, 2, 3, 1), frames)
        v = split_heads(b, v, c.heads, c.size, symbol=frames)
        y = merge_heads(b, b.weigh(b.op("MatMul", q, k), v), c.width, frames)
        y = b.linear("out_proj", y, c.width, c.width)
    return _feed_forward(b, c, b.op("Add", x, y))


def _decoder_layer(
    b: Builder, c: Config, x: str, mask: str, past: list[str], cross: list[str]
) -> str:
    y = b.layer_norm("self_attn_layer_norm", x, c.width)
    with b.scope("self_attn"):
        q = _query(b, c, y, "sequence")
        k = b.linear("k_proj", y, c.width, c.width, bias=False)
        v = b.linear("v_proj", y, c.width, c.width)
        k = extend(b, past[0], split_heads(b, k, c.heads, c.size), c.heads, c.size)
        v = extend(b, past[1], split_heads(b, v, c.heads, c.size), c.heads, c.size)
        scores = b.op("MatMul", q, b.transpose(k, 0, 1, 3, 2))
        part = b.slice(mask, 3, 0, b.dim(k, 2, "total"))
        y = merge_heads(b, b.weigh(scores, v, part), c.width)
        x = b.op("Add", x, b.linear("out_proj", y, c.width, c.width))
    y = b.layer_norm("encoder_attn_layer_norm", x, c.width)
    with b.scope("encoder_attn"):
        q = _query(b, c, y, "sequence")
        scores = b.op("MatMul", q, b.transpose(cross[0], 0, 1, 3, 2))
        y = merge_heads(b, b.weigh(scores, cross[1]), c.width)
        x = b.op("Add", x, b.linear("out_proj", y, c.width, c.width))
    return _feed_forward(b, c, x)


def _feed_forward(b: Builder, c: Config, x: str) -> str:
    y = b.layer_norm("final_layer_norm", x, c.width)
    y = b.linear("fc1", y, c.width, 4 * c.width)
    with b.scope("activation_fn"):
        y = b.gelu(y)
    return b.op("Add", x, b.linear("fc2", y, 4 * c.width, c.width))
