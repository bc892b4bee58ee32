"""What the transformers share: heads, masks, caches, rotary positions."""

from __future__ import annotations

import math

import numpy as np

from .build import Builder
from .nodes import FLOAT, INT64, MINIMUM, Dim


def split_heads(
    b: Builder,
    x: str,
    heads: int,
    size: int,
    perm: tuple[int, ...] = (0, 2, 1, 3),
    symbol: Dim = "sequence",
) -> str:
    """View (batch, sequence, channels) as heads and permute them."""
    y = b.view(x, b.dim(x, 0, "batch"), b.dim(x, 1, symbol), heads, size)
    return b.transpose(y, *perm)


def merge_heads(b: Builder, x: str, width: int, symbol: Dim = "sequence") -> str:
    """Undo `split_heads`."""
    y = b.transpose(x, 0, 2, 1, 3)
    return b.view(y, b.dim(y, 0, "batch"), b.dim(y, 1, symbol), width)


def eager(b: Builder, q: str, kt: str, v: str, size: int, mask: str = "") -> str:
    """Attention as Hugging Face's eager path spells it, the scores divided."""
    scores = b.op("MatMul", q, kt)
    return b.weigh(b.op("Div", scores, b.constant(math.sqrt(size))), v, mask)


def padding_mask(b: Builder, mask: str) -> str:
    """Turn (batch, keys) of ones and zeros into 0 and the lowest float."""
    y = b.cast(b.unsqueeze(mask, 1, 2), FLOAT)
    return b.op("Mul", b.op("Sub", b.constant(1.0), y), b.constant(MINIMUM))


def past_inputs(b: Builder, layers: int, heads: int, size: int) -> list[str]:
    """Declare the keys and values of earlier steps as graph inputs."""
    return [
        b.input(f"past_key_values.{i}.{part}", FLOAT, "batch", heads, "past", size)
        for i in range(layers)
        for part in ("key", "value")
    ]


def extend(b: Builder, past: str, new: str, heads: int, size: int) -> str:
    """Append new keys or values to the past ones and make them a graph output."""
    y = b.op("Concat", past, new, axis=-2)
    name = past.replace("past_key_values", "present")
    return b.output(y, name, "batch", heads, "total", size)


def positions(b: Builder, past: str, ids: str) -> tuple[str, str, str]:
    """Return the new tokens' positions, their number and the number of all tokens."""
    before, new = b.size(past, 2, "past"), b.size(ids, 1, "sequence")
    total = b.let("total", b.op("Add", before, new))
    return b.arange(before, total), new, total


def causal_mask(b: Builder, where: str, total: str) -> str:
    """Return (1, 1, queries, keys): 0 for a visible key, else the lowest float."""
    keys = b.arange(b.constant(0, INT64), total)
    later = b.op("Greater", keys, b.view(where, -1, 1))
    mask = b.op("Mul", b.cast(later, FLOAT), b.constant(MINIMUM))
    return b.unsqueeze(mask, 0, 1)


def past_feeds(
    layers: int, heads: int, size: int, batch: int, past: int, seed: int
) -> dict[str, np.ndarray]:
    """Return random keys and values for `past_inputs`."""
    rng = np.random.default_rng([seed, 1])
    return {
        f"past_key_values.{i}.{part}": rng.standard_normal(
            (batch, heads, past, size), FLOAT
        )
        for i in range(layers)
        for part in ("key", "value")
    }


def token_feeds(
    vocabulary: int, batch: int, sequence: int, seed: int
) -> dict[str, np.ndarray]:
    """Return random token ids."""
    rng = np.random.default_rng([seed, 0])
    return {"input_ids": rng.integers(0, vocabulary, (batch, sequence))}
