"""Attention of domain com.microsoft: fused projections, masks as indices, caches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops import attention as standard
from runtime_ep_cpu.ops._attention import Masking, Scoring, attend
from runtime_ep_cpu.ops._products import product

table = KernelTable()

MS = "com.microsoft"
MASKED = -10000.0


def heads_of(name: str, x: Any, count: int) -> Any:
    """Return [batch, length, heads * size] as [batch, heads, length, size]."""
    if x.ndim != 3 or count < 1 or x.shape[2] % count:
        raise ValueError(
            f"{name} of shape {list(x.shape)} does not divide into {count} heads"
        )
    batch, length, width = x.shape
    return x.reshape(batch, length, count, width // count).transpose(0, 2, 1, 3)


def check_fit(q: Any, k: Any, v: Any) -> None:
    """Refuse queries, keys and values [batch, heads, length, size] that differ."""
    fits = (
        q.shape[0] == k.shape[0] == v.shape[0]
        and k.shape[1:3] == v.shape[1:3]
        and q.shape[3] == k.shape[3]
        and k.shape[1] > 0
        and q.shape[1] % k.shape[1] == 0
    )
    if not fits:
        raise ValueError(
            f"queries {list(q.shape)}, keys {list(k.shape)} and values "
            f"{list(v.shape)} (batch, heads, length, size) do not fit each other"
        )


def attended(
    q: Any, k: Any, v: Any, scoring: Scoring, masking: Masking
) -> tuple[Any, Any]:
    """Return the attention as [batch, length, heads * size], and the scores shown."""
    check_fit(q, k, v)
    (batch, heads, rows, _), size = q.shape, v.shape[3]
    check_size((batch, rows, heads, size), q.dtype)
    y = namespace_of(q).empty((batch, rows, heads, size), q.dtype)
    shown = attend(q, k, v, scoring, masking, y.transpose(0, 2, 1, 3))
    return y.reshape(batch, rows, heads * size), shown


def lowest_for_masked(scores: Any) -> Any:
    """Return scores with the lowest number where they are masked, as shown outside."""
    return namespace_of(scores).maximum(scores, np.finfo(scores.dtype).min)


def scale_of(scale: float | None, q: Any) -> float:
    """Return the given scale, or one over the root of the head's size."""
    return scale if scale else float(max(1, q.shape[-1])) ** -0.5


def key_bias(mask: Any, q: Any, keys: int, past: int, masked: float | None) -> Any:
    """Turn a mask in any of its formats into numbers to add to the scores.

    The formats: [batch] lengths, [2 * batch] ends then starts, [3 * batch + 2] that
    begins with lengths, [batch, keys], [batch, queries, keys], and [batch, 1, most,
    most] of which the rows from ``past`` on count.
    """
    if mask is None:
        return None
    xp = namespace_of(mask)
    batch, _, rows, _ = q.shape
    place = xp.arange(keys)
    if mask.shape in ((batch,), (3 * batch + 2,)):
        kept = place < mask[:batch, None]
    elif mask.shape == (2 * batch,):
        kept = (place < mask[:batch, None]) & (place >= mask[batch:, None])
    elif mask.shape in ((batch, keys), (batch, rows, keys)):
        kept = mask > 0
    elif mask.ndim == 4 and mask.shape[0] in (1, batch) and mask.shape[2] >= keys:
        kept = mask[:, 0, past : past + rows, :keys] > 0
    else:
        raise ValueError(
            f"a mask of shape {list(mask.shape)} does not fit {batch} sequences of "
            f"{rows} queries and {keys} keys"
        )
    kept = kept.reshape(kept.shape[0], 1, -1, keys)
    filler = MASKED if masked is None else masked
    return xp.where(kept, q.dtype.type(0), q.dtype.type(filler))


def with_bias(mask: Any, bias: Any, q: Any, keys: int) -> Any:
    """Add an attention bias, whose first two axes may be 1, to a mask's numbers."""
    if bias is None:
        return mask
    expected = (*q.shape[:3], keys)
    lead = zip(bias.shape[:2], expected[:2], strict=False)
    if (
        bias.ndim != 4
        or bias.shape[2:] != expected[2:]
        or any(found not in (1, wanted) for found, wanted in lead)
    ):
        raise ValueError(
            f"an attention_bias of shape {list(bias.shape)} does not fit scores of "
            f"{list(expected)}"
        )
    return bias if mask is None else mask + bias


