"""Texts of domain com.microsoft: the Tokenizer that text pipelines are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.ops._regex import compiled

table = KernelTable()

MS = "com.microsoft"
START, END = "\x02", "\x03"
CHOICES = frozenset("|?{")
"""Characters of patterns whose first match may not be the longest."""


@lru_cache(maxsize=64)
def _pattern(text: str) -> tuple[re.Pattern[str], bool]:
    """Return an RE2 pattern and whether its longest match must be looked for."""
    return compiled(text), bool(CHOICES & set(text))


def _spans(pattern: str, text: str) -> Iterator[tuple[int, int]]:
    """Yield the leftmost matches that are not empty, each the longest there."""
    found, choices = _pattern(pattern)
    at = 0
    while at <= len(text) and (match := found.search(text, at)):
        start, end = match.span()
        if choices:
            stops = range(len(text), end, -1)
            end = next((s for s in stops if found.fullmatch(text, start, s)), end)
        if end > start:
            yield start, end
        at = max(end, start + 1)


def _between(text: str, separator: str) -> Iterator[str]:
    """Yield what stands between the matches of a separator."""
    at = 0
    for start, end in _spans(separator, text):
        yield text[at:start]
        at = end
    yield text[at:]


def _separated(text: str, separators: Sequence[str]) -> list[str]:
    parts = [text]
    for separator in separators:
        parts = [piece for part in parts for piece in _between(part, separator)]
    return parts


def _by_character(separators: Sequence[str], expression: str | None) -> bool:
    return list(separators) == [""] or (not separators and expression == ".")


def _tokens(
    text: str, separators: Sequence[str], expression: str | None, least: int
) -> list[str]:
    if _by_character(separators, expression):
        return list(text)
    if separators:
        parts = _separated(text, separators)
    else:
        parts = [text[start:end] for start, end in _spans(expression or "", text)]
    return [part for part in parts if len(part) >= least]


def _check(separators: Sequence[str], expression: str | None, least: int) -> None:
    if least < 1:
        raise ValueError(f"mincharnum must be positive, found {least}")
    if not separators and not expression:
        raise ValueError("neither separators nor a tokenexp are given")
    if _by_character(separators, expression):
        if least > 1:
            raise ValueError(f"no character has mincharnum {least} characters")
        return
    for separator in separators:
        if _pattern(separator)[0].fullmatch(""):
            raise ValueError(f"the separator {separator!r} matches the empty text")


@table("Tokenizer", since=1, domain=MS, traits=("moves",))
def tokenizer(x, /, *, mark, mincharnum, pad_value, separators=None, tokenexp=None):
    """Tokenizer: texts (C) or (N, C) to rows of tokens, padded to the longest row.

    Patterns are RE2's and match as much as they can. Separators are used one after
    another; the empty one alone, or the expression ``.``, splits into characters.
    ``mark`` puts a start and an end around each row, unless there is no token at all.
    """
    if x.ndim not in (1, 2):
        raise ValueError(f"the shape C or N, C is expected, found {list(x.shape)}")
    separators = separators or ()
    _check(separators, tokenexp, mincharnum)
    texts = x.reshape(-1).tolist()
    found = [_tokens(text, separators, tokenexp, mincharnum) for text in texts]
    most = max(map(len, found), default=0)
    if not x.size:
        return np.zeros(x.shape[:1] if x.ndim == 1 else (len(x), 0), object)
    if mark and most:
        found = [[START, *row, END] for row in found]
        most += 2
    check_size((*x.shape, most), object)
    y = np.full((len(texts), most), pad_value, object)
    for row, tokens in zip(y, found, strict=True):
        row[: len(tokens)] = tokens
    return y.reshape(*x.shape, most)
