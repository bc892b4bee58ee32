"""GroupQueryAttention: rotary positions, a cache per image and windows, all fused."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops import attention as standard
from runtime_ep_cpu.ops._attention import Masking, Scoring, scaled_scores, weigh_values
from runtime_ep_cpu.ops._contrib_attention import (
    attended,
    check_fit,
    heads_of,
    scale_of,
    with_bias,
)

table = KernelTable()

MS = "com.microsoft"


@table("GroupQueryAttention", since=1, domain=MS)
def group_query_attention(
    query,
    key,
    value,
    past_key,
    past_value,
    seqlens_k,
    total_sequence_length,
    cos_cache=None,
    sin_cache=None,
    position_ids=None,
    attention_bias=None,
    head_sink=None,
    k_scale=None,
    v_scale=None,
    q_norm_weight=None,
    k_norm_weight=None,
    query_seqlens=None,
    /,
    *,
    call,
    causal=1,
    do_rotary=None,
    k_norm_epsilon=None,
    k_quant_type="NONE",
    kv_cache_bit_width=None,
    kv_num_heads,
    local_window_size=-1,
    num_heads,
    q_norm_epsilon=None,
    qk_norm_epsilon=9.999999974752427e-07,
    qk_output=0,
    rotary_interleaved=None,
    scale=None,
    sliding_window_cache=0,
    smooth_softmax=-1,
    softcap=None,
    v_quant_type="NONE",
):
    """GroupQueryAttention: [batch, length, heads * size], and the keys and values.

    ``seqlens_k`` is, per image, how many keys there are with the new ones, less one.
    The caches are [batch, kv_heads, most, size]; those presented are as long as the
    past ones or as all keys, whichever is more. ``query_seqlens`` is, per image, how
    many of the new rows are no padding: only those are cached, after ``seqlens_k`` + 1
    less that many past ones. ``qk_output`` asks for the scores before (1; masked ones
    are 0) or after softmax (2). Quantized and sliding caches are refused.
    """
    if sliding_window_cache or {k_quant_type, v_quant_type} != {"NONE"}:
        raise ValueError("quantized and sliding caches are not supported")
    q, k, v = _unpacked(query, key, value, num_heads, kv_num_heads)
    _check_past(k, v, past_key, past_value)
    if q_norm_weight is not None and k_norm_weight is not None:
        q = _by_root_mean_square(q, q_norm_weight, q_norm_epsilon, qk_norm_epsilon)
        k = _by_root_mean_square(k, k_norm_weight, k_norm_epsilon, qk_norm_epsilon)
    counts = np.array(seqlens_k.reshape(-1).tolist(), np.int64) + 1
    total = int(total_sequence_length.reshape(-1)[0])
    if query_seqlens is None:
        starts = _starts(counts, total, q, past_key)
        fresh = np.full_like(starts, q.shape[2])
    else:
        _check_padded(causal, q, k, past_key, past_value)
        fresh = np.array(query_seqlens.reshape(-1).tolist(), np.int64)
        starts = _starts_of_padded(counts, fresh, total, q, past_key)
    if do_rotary:
        places = _positions(position_ids, starts, q)
        caches = (cos_cache, sin_cache, places, bool(rotary_interleaved))
        q, k = _turned(q, *caches), _turned(k, *caches)
    present = _cached(k, v, past_key, past_value, starts, fresh, total)
    masking = Masking(
        starts,
        bool(causal),
        left=local_window_size - 1 if local_window_size > 0 else -1,
        valid=np.minimum(np.maximum(counts, 0), total),
        bias=with_bias(None, attention_bias, q, total),
    )
    wanted = (*call.wanted, False, False, False)[3] and qk_output
    shown = {0: None, 1: 2, 2: 3}.get(qk_output) if wanted else None
    scoring = Scoring(scale_of(scale, q), softcap or 0.0, shown=shown)
    used = (part[:, :, :total] for part in present)
    if smooth_softmax > 0 or head_sink is not None:
        y, scores = _with_sink(q, *used, scoring, masking, head_sink)
    else:
        y, scores = attended(q, *used, scoring, masking)
    if shown == 2:
        scores[namespace_of(scores).isneginf(scores)] = 0
    return y, *present, scores


def _unpacked(
    q: Any, k: Any, v: Any, heads: int, kv_heads: int
) -> tuple[Any, Any, Any]:
    """Return queries, keys and values, each [batch, its heads, length, size]."""
    if k is None:
        size = q.shape[-1] // (heads + 2 * kv_heads)
        cut = heads * size
        more = cut + kv_heads * size
        q, k, v = q[..., :cut], q[..., cut:more], q[..., more:]
    if v is None:
        raise ValueError("GroupQueryAttention needs keys and values together")
    parts = (
        heads_of("query", q, heads),
        heads_of("key", k, kv_heads),
        heads_of("value", v, kv_heads),
    )
    check_fit(*parts)
    return parts


def _check_past(k: Any, v: Any, past_key: Any, past_value: Any) -> None:
    """Past keys and values are [batch, kv_heads, one length, size]."""
    given = [pair for pair in ((past_key, k), (past_value, v)) if pair[0] is not None]
    lengths = {past.shape[2] if past.ndim == 4 else None for past, _ in given}
    fits = (
        past.shape == (*new.shape[:2], *lengths, new.shape[3]) for past, new in given
    )
    if len(lengths) > 1 or not all(fits):
        shapes = [list(past.shape) for past, _ in given]
        raise ValueError(f"past keys and values of the shapes {shapes} do not fit")


def _by_root_mean_square(x: Any, weight: Any, own: float | None, shared: float) -> Any:
    epsilon = shared if own is None else own
    if not 0 < epsilon < np.inf:
        raise ValueError(f"a norm's epsilon must be finite and positive, not {epsilon}")
    xp = namespace_of(x)
    with np.errstate(all="ignore"):
        mean = (x * x).mean(axis=-1, keepdims=True)
        return x / xp.sqrt(mean + x.dtype.type(epsilon)) * weight


def _starts(counts: np.ndarray, total: int, q: Any, past_key: Any) -> np.ndarray:
    """Return where each image's new keys begin: at 0 in a first prompt."""
    batch, _, rows, _ = q.shape
    if counts.shape != (batch,):
        raise ValueError(f"seqlens_k needs {batch} entries, found {counts.size}")
    if total < rows or (counts < 1).any() or (counts > total).any():
        raise ValueError(
            f"seqlens_k + 1 = {counts.tolist()} do not fit {rows} new keys of "
            f"{total} in all"
        )
    if total == rows:
        return np.zeros(batch, np.int64)
    room = 0 if past_key is None else past_key.shape[2]
    starts = counts - rows
    if (starts < 0).any() or (starts > room).any():
        raise ValueError(
            f"{starts.tolist()} past keys are asked for, the cache has {room}"
        )
    return starts