@table("RotaryEmbedding", since=1, domain=MS)
def rotary_embedding(
    x,
    position_ids,
    cos_cache,
    sin_cache,
    /,
    *,
    interleaved=None,
    is_packed_batching=None,
    num_heads=None,
    rotary_embedding_dim=None,
    scale=None,
):
    """RotaryEmbedding: one offset for all sequences, or a position per element.

    ``x`` is [batch, heads, length, size], or [batch, length, heads * size], where a
    head's size is that of the caches unless ``num_heads`` says otherwise.
    """
    if is_packed_batching:
        raise ValueError("packed batches are not supported")
    xp = namespace_of(x)
    if x.ndim not in (3, 4) or not cos_cache.ndim:
        raise ValueError(
            f"an input of shape {list(x.shape)} and caches of shape "
            f"{list(cos_cache.shape)} cannot be turned"
        )
    length = x.shape[2 if x.ndim == 4 else 1]
    if position_ids.ndim == 1:
        position_ids = position_ids + xp.arange(length, dtype=position_ids.dtype)
        position_ids = xp.broadcast_to(position_ids, (x.shape[0], length))
    turned = 2 * cos_cache.shape[-1]
    heads = num_heads if num_heads else x.shape[-1] // max(1, turned)
    return standard.rotary_embedding(
        x,
        cos_cache,
        sin_cache,
        position_ids,
        interleaved=interleaved or 0,
        num_heads=heads,
        rotary_embedding_dim=rotary_embedding_dim or turned,
    )


@table("MultiHeadAttention", since=1, domain=MS)
def multi_head_attention(
    query,
    key=None,
    value=None,
    bias=None,
    key_padding_mask=None,
    attention_bias=None,
    past_key=None,
    past_value=None,
    past_sequence_length=None,
    cache_indirection=None,
    /,
    *,
    call,
    mask_filter_value=None,
    num_heads,
    scale=None,
    unidirectional=0,
):
    """MultiHeadAttention: projected queries, keys and values, apart or packed.

    The results are [batch, length, heads * size], keys and values with the past ones
    in front, and the masked scores. With ``past_sequence_length`` the past ones are the
    beginning of a larger buffer. Where there are more keys than queries the queries
    are the last positions.
    """
    if cache_indirection is not None:
        raise ValueError("cache_indirection is not supported")
    q, k, v = _projected(query, key, value, bias, num_heads)
    k, v, present, past = _after_past(k, v, past_key, past_value, past_sequence_length)
    check_fit(q, k, v)
    keys = k.shape[2]
    mask = key_bias(key_padding_mask, q, keys, past, mask_filter_value)
    masking = Masking(
        np.array([max(past, keys - q.shape[2])]),
        bool(unidirectional),
        bias=with_bias(mask, attention_bias, q, keys),
    )
    wanted = (*call.wanted, False, False, False)[3]
    scoring = Scoring(scale_of(scale, q), shown=2 if wanted else None)
    y, shown = attended(q, k, v, scoring, masking)
    return y, *present, shown if shown is None else lowest_for_masked(shown)


def _projected(q: Any, k: Any, v: Any, bias: Any, heads: int) -> tuple[Any, Any, Any]:
    """Unpack queries, keys and values, each [batch, heads, length, size], with bias."""
    parts = [q, k, v]
    if q.ndim == 5:
        parts = [q[:, :, :, n].transpose(0, 2, 1, 3) for n in range(3)]
    else:
        if k is None or (v is None and k.ndim != 5):
            raise ValueError("MultiHeadAttention needs keys and values")
        if k.ndim == 5:
            parts[1:] = [k[:, :, :, n].transpose(0, 2, 1, 3) for n in range(2)]
        names = ("query", "key", "value")
        parts = [
            part if part.ndim == 4 else heads_of(name, part, heads)
            for name, part in zip(names, parts, strict=True)
        ]
    if bias is None:
        return tuple(parts)
    sizes = [part.shape[3] * heads for part in parts]
    if bias.shape != (sum(sizes),):
        raise ValueError(f"a bias of {list(bias.shape)} is not {[sum(sizes)]}")
    # Keys with four axes come from a cache, which has the bias in it already.
    cached = q.ndim != 5 and k.ndim == 4
    start = 0
    for number, size in enumerate(sizes):
        if number == 0 or not cached:
            own = bias[start : start + size].reshape(1, heads, 1, -1)
            parts[number] = parts[number] + own
        start += size
    return tuple(parts)


