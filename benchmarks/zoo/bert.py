"""BERT-base, MiniLM and DistilBERT: post-norm encoders over words."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from .attention import eager, merge_heads, padding_mask, split_heads, token_feeds
from .build import Builder
from .nodes import FLOAT, INT64, MINIMUM
from .spelling import builder


@dataclass(frozen=True)
class Config:
    """Sizes of one encoder."""

    width: int
    layers: int
    heads: int
    vocabulary: int = 30522
    positions: int = 512

    @property
    def size(self) -> int:
        """Channels of a head."""
        return self.width // self.heads


TINY = Config(32, 2, 4, 101, 64)
SIZES = {
    "bert_base": {"full": Config(768, 12, 12), "tiny": TINY},
    "minilm": {"full": Config(384, 6, 12), "tiny": TINY},
    "distilbert": {"full": Config(768, 6, 12), "tiny": TINY},
}


def build(
    kind: str,
    size: str = "tiny",
    spelling: str = "torchscript",
    opset: int = 0,
    seed: int = 0,
    **changes: Any,
) -> onnx.ModelProto:
    """Return one of the encoders; ``changes`` replace fields of its config."""
    c = replace(SIZES[kind][size], **changes)
    b = builder(kind, spelling, opset, seed)
    ids = b.input("input_ids", INT64, "batch", "sequence")
    mask = b.input("attention_mask", INT64, "batch", "sequence")
    if kind == "distilbert":
        x = _embeddings(b, c, ids, "")
        for i in range(c.layers):
            with b.scope("transformer", f"layer.{i}"):
                x = _distilbert_layer(b, c, x, mask)
        b.output(x, "last_hidden_state", "batch", "sequence", c.width)
        return b.model()
    x = _embeddings(b, c, ids, b.input("token_type_ids", INT64, "batch", "sequence"))
    bias = padding_mask(b, mask)
    for i in range(c.layers):
        with b.scope("encoder", f"layer.{i}"):
            x = _bert_layer(b, c, x, bias)
    if kind == "minilm":
        _sentence(b, c, x, mask)
    else:
        _pooler(b, c, x)
    return b.model()


def feeds(
    kind: str,
    size: str = "tiny",
    batch: int = 1,
    sequence: int = 128,
    seed: int = 0,
    **changes: Any,
) -> dict[str, np.ndarray]:
    """Return token ids, a mask with padded rows, and token types unless DistilBERT."""
    c = replace(SIZES[kind][size], **changes)
    tokens = token_feeds(c.vocabulary, batch, sequence, seed)
    lengths = sequence - np.arange(batch) % max(1, sequence // 2)
    mask = (np.arange(sequence) < lengths[:, None]).astype(np.int64)
    tokens["attention_mask"] = mask
    if kind != "distilbert":
        types = np.arange(sequence)[None] >= lengths[:, None] // 2
        tokens["token_type_ids"] = types.astype(np.int64)
    return tokens


def _embeddings(b: Builder, c: Config, ids: str, types: str) -> str:
    with b.scope("embeddings"):
        table = b.constant(np.arange(c.positions)[None], INT64)
        where = b.slice(table, 1, 0, b.dim(ids, 1, "sequence"))
        x = b.embedding("word_embeddings", c.vocabulary, c.width, ids)
        if types:
            y = b.embedding("token_type_embeddings", 2, c.width, types)
            x = b.op("Add", x, y)
        y = b.embedding("position_embeddings", c.positions, c.width, where)
        return b.layer_norm("LayerNorm", b.op("Add", x, y), c.width, 1e-12)


def _bert_layer(b: Builder, c: Config, x: str, mask: str) -> str:
    with b.scope("attention"):
        with b.scope("self"):
            q = b.linear("query", x, c.width, c.width)
            k = b.linear("key", x, c.width, c.width)
            k = split_heads(b, k, c.heads, c.size, (0, 2, 3, 1))
            v = b.linear("value", x, c.width, c.width)
            v = split_heads(b, v, c.heads, c.size)
            q = split_heads(b, q, c.heads, c.size)
            y = merge_heads(b, eager(b, q, k, v, c.size, mask), c.width)
        with b.scope("output"):
            y = b.linear("dense", y, c.width, c.width)
            x = b.layer_norm("LayerNorm", b.op("Add", y, x), c.width, 1e-12)
    with b.scope("intermediate"):
        y = b.linear("dense", x, c.width, 4 * c.width)
        with b.scope("intermediate_act_fn"):
            y = b.gelu(y)
    with b.scope("output"):
        y = b.linear("dense", y, 4 * c.width, c.width)
        return b.layer_norm("LayerNorm", b.op("Add", y, x), c.width, 1e-12)


def _distilbert_layer(b: Builder, c: Config, x: str, mask: str) -> str:
    with b.scope("attention"):
        q, k, v = (
            b.linear(name, x, c.width, c.width) for name in ("q_lin", "k_lin", "v_lin")
        )
        q = split_heads(b, q, c.heads, c.size)
        k = split_heads(b, k, c.heads, c.size, (0, 2, 3, 1))
        v = split_heads(b, v, c.heads, c.size)
        q = b.op("Div", q, b.constant(math.sqrt(c.size)))
        y = _filled(b, b.op("MatMul", q, k), mask)
        y = merge_heads(b, b.weigh(y, v), c.width)
        y = b.linear("out_lin", y, c.width, c.width)
    x = b.layer_norm("sa_layer_norm", b.op("Add", y, x), c.width, 1e-12)
    with b.scope("ffn"):
        y = b.linear("lin1", x, c.width, 4 * c.width)
        with b.scope("activation"):
            y = b.gelu(y)
        y = b.linear("lin2", y, 4 * c.width, c.width)
    return b.layer_norm("output_layer_norm", b.op("Add", y, x), c.width, 1e-12)


def _filled(b: Builder, scores: str, mask: str) -> str:
    """Set the scores of padding to the lowest float."""
    absent = b.op("Equal", mask, b.constant(0, INT64))
    dims = b.dim(mask, 0, "batch"), 1, 1, b.dim(mask, 1, "sequence")
    absent = b.op("Expand", b.view(absent, *dims), b.op("Shape", scores))
    return b.op("Where", absent, b.constant(MINIMUM), scores)


def _pooler(b: Builder, c: Config, x: str) -> None:
    with b.scope("pooler"):
        first = b.op("Gather", x, b.constant(0, INT64), axis=1)
        y = b.op("Tanh", b.gemm("dense", first, c.width, c.width))
    b.output(y, "pooler_output", "batch", c.width)
    b.output(x, "last_hidden_state", "batch", "sequence", c.width)


def _sentence(b: Builder, c: Config, x: str, mask: str) -> None:
    """Sentence-transformers' head: the mean over words, scaled to length 1."""
    with b.scope("pooling"):
        y = b.unsqueeze(mask, -1)
        y = b.expand(y, b.dim(x, 0, "batch"), b.dim(x, 1, "sequence"), c.width)
        y = b.cast(y, FLOAT)
        total = b.op("ReduceSum", b.op("Mul", x, y), b.ints(1), keepdims=0)
        count = b.op("ReduceSum", y, b.ints(1), keepdims=0)
        count = b.op("Clip", count, b.constant(1e-9))
        y = b.op("Div", total, count)
    with b.scope("normalize"):
        norm = b.op("Clip", b.reduce("ReduceL2", y), b.constant(1e-12))
        y = b.op("Div", y, b.expand(norm, b.dim(y, 0, "batch"), c.width))
    b.output(y, "sentence_embedding", "batch", c.width)
    b.output(x, "last_hidden_state", "batch", "sequence", c.width)