def _check_padded(causal: int, q: Any, k: Any, past_key: Any, past_value: Any) -> None:
    if not causal or past_key is None or past_value is None:
        raise ValueError("query_seqlens needs causal = 1, past_key and past_value")
    if k.shape[2] != q.shape[2]:
        raise ValueError(
            f"query_seqlens needs as many new keys as queries, found {k.shape[2]} "
            f"and {q.shape[2]}"
        )


def _starts_of_padded(
    counts: np.ndarray, fresh: np.ndarray, total: int, q: Any, past_key: Any
) -> np.ndarray:
    """Return where each image's new keys begin if the last of its rows are padding."""
    batch, _, rows, _ = q.shape
    if counts.shape != (batch,) or fresh.shape != (batch,):
        raise ValueError(
            f"seqlens_k and query_seqlens need {batch} entries, found {counts.size} "
            f"and {fresh.size}"
        )
    if total < rows or (counts < 1).any() or (counts > total).any():
        raise ValueError(
            f"seqlens_k + 1 = {counts.tolist()} must be 1 to total_sequence_length "
            f"= {total}, and that no less than the {rows} rows"
        )
    if (fresh < 0).any() or (fresh > np.minimum(rows, counts)).any():
        raise ValueError(
            f"query_seqlens = {fresh.tolist()} must be 0 to the {rows} rows and to "
            f"seqlens_k + 1 = {counts.tolist()}"
        )
    starts, past = counts - fresh, past_key.shape[2]
    if (starts > past).any() or (starts + rows > max(past, total)).any():
        raise ValueError(
            f"{starts.tolist()} past keys and {rows} rows do not fit a past cache of "
            f"{past} and a present one of {max(past, total)}"
        )
    return starts


def _positions(given: Any, starts: np.ndarray, q: Any) -> Any:
    xp = namespace_of(q)
    batch, _, rows, _ = q.shape
    if given is not None and given.shape == (batch, rows):
        return given
    return xp.asarray(starts[:, None] + np.arange(rows))


def _turned(x: Any, cos: Any, sin: Any, places: Any, interleaved: bool) -> Any:
    if cos is None or sin is None:
        raise ValueError("do_rotary needs cos_cache and sin_cache")
    return standard.rotary_embedding(
        x,
        cos,
        sin,
        places,
        interleaved=int(interleaved),
        rotary_embedding_dim=2 * cos.shape[-1],
    )


def _cached(
    k: Any,
    v: Any,
    past_key: Any,
    past_value: Any,
    starts: np.ndarray,
    fresh: np.ndarray,
    total: int,
) -> tuple[Any, Any]:
    """Return the caches with each image's new keys and values after its past ones."""
    xp = namespace_of(k)
    room = max(total, 0 if past_key is None else past_key.shape[2])
    caches = []
    for new, past in ((k, past_key), (v, past_value)):
        shape = (*new.shape[:2], room, new.shape[3])
        check_size(shape, new.dtype)
        cache = xp.zeros(shape, new.dtype)
        for image, start in enumerate(starts.tolist()):
            if past is not None and start:
                cache[image, :, :start] = past[image, :, :start]
            fitting = min(int(fresh[image]), room - start)
            cache[image, :, start : start + fitting] = new[image, :, :fitting]
        caches.append(cache)
    return caches[0], caches[1]


def _with_sink(
    q: Any, k: Any, v: Any, scoring: Scoring, masking: Masking, sink: Any
) -> tuple[Any, Any]:
    """Attend with one more number per head in each softmax, 0 unless given."""
    xp = namespace_of(q)
    batch, heads, rows, _ = q.shape
    check_size((batch, heads, rows, k.shape[2]), q.dtype)
    scores = scaled_scores(q, k, scoring.scale)
    with np.errstate(all="ignore"):
        if scoring.softcap > 0:
            cap = q.dtype.type(scoring.softcap)
            scores = cap * xp.tanh(scores / cap)
        masking.apply(xp, scores, (slice(0, batch), slice(0, heads), slice(0, rows)))
        shown = scores.copy() if scoring.shown == 2 else None
        extra = xp.zeros((heads, 1, 1), q.dtype)
        if sink is not None:
            extra = extra + sink.reshape(-1, 1, 1)
        top = xp.maximum(scores.max(axis=-1, keepdims=True), extra)
        weights = xp.exp(scores - top)
        weights /= weights.sum(axis=-1, keepdims=True) + xp.exp(extra - top)
        y = weigh_values(weights, v)
    shown = weights if scoring.shown == 3 else shown
    return y.transpose(0, 2, 1, 3).reshape(batch, rows, -1), shown