def _after_past(
    k: Any, v: Any, past_key: Any, past_value: Any, length: Any
) -> tuple[Any, Any, tuple[Any, Any], int]:
    """Return all keys and values, what to present of them, and how many are past."""
    if (past_key is None) != (past_value is None):
        raise ValueError("past_key and past_value must be given together")
    if past_key is None:
        return k, v, (k, v), 0
    xp = namespace_of(k)
    if length is None:
        k = xp.concatenate([past_key, k], axis=2)
        v = xp.concatenate([past_value, v], axis=2)
        return k, v, (k, v), past_key.shape[2]
    past = int(length.reshape(-1)[0])
    total = past + k.shape[2]
    if not 0 <= past <= total <= past_key.shape[2]:
        raise ValueError(f"a cache of {past_key.shape[2]} cannot hold {total} keys")
    present = past_key.copy(), past_value.copy()
    for buffer, new in zip(present, (k, v), strict=True):
        buffer[:, :, past:total] = new
    return present[0][:, :, :total], present[1][:, :, :total], present, past


@table("Attention", since=1, domain=MS)
def attention(
    x,
    weights,
    bias=None,
    mask_index=None,
    past=None,
    attention_bias=None,
    past_sequence_length=None,
    /,
    *,
    do_rotary=None,
    mask_filter_value=None,
    num_heads,
    past_present_share_buffer=None,
    qkv_hidden_sizes=None,
    rotary_embedding_dim=None,
    scale=None,
    unidirectional=0,
):
    """Attention: projects [batch, length, width] by merged weights, then attends.

    ``past`` and the second result are [2, batch, heads, length, size].
    """
    if do_rotary:
        raise ValueError("do_rotary is not supported here: use RotaryEmbedding")
    projected = product(x, weights)
    if bias is not None:
        with np.errstate(all="ignore"):
            projected += bias
    total = weights.shape[1]
    sizes = qkv_hidden_sizes or (total // 3,) * 3
    return attended_projection(
        projected,
        sizes,
        mask_index,
        past,
        attention_bias,
        past_sequence_length if past_present_share_buffer else None,
        num_heads=num_heads,
        mask_filter_value=mask_filter_value,
        scale=scale,
        unidirectional=unidirectional,
    )


def attended_projection(
    projected: Any,
    sizes: Sequence[int],
    mask_index: Any,
    past: Any,
    attention_bias: Any = None,
    shared: Any = None,
    *,
    num_heads: int,
    mask_filter_value: float | None,
    scale: float | None,
    unidirectional: int,
) -> tuple[Any, Any]:
    """Attend with queries, keys and values that lie side by side on the last axis."""
    xp, total = namespace_of(projected), projected.shape[-1]
    if len(sizes) != 3 or sum(sizes) != total:
        raise ValueError(f"qkv_hidden_sizes {list(sizes)} do not make {total}")
    ends = np.cumsum(sizes)
    q, k, v = (
        heads_of(name, projected[..., end - size : end], num_heads)
        for name, size, end in zip(("Q", "K", "V"), sizes, ends, strict=True)
    )
    before = (None, None) if past is None else (past[0], past[1])
    k, v, present, count = _after_past(k, v, *before, shared)
    keys = k.shape[2]
    mask = key_bias(mask_index, q, keys, count, mask_filter_value)
    masking = Masking(
        np.array([count]),
        bool(unidirectional),
        bias=with_bias(mask, attention_bias, q, keys),
    )
    y, _ = attended(q, k, v, Scoring(scale_of(scale, q)), masking)
    same = present[0].shape == present[1].shape
    return y, xp.stack(present) if same else None
