"""Scaled dot-product attention in blocks that stay in cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime_ep_cpu.dtypes import NARROW
from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._precision import rounded, stepped, sums, wide
from runtime_ep_cpu.ops._products import product

_BLOCK = 4 << 20
"""Bytes of scores worked on at a time."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """How scores are made and turned into weights.

    ``precision`` is the type of the softmax, ``None`` for the scores' own, and
    ``steps`` the narrow type that every step before it is rounded to, if any. ``shown``
    tells which stage the fourth output shows, ``None`` if nobody reads it.
    """

    scale: float
    softcap: float = 0.0
    precision: Any = None
    steps: Any = None
    shown: int | None = None


@dataclass(frozen=True, slots=True)
class Masking:
    """Which keys each query may attend.

    A query's position is its index plus ``offset``, which has one entry for all or one
    per image; ``valid`` counts the keys of each that are no padding. ``left`` and
    ``right`` bound the distance to a key where they are not negative. ``bias`` is four
    axes that broadcast to the scores: booleans, or numbers to add.
    """

    offset: np.ndarray
    causal: bool = False
    left: int = -1
    right: int = -1
    valid: np.ndarray | None = None
    bias: Any = None

    def reach(self, images: slice, rows: slice, keys: int) -> int:
        """Return how many leading keys the queries of a block can attend at most."""
        bounds = [self.right] if self.right >= 0 else []
        bounds += [0] if self.causal else []
        if bounds and keys:
            last = rows.stop - 1 + int(_entries(self.offset, images).max())
            keys = min(keys, max(0, last + min(bounds) + 1))
        if self.valid is not None and keys:
            keys = min(keys, int(self.valid[images].max()))
        return keys

    def apply(self, xp: Any, scores: Any, block: tuple[slice, ...]) -> None:
        """Mask the scores ``(images, heads, rows, keys)`` of a block in place."""
        images, _, rows = block
        if self.bias is not None:
            part = self.bias[tuple(map(_unless_one, self.bias.shape[:3], block))]
            part = part[..., : scores.shape[-1]]
            if part.dtype == np.bool_:
                xp.copyto(scores, -np.inf, where=~part)
            else:
                scores += part
                xp.copyto(scores, -np.inf, where=xp.isneginf(part))
        allowed = self._allowed(xp, images, rows, scores.shape[-1])
        if allowed is not None:
            xp.copyto(scores, -np.inf, where=~allowed)

    def _allowed(self, xp: Any, images: slice, rows: slice, keys: int) -> Any:
        """Return the keys allowed by position, ``(images, 1, rows, keys)``."""
        key = xp.arange(keys)
        allowed = None
        if self.causal or self.left >= 0 or self.right >= 0:
            offset = xp.asarray(_entries(self.offset, images)).reshape(-1, 1, 1, 1)
            distance = key - (xp.arange(rows.start, rows.stop)[:, None] + offset)
            low = -self.left if self.left >= 0 else -np.inf
            high = self.right if self.right >= 0 else np.inf
            high = min(high, 0) if self.causal else high
            allowed = (distance >= low) & (distance <= high)
        if self.valid is not None:
            held = key < xp.asarray(self.valid[images]).reshape(-1, 1, 1, 1)
            allowed = held if allowed is None else allowed & held
        return allowed


def _entries(values: np.ndarray, images: slice) -> np.ndarray:
    return values if len(values) == 1 else values[images]


def _unless_one(size: int, part: slice) -> slice:
    return slice(None) if size == 1 else part


def window(side: str, size: int) -> int:
    """Check a window size; -1 leaves its side open."""
    if size < -1:
        raise ValueError(f"{side}_window_size must be at least -1, found {size}")
    return size


def valid_keys(counts: Any, past_key: Any, q: Any, k: Any) -> np.ndarray | None:
    """Return how many keys of each image are no padding, on the host."""
    if counts is None:
        return None
    if past_key is not None:
        raise ValueError("nonpad_kv_seqlen does not go together with past_key")
    valid = np.array(counts.tolist(), np.int64)
    if valid.shape != (q.shape[0],) or np.any((valid < 0) | (valid > k.shape[2])):
        raise ValueError(
            f"nonpad_kv_seqlen {valid.tolist()} does not fit {q.shape[0]} images of "
            f"{k.shape[2]} keys"
        )
    return valid


def mask_bias(mask: Any, q: Any, k: Any, version: int) -> Any:
    """Return the mask with four axes, the last as long as the keys.

    A shorter one is padded with what masks; before opset 24 size 1 broadcasts instead.
    """
    if mask is None:
        return None
    xp = namespace_of(mask)
    keys, found = k.shape[2], list(mask.shape)
    if mask.dtype != np.bool_:
        mask = wide(mask) if mask.dtype.kind not in "iu" else mask.astype(q.dtype)
    if mask.ndim < 4:
        mask = mask.reshape(*(1,) * (4 - mask.ndim), *mask.shape)
    expected = (*q.shape[:3], keys)
    lead = zip(mask.shape[:3], expected[:3], strict=False)
    if mask.ndim != 4 or mask.shape[3] > keys or any(n not in (1, m) for n, m in lead):
        raise ValueError(f"a mask of {found} does not fit scores of {list(expected)}")
    missing = keys - mask.shape[3]
    if missing and not (version < 24 and mask.shape[3] == 1):
        blocked = False if mask.dtype == np.bool_ else -np.inf
        padding = xp.full((*mask.shape[:3], missing), blocked, mask.dtype)
        mask = xp.concatenate([mask, padding], axis=3)
    return mask


def attend(q: Any, k: Any, v: Any, scoring: Scoring, masking: Masking, y: Any) -> Any:
    """Fill ``y (B, H, S, E)`` and return the scores to show, or ``None``.

    ``q`` is ``(B, H, S, D)``, ``k`` ``(B, G, T, D)`` and ``v`` ``(B, G, T, E)``, each
    of the ``G`` key heads serving ``H / G`` query heads.
    """
    xp = namespace_of(q, k, v)
    (batch, heads, rows, _), (_, groups, keys, _) = q.shape, k.shape
    each = heads // groups
    shown = None
    if scoring.shown is not None:
        check_size((batch, heads, rows, keys), q.dtype)
        shown = xp.empty((batch, heads, rows, keys), q.dtype)
    row_bytes = each * keys * q.itemsize
    for images, some, lines in _blocks(batch, groups, rows, row_bytes):
        block = (images, slice(some.start * each, some.stop * each), lines)
        count = keys if shown is not None else masking.reach(images, lines, keys)
        if count == 0:
            y[block] = 0
            continue
        part = k[images, some, :count]
        scores = scaled_scores(q[block], part, scoring.scale, scoring.steps)
        part = None if shown is None else shown[block]
        weights, total = _weigh(xp, scores, scoring, masking, block, part)
        sums = weigh_values(weights, v[images, some, :count])
        with np.errstate(all="ignore"):
            xp.divide(sums, total, out=y[block])
    return shown


def _blocks(
    batch: int, groups: int, rows: int, row_bytes: int
) -> Iterator[tuple[slice, slice, slice]]:
    """Cut images, then heads, then query rows until the scores of a block are few."""
    sizes, steps, room = (batch, groups, rows), [], max(1, _BLOCK // max(1, row_bytes))
    for size in reversed(sizes):
        steps.append(max(1, min(size, room)))
        room = max(1, room // max(1, size))
    for b in range(0, batch, steps[2]):
        for g in range(0, groups, steps[1]):
            for r in range(0, rows, steps[0]):
                yield (
                    slice(b, min(b + steps[2], batch)),
                    slice(g, min(g + steps[1], groups)),
                    slice(r, min(r + steps[0], rows)),
                )


def scaled_scores(q: Any, k: Any, scale: float, steps: Any = None) -> Any:
    """Return ``scale * q @ k'`` as ``(B, H, S, T)``; key heads serve several queries.

    With ``steps`` both sides are scaled by the root, and all is rounded to that type.
    """
    xp = namespace_of(q, k)
    batch, heads, rows, depth = q.shape
    groups, keys = k.shape[1:3]
    scaled = xp.empty(q.shape, q.dtype)
    with np.errstate(all="ignore"):
        if steps is not None:
            scale = float(np.asarray(scale**0.5, steps))
            k = stepped(k * k.dtype.type(scale), steps)
        xp.multiply(q, q.dtype.type(scale), out=scaled)
    scaled = stepped(scaled, steps)
    scaled = scaled.reshape(batch, groups, heads // groups * rows, depth)
    scores = product(scaled, k.swapaxes(-1, -2)).reshape(batch, heads, rows, keys)
    return stepped(scores, steps)


def weigh_values(weights: Any, v: Any) -> Any:
    """Return ``weights (B, H, S, T) @ v (B, G, T, E)`` as ``(B, H, S, E)``."""
    batch, heads, rows, keys = weights.shape
    groups = v.shape[1]
    grouped = weights.reshape(batch, groups, heads // groups * rows, keys)
    return product(grouped, v).reshape(batch, heads, rows, v.shape[-1])


def _weigh(
    xp: Any, scores: Any, scoring: Scoring, masking: Masking, block: Any, shown: Any
) -> tuple[Any, Any]:
    """Turn scores into weights and their sums, showing the stage that is asked for."""
    with np.errstate(all="ignore"):
        if scoring.shown == 0:
            shown[...] = scores
        if scoring.softcap > 0:
            scores = _capped(xp, scores, scoring)
        if scoring.shown == 1:
            shown[...] = scores
        masking.apply(xp, scores, block)
        scores = stepped(scores, scoring.steps)
        if scoring.shown == 2:
            shown[...] = scores
        weights, total = exponentials(scores, scoring.precision)
        if scoring.shown == 3:
            shown[...] = weights / total
    return weights, total


def _capped(xp: Any, scores: Any, scoring: Scoring) -> Any:
    cap = scores.dtype.type(scoring.softcap)
    scores /= cap
    scores = stepped(scores, scoring.steps)
    xp.tanh(scores, out=scores)
    scores = stepped(scores, scoring.steps)
    scores *= cap
    return stepped(scores, scoring.steps)


def exponentials(scores: Any, precision: Any = None) -> tuple[Any, Any]:
    """Return the softmax of rows as numerators and sums; a row of -inf is all zeros.

    ``scores`` may be overwritten. In a narrow ``precision`` every step is rounded to
    it, and the sums are 1.
    """
    xp = namespace_of(scores)
    steps = precision if precision in NARROW else None
    with np.errstate(all="ignore"):
        if precision is not None:
            scores = wide(rounded(scores, precision))
        top = scores.max(axis=-1, keepdims=True)
        scores = xp.subtract(scores, xp.where(xp.isneginf(top), 0, top), out=scores)
        scores = stepped(scores, steps)
        weights = stepped(xp.exp(scores, out=scores), steps)
        total = sums(weights, -1, steps)
        total = xp.where(total == 0, weights.dtype.type(1), total)
        if steps is None:
            return weights, total
        return stepped(weights / total, steps), weights.dtype.type(1)
