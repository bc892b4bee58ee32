"""Layer normalizations of domain com.microsoft, most with a sum in front."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.dtypes import float_type
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._precision import rounded, wide

table = KernelTable()

MS = "com.microsoft"


def _standardized(x: Any, epsilon: float, centre: bool) -> tuple[Any, Any, Any]:
    """Return rows over their deviation, their mean (0 uncentred) and its inverse."""
    xp = namespace_of(x)
    if centre:
        mean = x.mean(axis=-1, keepdims=True)
        x = x - mean
    else:
        mean = xp.zeros((*x.shape[:-1], 1), x.dtype)
    squares = xp.matmul(x[..., None, :], x[..., None])[..., 0]
    inverse = 1 / xp.sqrt(squares / max(1, x.shape[-1]) + x.dtype.type(epsilon))
    return x * inverse, mean, inverse


@np.errstate(all="ignore")
def _skip_normalized(
    x: Any, skip: Any, gamma: Any, beta: Any, bias: Any, epsilon: float, centre: bool
) -> tuple[Any, Any, Any, Any]:
    """Normalize ``x + skip + bias``; also return mean, inverse deviation and the sum.

    As in onnxruntime the statistics are float32 and the sum has the input's type.
    """
    _check_skip(x, skip, gamma)
    total = wide(x) + wide(skip)
    if bias is not None:
        total += wide(bias)
    y, mean, inverse = _standardized(total, epsilon, centre)
    y *= wide(gamma)
    if beta is not None:
        y += wide(beta)
    statistics = (rounded(value, np.float32) for value in (mean, inverse))
    return rounded(y, x.dtype), *statistics, rounded(total, x.dtype)


def _check_skip(x: Any, skip: Any, gamma: Any) -> None:
    if x.ndim not in (2, 3) or gamma.shape != x.shape[-1:]:
        raise ValueError(
            f"an input of shape {list(x.shape)} and a gamma of {list(gamma.shape)} do "
            "not fit: 2 or 3 dims are needed, and one gamma per element of the last"
        )
    if skip.shape != x.shape and (1, *skip.shape[-2:]) != (1, *x.shape[-2:]):
        raise ValueError(
            f"a skip of shape {list(skip.shape)} does not fit {list(x.shape)}"
        )


@table("SkipLayerNormalization", since=1, domain=MS, traits=("typed",))
def skip_layer_normalization(
    x, skip, gamma, beta=None, bias=None, /, *, epsilon=9.999999960041972e-13
):
    """SkipLayerNormalization: over the last axis; ``skip`` may lack the batch."""
    return _skip_normalized(x, skip, gamma, beta, bias, epsilon, True)


@table("SkipSimplifiedLayerNormalization", since=1, domain=MS, traits=("typed",))
def skip_simplified_layer_normalization(
    x, skip, gamma, bias=None, /, *, epsilon=9.999999960041972e-13
):
    """SkipSimplifiedLayerNormalization: by the root mean square, without a mean."""
    return _skip_normalized(x, skip, gamma, None, bias, epsilon, False)


@table("SimplifiedLayerNormalization", since=1, domain=MS, traits=("typed",))
@table("SimplifiedLayerNormalization", since=1, traits=("typed",))
@np.errstate(all="ignore")
def simplified_layer_normalization(
    x, scale, /, *, axis=-1, epsilon=9.999999747378752e-06, stash_type=1
):
    """SimplifiedLayerNormalization: the axes from ``axis`` on by their mean square.

    onnxruntime has it in the standard's domain. The result has the type of ``scale``.
    """
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis {axis} is outside an input of rank {x.ndim}")
    axis %= x.ndim
    rows = wide(x).reshape(*x.shape[:axis], -1)
    kind = float_type(stash_type, "stash_type")
    y, _, inverse = _standardized(rows, epsilon, False)
    y = y.reshape(x.shape) * wide(scale)
    kept = inverse.reshape(*x.shape[:axis], *(1,) * (x.ndim - axis))
    return rounded(y, scale.dtype), rounded(kept, kind)


@table("EmbedLayerNormalization", since=1, domain=MS)
@np.errstate(all="ignore")
def embed_layer_normalization(
    input_ids,
    segment_ids,
    word_embedding,
    position_embedding,
    segment_embedding,
    gamma,
    beta,
    mask=None,
    position_ids=None,
    /,
    *,
    epsilon=9.999999960041972e-13,
    mask_index_type=None,
):
    """EmbedLayerNormalization: [batch, length] words to normalized embeddings.

    The second result counts each row's ones in the mask (0 without a mask), the third
    is the sum of the embeddings.
    """
    xp = namespace_of(input_ids, word_embedding)
    if input_ids.ndim != 2:
        raise ValueError(
            f"input_ids must be [batch, length], not {list(input_ids.shape)}"
        )
    batch, length = input_ids.shape
    total = _rows(word_embedding, input_ids, "input_ids")
    if position_ids is None:
        if position_embedding.ndim != 2 or length > len(position_embedding):
            raise ValueError(
                f"{length} words, but position embeddings of shape "
                f"{list(position_embedding.shape)}"
            )
        total = total + position_embedding[:length]
    else:
        total = total + _rows(position_embedding, position_ids, "position_ids")
    if segment_ids is not None and segment_embedding is not None:
        total += _rows(segment_embedding, segment_ids, "segment_ids")
    y, _, _ = _standardized(total, epsilon, True)
    y *= gamma
    y += beta
    counts = xp.zeros(batch, np.int32)
    if mask is not None:
        counts = (mask == 1).sum(axis=1).astype(np.int32)
    return y, counts, total


def _rows(embedding: Any, ids: Any, name: str) -> Any:
    if embedding.ndim != 2:
        raise ValueError(f"embeddings must be a matrix, found {list(embedding.shape)}")
    outside = (ids < 0) | (ids >= len(embedding))
    if bool(outside.any()):
        raise IndexError(f"{name} reach beyond the {len(embedding)} embeddings")
    return embedding[ids]
