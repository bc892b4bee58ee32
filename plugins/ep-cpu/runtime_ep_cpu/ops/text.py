"""Operators on strings: object arrays of ``str``, always on the host."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.ops import _ngrams
from runtime_ep_cpu.ops._regex import compiled

table = KernelTable()
table.include(_ngrams.table)

CASES: dict[str, Callable[[str], str]] = {
    "LOWER": str.lower,
    "UPPER": str.upper,
    "NONE": str,
}


@table("StringNormalizer", since=10, traits=("moves",))
def string_normalizer(
    x,
    /,
    *,
    case_change_action="NONE",
    is_case_sensitive=0,
    locale=None,
    stopwords=None,
):
    """StringNormalizer: drop stop words, then change case; (C,) or (1, C).

    Case follows Unicode whatever the locale: nothing depends on what the system has.
    Where no word is left, one empty string is.
    """
    if x.ndim not in (1, 2) or (x.ndim == 2 and x.shape[0] != 1):
        raise ValueError(f"the shape C or 1, C is expected, found {list(x.shape)}")
    if case_change_action not in CASES:
        raise ValueError(f"there is no case_change_action {case_change_action!r}")
    same = str if is_case_sensitive else str.lower
    dropped = {same(word) for word in stopwords or ()}
    change = CASES[case_change_action]
    words = [change(word) for word in x.reshape(-1) if same(word) not in dropped]
    result = np.array(words or [""], object)
    return result if x.ndim == 1 else result.reshape(1, -1)


@table("StringConcat", since=20, traits=("moves",))
def string_concat(x, y, /):
    """StringConcat: elementwise, broadcast."""
    result = np.add(np.asarray(x, object), np.asarray(y, object))
    return np.asarray(result, object)


@table("StringSplit", since=20, traits=("moves",))
def string_split(x, /, *, delimiter=None, maxsplit=None):
    """StringSplit: (…) to substrings (…, most), empty strings last, and their numbers.

    Without a delimiter runs of whitespace separate, those at the ends dropped.
    """
    limit = -1 if maxsplit is None else maxsplit
    texts = x.reshape(-1).tolist()
    if delimiter:
        parts = [text.split(delimiter, limit) for text in texts]
    else:
        parts = [text.strip().split(None, limit) for text in texts]
    most = max(map(len, parts), default=0)
    check_size((len(parts), most), object)
    result = np.full((len(parts), most), "", object)
    for row, found in zip(result, parts, strict=True):
        row[: len(found)] = found
    counts = np.array([len(found) for found in parts], np.int64)
    return result.reshape(*x.shape, most), counts.reshape(x.shape)


@table("RegexFullMatch", since=20, traits=("moves",))
def regex_full_match(x, /, *, pattern=None):
    """RegexFullMatch: whether each string as a whole matches an RE2 pattern."""
    if pattern is None:
        raise ValueError("no pattern is given")
    match = compiled(pattern).fullmatch
    found = (match(text) is not None for text in x.reshape(-1).tolist())
    return np.fromiter(found, bool, x.size).reshape(x.shape)
