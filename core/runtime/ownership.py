"""Which results of a run can be given away as they are, and which must be copied first."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def is_kept(values: list[Any], index: int) -> bool:
    """Whether whoever made a result still holds its memory, and may write it again.

    Told from who holds the array that owns it: the run's slot, ``values``, the views of
    it in there, and, here, a list and an argument.
    """
    held = [_owner(values[index])]
    if type(held[0]) is not np.ndarray:
        return False
    if sys.getrefcount(held[0]) <= (4 if held[0] is values[index] else 3):
        return False
    known = sum((v is held[0]) + (_owner(v) is held[0]) for v in values)
    return sys.getrefcount(held[0]) > known + 2


def _owner(value: Any) -> Any:
    """Return the array whose memory an array looks into, which may be itself."""
    base = getattr(value, "base", None)
    return value if base is None else base


def is_given(values: list[Any], index: int) -> bool:
    """Whether a result is plainly the run's own, so that no further look is needed.

    An array that looks into no other, that can be written, and to which nothing refers
    but the run's slot and ``values`` is neither an input, nor a constant, nor another
    result's memory, nor kept by whoever made it.
    """
    value = values[index]
    if type(value) is list:
        return sys.getrefcount(value) <= _OWN and _holds_plain_maps(value)
    return (
        type(value) is np.ndarray
        and value.base is None
        and sys.getrefcount(value) <= _OWN
        and value.flags.carray
    )


def all_given(values: list[Any], lists: int) -> bool:
    """Whether `is_given` holds for all results, which so many lists refer to."""
    most = _OWN - 2 + lists
    for value in values:
        if type(value) is list:
            if sys.getrefcount(value) > most or not _holds_plain_maps(value):
                return False
            continue
        if not (
            type(value) is np.ndarray
            and value.base is None
            and sys.getrefcount(value) <= most
            and value.flags.carray
        ):
            return False
    return True


def _holds_plain_maps(value: list[Any]) -> bool:
    """Whether a list has maps of plain values to which nothing else refers."""
    return bool(value) and all(
        type(item) is dict
        and sys.getrefcount(item) <= _HELD
        and _PLAIN.issuperset(map(type, item.values()))
        for item in value
    )


_PLAIN = frozenset((float, int, str))
"""Types of values that share no memory."""


def _held() -> int:
    """Count the references to an item of a list, as told in a loop over it."""
    values: list[Any] = [{}]
    return max(sys.getrefcount(item) for item in values)


_HELD = _held()


def _own() -> int:
    """Count the references to an array that two lists and a local hold, as told here."""
    slots = [np.empty(1)]
    values = [slots[0]]
    value = values[0]
    return sys.getrefcount(value)


_OWN = _own()


def root(value: Any) -> Any:
    """Return the array at the bottom of a chain of views."""
    while isinstance(value, np.ndarray) and isinstance(value.base, np.ndarray):
        value = value.base
    return value


def flat(value: Any) -> list[Any]:
    """Return the arrays a value is made of: itself, or a sequence's or map's items."""
    if isinstance(value, (list, dict)):
        items = value.values() if isinstance(value, dict) else value
        return [array for item in items for array in flat(item)]
    return [value]


def owned(value: Any, borrowed: set[int]) -> Any:
    """Return a result as a writable C-ordered array that shares memory with nothing else.

    ``borrowed`` holds the identities of arrays that are not to be given away; what is
    given away is added, so that no two outputs share memory.
    """
    if isinstance(value, list):
        return [owned(item, borrowed) for item in value]
    if isinstance(value, dict):
        if _PLAIN.issuperset(map(type, value.values())):
            return value.copy()
        return {key: owned(item, borrowed) for key, item in value.items()}
    if isinstance(value, np.generic):
        return np.asarray(value)
    if not isinstance(value, np.ndarray):
        return value
    if not is_free(value, borrowed):
        value = np.array(value, order="C")
    borrowed.add(id(root(value)))
    return value


def is_free(value: Any, borrowed: set[int]) -> bool:
    """Whether a result can be given away as it is, as far as the array tells."""
    if not (isinstance(value, np.ndarray) and value.flags.writeable):
        return False
    bottom = root(value)
    return (
        bottom.base is None
        and id(bottom) not in borrowed
        and bool(value.flags.c_contiguous)
    )
