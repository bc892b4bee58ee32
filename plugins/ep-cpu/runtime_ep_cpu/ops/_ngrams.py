"""TfIdfVectorizer: n-grams counted by walking all positions of a text at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size

table = KernelTable()
ABSENT = -1


@table("TfIdfVectorizer", since=9, traits=("moves",))
def tf_idf_vectorizer(
    x,
    /,
    *,
    mode,
    min_gram_length,
    max_gram_length,
    max_skip_count,
    ngram_counts,
    ngram_indexes,
    pool_int64s=None,
    pool_strings=None,
    weights=None,
):
    """TfIdfVectorizer: (C,) or (N, C) to the counts of known n-grams (…, features).

    ``weights`` go with the n-grams of the pool, as ``ngram_indexes`` do.
    """
    if x.ndim not in (1, 2) or mode not in WEIGHED:
        raise ValueError(
            f"mode {mode!r} on the shape {list(x.shape)} is not possible; the input "
            "is C or N, C"
        )
    if (pool_int64s is None) == (pool_strings is None):
        raise ValueError("one of pool_int64s and pool_strings must be set")
    if (x.dtype == object) != (pool_int64s is None):
        given = "pool_int64s" if pool_strings is None else "pool_strings"
        raise ValueError(f"{given} cannot be found among inputs of type {x.dtype}")
    pool = pool_strings if pool_int64s is None else pool_int64s
    grams = _grams(_Same((pool, ngram_counts, ngram_indexes)))
    rows = x.reshape(1, -1) if x.ndim == 1 else x
    check_size((len(rows), grams.features), np.float32)
    lengths = _lengths(min_gram_length, max_gram_length, max_skip_count)
    found = _count(grams, grams.tokens(rows), lengths, max_skip_count)
    factors = _factors(grams, ngram_indexes, weights)
    found = WEIGHED[mode](found, factors).astype(np.float32, copy=False)
    return found.reshape(*x.shape[:-1], grams.features)


WEIGHED: dict[str, Callable[..., np.ndarray]] = {
    "TF": lambda counts, factors: counts,
    "IDF": lambda counts, factors: np.minimum(counts, 1) * factors,
    "TFIDF": lambda counts, factors: counts * factors,
}


def _lengths(shortest: int, longest: int, skips: int) -> range:
    if not 1 <= shortest <= longest or skips < 0:
        raise ValueError(
            f"n-grams of {shortest} to {longest} with {skips} skips are not possible"
        )
    return range(shortest, longest + 1)


def _factors(
    grams: _Grams, columns: Sequence[int], weights: Sequence[float] | None
) -> np.ndarray:
    """Return each column's factor: the weight of the n-gram it counts."""
    factors = np.ones(grams.features, np.float32)
    if weights is not None:
        if len(weights) != len(columns):
            raise ValueError(
                f"{len(weights)} weights are given for {len(columns)} n-grams"
            )
        factors[list(columns)] = weights
    return factors


class _Same:
    """Attributes of a node as a key that is hashed by identity, thus at once."""

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.parts)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and all(
            a is b for a, b in zip(self.parts, other.parts, strict=True)
        )


@dataclass(frozen=True)
class _Grams:
    """The pool as a trie: one sorted array of edges per depth.

    An edge is ``prefix * len(vocabulary) + token``; its place is the next prefix.
    ``features`` counts the columns of the result, ``columns[d]`` holds for each prefix
    of d + 1 tokens its column, or `ABSENT` where no n-gram ends.
    """

    vocabulary: np.ndarray
    edges: list[np.ndarray]
    columns: list[np.ndarray]
    features: int

    def tokens(self, rows: np.ndarray) -> np.ndarray:
        """Return each element's number in the vocabulary, or `ABSENT`."""
        return _find(self.vocabulary, rows)

    def step(self, depth: int, prefixes: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Return the prefixes one token longer, `ABSENT` where the pool has none."""
        wanted = prefixes * len(self.vocabulary) + tokens
        known = (prefixes != ABSENT) & (tokens != ABSENT)
        return _find(self.edges[depth], np.where(known, wanted, ABSENT))


def _find(ordered: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    if not ordered.size:
        return np.full(wanted.shape, ABSENT)
    place = np.searchsorted(ordered, wanted)
    place = np.minimum(place, ordered.size - 1)
    return np.where(ordered[place] == wanted, place, ABSENT)


@lru_cache(maxsize=32)
def _grams(attributes: _Same) -> _Grams:
    """Build the trie of a pool once for all calls of its node."""
    pool, starts, indexes = attributes.parts
    kind = object if any(isinstance(token, str) for token in pool) else np.int64
    vocabulary, tokens = np.unique(np.array(pool, kind), return_inverse=True)
    levels = _levels(tokens.reshape(-1), starts)
    if sum(map(len, levels)) != len(indexes) or min(indexes, default=0) < 0:
        raise ValueError(
            f"{len(indexes)} ngram_indexes are given for a pool of "
            f"{sum(map(len, levels))} n-grams"
        )
    grams = _Grams(vocabulary, [], [], max(indexes, default=-1) + 1)
    prefixes = [np.zeros(len(level), np.int64) for level in levels]
    for depth in range(len(levels)):
        longer = range(depth, len(levels))
        keys = {i: prefixes[i] * len(vocabulary) + levels[i][:, depth] for i in longer}
        grams.edges.append(np.unique(np.concatenate(list(keys.values()))))
        for i in longer:
            prefixes[i] = np.searchsorted(grams.edges[depth], keys[i])
        columns = np.full(grams.edges[depth].size, ABSENT)
        before = sum(map(len, levels[:depth]))
        columns[prefixes[depth]] = indexes[before : before + len(levels[depth])]
        grams.columns.append(columns)
    return grams


def _levels(tokens: np.ndarray, starts: tuple[int, ...]) -> list[np.ndarray]:
    """Cut the pool into its 1-grams, 2-grams, … as matrices."""
    ends = (*starts[1:], len(tokens))
    levels = []
    if not starts:
        raise ValueError(
            "ngram_counts must tell where the n-grams of each length begin"
        )
    for length, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
        if not 0 <= start <= end <= len(tokens) or (end - start) % length:
            raise ValueError(
                f"ngram_counts {list(starts)} do not cut a pool of {len(tokens)}"
            )
        levels.append(tokens[start:end].reshape(-1, length))
    return levels


def _count(grams: _Grams, tokens: np.ndarray, lengths: range, skips: int) -> np.ndarray:
    """Count every n-gram of some lengths, its tokens 1 to 1 + skips apart."""
    rows, size = tokens.shape
    total = np.zeros(rows * grams.features, np.int64)
    first_row = np.arange(rows)[:, None] * grams.features
    for distance in range(1, min(skips + 1, max(size - 1, 1)) + 1):
        prefixes = np.zeros(tokens.shape, np.int64)
        for depth in range(min(lengths[-1], len(grams.edges))):
            places = size - depth * distance
            if places <= 0:
                break
            begin = depth * distance
            prefixes = grams.step(depth, prefixes[:, :places], tokens[:, begin:])
            once = depth == 0 and distance > 1
            if depth + 1 in lengths and not once:
                ends = grams.columns[depth][prefixes]
                hit = (prefixes != ABSENT) & (ends != ABSENT)
                cells = (first_row + ends)[hit]
                total += np.bincount(cells, minlength=total.size)
    return total.reshape(rows, grams.features)
