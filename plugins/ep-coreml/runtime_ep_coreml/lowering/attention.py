"""Attention and rotary positions."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from runtime_ep_coreml.guards import absent, attribute, floating, outputs, ranks
from runtime_ep_coreml.scope import Handle, Refused, Scope
from runtime_ep_coreml.table import lowers

FARTHEST = {"fp32": -1e30, "fp16": -3e4}
"""Added to the scores of what is hidden: so far below all others that its weight is 0."""


@lowers(
    "Attention",
    guards=(
        floating,
        ranks(3, 4),
        outputs(3, "the matrix of scores"),
        absent(6, "a length of keys that is not padded"),
        attribute("softmax_precision", None, 0, 1, 10),
    ),
    since=23,
)
def attention(at: Scope) -> Any:
    """softmax(Q · Kᵀ · scale + mask) · V, a query that sees nothing giving zeros."""
    if any("window" in name for name in at.node.attributes):
        raise Refused("windows are not supported")
    q = _heads(at, at.x(), at.attr("q_num_heads"))
    k = _heads(at, at.x(1), at.attr("kv_num_heads"))
    v = _heads(at, at.x(2), at.attr("kv_num_heads"))
    if at.has(4):
        k = at.op("concat", values=[at.x(4), k], axis=2)
        v = at.op("concat", values=[at.x(5), v], axis=2)
    present = (k, v)
    queries, keys = at.sizes(q)[1], at.sizes(k)[1]
    if queries is None or keys is None:
        raise Refused("the numbers of heads must be known")
    k, v = (_repeated(at, value, queries // keys) for value in (k, v))
    made = _weighed(at, q, k, v)
    if at.rank(at.x()) == 3:
        made = _joined(at, made)
    return (made, *present)


def _heads(at: Scope, x: Handle, count: int | None) -> Handle:
    """Return (batch, heads, sequence, size)."""
    if at.rank(x) == 4:
        return x
    width = at.sizes(x)[2]
    if not count or width is None:
        raise Refused("the number of heads and their width must be known")
    shape = [at.size(x, 0), at.size(x, 1), count, width // count]
    return at.transpose(at.into(x, shape), [0, 2, 1, 3])


def _joined(at: Scope, x: Handle) -> Handle:
    heads, width = at.sizes(x)[1], at.sizes(x)[3]
    if heads is None or width is None:
        raise Refused("the number of heads and their width must be known")
    moved = at.transpose(x, [0, 2, 1, 3])
    return at.into(moved, [at.size(x, 0), at.size(x, 2), heads * width])


def _repeated(at: Scope, x: Handle, times: int) -> Handle:
    """Return each head several times in a row."""
    if times == 1:
        return x
    heads, width = at.sizes(x)[1], at.sizes(x)[3]
    if heads is None or width is None:
        raise Refused("the number of heads and their width must be known")
    wide = at.op("expand_dims", x=x, axes=[2])
    wide = at.op("tile", x=wide, reps=np.array([1, 1, times, 1, 1], np.int32))
    return at.into(wide, [at.size(x, 0), heads * times, at.size(x, 2), width])


def _weighed(at: Scope, q: Handle, k: Handle, v: Handle) -> Handle:
    width = at.sizes(q)[3]
    scale = at.attr("scale") or (1 / sqrt(width) if width else None)
    if scale is None:
        raise Refused("the width of a head must be known")
    masks = _masks(at, q, k)
    cap = at.attr("softcap", 0.0)
    if at.emitter.target >= 18 and not masks and not cap and at.attr("scale") is None:
        return at.op("scaled_dot_product_attention", query=q, key=k, value=v)
    scores = _scores(at, q, k, scale)
    if cap:
        flat = at.op("tanh", x=at.op("mul", x=scores, y=at.like(q, 1 / cap)))
        scores = at.op("mul", x=flat, y=at.like(q, cap))
    for added, _ in masks:
        scores = at.op("add", x=scores, y=added)
    weights = at.op("softmax", x=scores, axis=-1)
    for _, seen in masks:
        weights = at.op("mul", x=weights, y=seen)
    return at.op("matmul", x=weights, y=v)


def _scores(at: Scope, q: Handle, k: Handle, scale: float) -> Handle:
    """Return Q · Kᵀ · scale; halves share the scale, so that no product leaves their range."""
    if scale > 0 and (at.emitter.halves or at.kind(q) == "fp16"):
        root = at.like(q, sqrt(scale))
        q, k = at.op("mul", x=q, y=root), at.op("mul", x=k, y=root)
    else:
        q = at.op("mul", x=q, y=at.like(q, scale))
    return at.op("matmul", x=q, y=k, transpose_y=True)


def _masks(at: Scope, q: Handle, k: Handle) -> list[tuple[Handle, Handle]]:
    """Return for each mask what is added to scores, and 1 or 0 for what weights keep."""
    found = []
    kind = at.kind(q)
    if at.has(3):
        found.append(_split_mask(at, at.x(3), kind, k))
    if at.attr("is_causal", 0):
        found.append(_split_mask(at, _causal(at, q, k), kind, k))
    return found


def _split_mask(at: Scope, mask: Handle, kind: str, k: Handle) -> tuple[Handle, Handle]:
    have, wanted = at.sizes(mask)[-1], at.sizes(k)[2]
    if have is not None and wanted is not None and have not in (1, wanted):
        raise Refused("a mask shorter than the keys is not supported")
    far = FARTHEST["fp16" if at.emitter.halves else kind]
    if at.kind(mask) == "bool":
        seen = at.cast(mask, kind)
        hidden = at.op("sub", x=at.like(seen, 1), y=seen)
        return at.op("mul", x=hidden, y=at.like(seen, far)), seen
    mask = at.cast(mask, kind)
    halves = at.emitter.halves or kind == "fp16"
    lowest = np.finfo(np.float16 if halves else np.float32).min
    limit = at.like(mask, float(lowest))
    seen = at.cast(at.op("greater_equal", x=mask, y=limit), kind)
    return at.op("maximum", x=mask, y=at.like(mask, far)), seen


def _causal(at: Scope, q: Handle, k: Handle) -> Handle:
    """Return which keys, columns, a query, a row, sees: those up to its own place."""
    rows, columns = at.sizes(q)[2], at.sizes(k)[2]
    if rows is None or columns is None:
        raise Refused("a causal mask needs known lengths")
    past = 0
    if at.has(4):
        past = columns - at.fixed(at.x(1))[-2] if at.rank(at.x(1)) == 4 else 0
        if at.rank(at.x(1)) == 3:
            past = columns - at.fixed(at.x(1))[1]
    return at.constant(np.tri(rows, columns, k=past, dtype=bool))


@lowers("RotaryEmbedding", guards=(floating, ranks(3, 4)), since=23)
def rotary(at: Scope) -> Handle:
    """Pairs of features turned by angles of their position."""
    given = at.x()
    x = given
    if at.rank(given) == 3:
        x = _heads(at, given, at.attr("num_heads"))
    width = at.sizes(x)[3]
    if width is None:
        raise Refused("the width of a head must be known")
    turned = at.attr("rotary_embedding_dim", 0) or width
    cosine, sine = (_angles(at, index, turned // 2) for index in (1, 2))
    whole, rest = _parts(at, x, turned, width)
    made = _turned(at, whole, cosine, sine, turned, bool(at.attr("interleaved", 0)))
    if rest is not None:
        made = at.op("concat", values=[made, rest], axis=3)
    return _joined(at, made) if at.rank(given) == 3 else made


def _angles(at: Scope, index: int, half: int) -> Handle:
    """Return a cache as it broadcasts with (batch, heads, sequence, half)."""
    cache = at.x(index)
    if at.has(3):
        cache = at.op("gather", x=cache, indices=at.x(3), axis=0)
    if at.sizes(cache)[-1] != half:
        raise Refused("a cache wider than the features that are turned")
    return at.op("expand_dims", x=cache, axes=[1])


def _parts(
    at: Scope, x: Handle, turned: int, width: int
) -> tuple[Handle, Handle | None]:
    if turned == width:
        return x, None
    first, rest = at.op("split", x=x, split_sizes=[turned, width - turned], axis=3)
    return first, rest


def _turned(
    at: Scope, x: Handle, cosine: Handle, sine: Handle, width: int, interleaved: bool
) -> Handle:
    half = width // 2
    sizes = [at.size(x, axis) for axis in range(3)]
    if interleaved:
        pairs = at.into(x, [*sizes, half, 2])
        one, two = at.op("split", x=pairs, split_sizes=[1, 1], axis=4)
        one, two = (at.op("squeeze", x=part, axes=[4]) for part in (one, two))
    else:
        one, two = at.op("split", x=x, split_sizes=[half, half], axis=3)
    real = at.op("sub", x=at.op("mul", x=one, y=cosine), y=at.op("mul", x=two, y=sine))
    other = at.op("add", x=at.op("mul", x=one, y=sine), y=at.op("mul", x=two, y=cosine))
    if not interleaved:
        return at.op("concat", values=[real, other], axis=3)
    pairs = at.op("stack", values=[real, other], axis=4)
    return at.into(pairs, [*sizes, width])
