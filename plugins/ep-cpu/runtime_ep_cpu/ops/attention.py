"""Attention over keys and values, its linear form, and rotary positions."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.dtypes import float_type
from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._attention import (
    Masking,
    Scoring,
    attend,
    exponentials,
    mask_bias,
    scaled_scores,
    valid_keys,
    weigh_values,
    window,
)
from runtime_ep_cpu.ops._precision import rounded, wide
from runtime_ep_cpu.ops._products import product

table = KernelTable()


@table("Attention", since=23, traits=("typed",))
def attention_23(
    q,
    k,
    v,
    attn_mask=None,
    past_key=None,
    past_value=None,
    /,
    *,
    call,
    is_causal=0,
    kv_num_heads=None,
    q_num_heads=None,
    qk_matmul_output_mode=0,
    scale=None,
    softcap=0.0,
    softmax_precision=None,
):
    """Attention of opset 23: no external cache, so no ``nonpad_kv_seqlen``."""
    return attention(
        q,
        k,
        v,
        attn_mask,
        past_key,
        past_value,
        call=call,
        is_causal=is_causal,
        kv_num_heads=kv_num_heads,
        q_num_heads=q_num_heads,
        qk_matmul_output_mode=qk_matmul_output_mode,
        scale=scale,
        softcap=softcap,
        softmax_precision=softmax_precision,
    )


@table("Attention", since=24, traits=("typed",))
def attention_24(
    q,
    k,
    v,
    attn_mask=None,
    past_key=None,
    past_value=None,
    nonpad_kv_seqlen=None,
    /,
    *,
    call,
    is_causal=0,
    kv_num_heads=None,
    q_num_heads=None,
    qk_matmul_output_mode=0,
    scale=None,
    softcap=0.0,
    softmax_precision=None,
):
    """Attention of opset 24: no window around a query."""
    return attention(
        q,
        k,
        v,
        attn_mask,
        past_key,
        past_value,
        nonpad_kv_seqlen,
        call=call,
        is_causal=is_causal,
        kv_num_heads=kv_num_heads,
        q_num_heads=q_num_heads,
        qk_matmul_output_mode=qk_matmul_output_mode,
        scale=scale,
        softcap=softcap,
        softmax_precision=softmax_precision,
    )


@table("Attention", since=25, traits=("typed",))
def attention(
    q,
    k,
    v,
    attn_mask=None,
    past_key=None,
    past_value=None,
    nonpad_kv_seqlen=None,
    /,
    *,
    call,
    is_causal=0,
    kv_num_heads=None,
    left_window_size=-1,
    q_num_heads=None,
    qk_matmul_output_mode=0,
    right_window_size=-1,
    scale=None,
    softcap=0.0,
    softmax_precision=None,
):
    """Attention: ``softmax(scale * q @ k' + bias) @ v``, in float32 or float64.

    Inputs are ``(B, heads, S, D)``, or ``(B, S, heads * D)`` with the head counts as
    attributes. The results are ``y``, the keys and values with the past ones before
    them, and the scores at the stage ``qk_matmul_output_mode``. A query that may attend
    no key yields zeros. In bfloat16 each step is rounded, as the standard's body does.
    """
    kind, flat = q.dtype, q.ndim == 3
    q = _heads("Q", q, q_num_heads)
    k, v = _heads("K", k, kv_num_heads), _heads("V", v, kv_num_heads)
    k, v = _with_past(k, v, past_key, past_value)
    _check_heads(q, k, v)
    wanted = (*call.wanted, False, False, False)[:4]
    steps = kind if kind.name == "bfloat16" else None
    precision = steps
    if softmax_precision is not None:
        precision = float_type(softmax_precision, "softmax_precision")
    if qk_matmul_output_mode not in range(4):
        raise ValueError(
            f"qk_matmul_output_mode must be 0 to 3, found {qk_matmul_output_mode}"
        )
    scoring = Scoring(
        q.shape[-1] ** -0.5 if scale is None else scale,
        softcap,
        precision,
        steps,
        qk_matmul_output_mode if wanted[3] else None,
    )
    past = 0 if past_key is None else past_key.shape[2]
    valid = valid_keys(nonpad_kv_seqlen, past_key, q, k)
    masking = Masking(
        np.array([past]) if valid is None else valid - q.shape[2],
        bool(is_causal),
        window("left", left_window_size),
        window("right", right_window_size),
        valid,
        mask_bias(attn_mask, q, k, call.version),
    )
    y, shown = _attend(q, k, v, scoring, masking, flat, kind)
    return y, k, v, None if shown is None else rounded(shown, kind)


def _heads(name: str, x: Any, count: int | None) -> Any:
    """Return ``(B, heads, S, D)`` of either layout, uncopied."""
    if x.ndim == 4:
        if count is not None and count != x.shape[1]:
            raise ValueError(f"{name} has {x.shape[1]} heads, not {count}")
        return x
    if x.ndim != 3 or not count or count < 1 or x.shape[2] % count:
        raise ValueError(
            f"{name} of shape {list(x.shape)} does not divide into {count} heads"
        )
    batch, rows, width = x.shape
    return x.reshape(batch, rows, count, width // count).transpose(0, 2, 1, 3)


def _with_past(k: Any, v: Any, past_key: Any, past_value: Any) -> tuple[Any, Any]:
    if (past_key is None) != (past_value is None):
        raise ValueError("past_key and past_value must be given together")
    if past_key is None:
        return k, v
    xp = namespace_of(k)
    return xp.concatenate([past_key, k], axis=2), xp.concatenate(
        [past_value, v], axis=2
    )


def _check_heads(q: Any, k: Any, v: Any) -> None:
    fits = (
        q.ndim == k.ndim == v.ndim == 4
        and q.shape[0] == k.shape[0] == v.shape[0]
        and k.shape[1:3] == v.shape[1:3]
        and q.shape[3] == k.shape[3]
        and k.shape[1] > 0
        and q.shape[1] % k.shape[1] == 0
    )
    if not fits:
        raise ValueError(
            f"queries {list(q.shape)}, keys {list(k.shape)} and values "
            f"{list(v.shape)} (images, heads, rows, width) do not fit each other"
        )


def _attend(
    q: Any,
    k: Any,
    v: Any,
    scoring: Scoring,
    masking: Masking,
    flat: bool,
    kind: Any,
) -> tuple[Any, Any]:
    """Attend in the wide type; the result is laid out as the inputs were."""
    xp = namespace_of(q)
    q, k, v = wide(q), wide(k), wide(v)
    batch, heads, rows, width = (*q.shape[:3], v.shape[3])
    check_size((batch, heads, rows, width), q.dtype)
    if not flat:
        y = xp.empty((batch, heads, rows, width), q.dtype)
        shown = attend(q, k, v, scoring, masking, y)
        return rounded(y, kind), shown
    y = xp.empty((batch, rows, heads, width), q.dtype)
    shown = attend(q, k, v, scoring, masking, y.transpose(0, 2, 1, 3))
    return rounded(y.reshape(batch, rows, heads * width), kind), shown


@table("FlexAttention", since=1, domain="ai.onnx.preview", traits=("typed",))
def flex_attention(
    q, k, v, /, *, prob_mod=None, scale=None, score_mod=None, softmax_precision=None
):
    """FlexAttention: attention whose scores and weights pass through given bodies.

    Each body takes and returns one ``(B, heads, S, T)`` array of ``softmax_precision``,
    which is float32, or float64 for doubles.
    """
    _check_heads(q, k, v)
    kind = wide(q).dtype
    if softmax_precision is not None:
        kind = float_type(softmax_precision, "softmax_precision")
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = rounded(scaled_scores(wide(q), wide(k), scale), kind)
    if score_mod is not None:
        scores = score_mod(scores)[0]
    weights, total = exponentials(wide(scores) + 0, kind)
    with np.errstate(all="ignore"):
        weights /= total
    if prob_mod is not None:
        weights = wide(prob_mod(rounded(weights, kind))[0])
    return rounded(weigh_values(weights, wide(v)), q.dtype)


@table("RotaryEmbedding", since=23)
def rotary_embedding(
    x,
    cos_cache,
    sin_cache,
    position_ids=None,
    /,
    *,
    interleaved=0,
    num_heads=None,
    rotary_embedding_dim=0,
):
    """RotaryEmbedding: turns pairs of each head's elements by their position's angle.

    ``x`` is ``(B, heads, S, D)`` or ``(B, S, heads * D)``; pairs are neighbours where
    ``interleaved``, halves otherwise, of the first ``rotary_embedding_dim`` elements.
    """
    xp = namespace_of(x)
    heads = _heads("X", x, num_heads if x.ndim == 3 else None).transpose(0, 2, 1, 3)
    turned = rotary_embedding_dim or heads.shape[3]
    if cos_cache.shape != sin_cache.shape:
        raise ValueError(
            f"caches of the shapes {list(cos_cache.shape)} and {list(sin_cache.shape)} "
            "do not fit each other"
        )
    if turned < 0 or turned % 2 or turned > heads.shape[3]:
        raise ValueError(f"{turned} of {heads.shape[3]} elements cannot be turned")
    cos = _angles(cos_cache, position_ids, heads, turned // 2)
    sin = _angles(sin_cache, position_ids, heads, turned // 2)
    first = slice(0, turned, 2) if interleaved else slice(0, turned // 2)
    second = slice(1, turned, 2) if interleaved else slice(turned // 2, turned)
    a, b = heads[..., first], heads[..., second]
    y = xp.empty(x.shape, x.dtype)
    target = _heads("X", y, num_heads if x.ndim == 3 else None).transpose(0, 2, 1, 3)
    with np.errstate(all="ignore"):
        target[..., first] = cos * a - sin * b
        target[..., second] = sin * a + cos * b
    target[..., turned:] = heads[..., turned:]
    return y


def _angles(cache: Any, positions: Any, heads: Any, width: int) -> Any:
    """Return a cache's rows for each element of the sequence: ``(B, S, 1, width)``."""
    batch, rows = heads.shape[:2]
    if positions is not None:
        if cache.ndim != 2 or positions.shape != (batch, rows):
            raise ValueError(
                f"positions {list(positions.shape)} and a cache of shape "
                f"{list(cache.shape)} do not fit {batch} sequences of {rows}"
            )
        inside = (positions >= 0) & (positions < cache.shape[0])
        if not bool(inside.all()):
            raise IndexError(f"a position is outside the cache of {cache.shape[0]}")
        cache = cache[positions]
    if cache.shape != (batch, rows, width):
        raise ValueError(
            f"a cache of shape {list(cache.shape)} is not {[batch, rows, width]}"
        )
    return cache[:, :, None]


@table("LinearAttention", since=27, traits=("typed",))
def linear_attention(
    query,
    key,
    value,
    past_state=None,
    decay=None,
    beta=None,
    /,
    *,
    chunk_size=64,
    kv_num_heads,
    q_num_heads,
    scale=0.0,
    update_rule="gated_delta",
):
    """LinearAttention: a state per head, updated and read at each element.

    Inputs are ``(B, T, heads * D)``, the state ``(B, kv_num_heads, D, E)``, kept in
    float32 within a call. ``chunk_size`` is a hint that is not needed here.
    """
    gated, correcting = _rule(update_rule, decay, beta)
    q = _heads("query", wide(query), q_num_heads)
    k = _heads("key", wide(key), kv_num_heads)
    v = _heads("value", wide(value), kv_num_heads)
    _check_heads(q, k, v)
    xp = namespace_of(query)
    batch, groups, length, width = k.shape
    shape = (batch, groups, width, v.shape[3])
    if past_state is not None and past_state.shape != shape:
        raise ValueError(
            f"past_state must be {list(shape)}, found {list(past_state.shape)}"
        )
    state = xp.zeros(shape, q.dtype)
    if past_state is not None:
        state += wide(past_state)
    each = q_num_heads // kv_num_heads
    q = q.reshape(batch, groups, each, length, width)
    factors = _per_head(decay, k, (groups, groups * width)) if gated else None
    rates = _per_head(beta, k, (groups, 1)) if correcting else None
    y = xp.empty((batch, length, groups, each, shape[3]), q.dtype)
    with np.errstate(all="ignore"):
        for t in range(length):
            if gated:
                state *= xp.exp(factors[:, :, t])[..., None]
            write, at = v[:, :, t, None], k[:, :, t, None]
            if correcting:
                write = rates[:, :, t, None] * (write - product(at, state))
            state += at.swapaxes(-1, -2) * write
            y[:, t] = product(q[:, :, :, t], state)
        y *= q.dtype.type(scale or width**-0.5)
    kind = query.dtype if past_state is None else past_state.dtype
    y = y.reshape(batch, length, q_num_heads * shape[3])
    return rounded(y, query.dtype), rounded(state, kind)


def _rule(name: str, decay: Any, beta: Any) -> tuple[bool, bool]:
    """Return whether an update rule decays the state and whether it corrects."""
    if name not in ("linear", "gated", "delta", "gated_delta"):
        raise ValueError(f"update_rule cannot be {name!r}")
    gated, correcting = name.startswith("gated"), name.endswith("delta")
    for needed, given, what in ((gated, decay, "decay"), (correcting, beta, "beta")):
        if needed != (given is not None):
            verb = "needs" if needed else "takes no"
            raise ValueError(f"update_rule {name!r} {verb} {what}")
    return gated, correcting


def _per_head(x: Any, k: Any, widths: tuple[int, int]) -> Any:
    """Return ``(B, T, width)`` as ``(B, heads or 1, T, width of a head)``."""
    batch, groups, length, _ = k.shape
    if x.ndim != 3 or x.shape[:2] != (batch, length) or x.shape[2] not in widths:
        raise ValueError(
            f"decay or beta of shape {list(x.shape)} does not fit {batch} sequences of "
            f"{length} with {groups} heads"
        )
    heads = 1 if x.shape[2] == 1 else groups
    shape = (batch, length, heads, x.shape[2] // heads)
    return wide(x).reshape(shape).transpose(0, 2, 1, 3)
