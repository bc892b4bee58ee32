"""Native code that finds arrays' memory by itself, so that a run costs little in Python.

NumPy's and CPython's headers tell every extension module where a list has its items and
an array its data, and such modules read them there; so does this::

    bind       for each place of the table: frame[place] = the array's data + offset
    run_bound  the same, then the walk by the caller's thread alone; 0 if all went well

Where the offsets are not those of the headers, as in another Python, `offsets` says so,
and arrays are asked one by one.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterable
from functools import cache
from typing import Final

import numpy as np

from runtime_ep_cpu.codegen.walk import FRAME

HEAD: Final = ("frame", "items", "data", "places")
"""First words of a table: the frame's address, the two offsets, how many places follow."""
PLACE: Final = ("index", "slot", "offset")
"""Words of a place: which array's address goes to which slot, and what is added, in bytes."""


@cache
def offsets() -> tuple[int, int] | None:
    """Return where lists point to their items, and arrays to their data, in bytes."""
    data = object.__basicsize__
    items = data + ctypes.sizeof(ctypes.c_ssize_t)
    held = np.empty(3)
    listed = [None, held]
    try:
        first = ctypes.c_void_p.from_address(id(listed) + items).value or 0
        if list.__basicsize__ < items + 8 or not first:
            return None
        second = ctypes.c_void_p.from_address(first + 8).value
        found = ctypes.c_void_p.from_address(id(held) + data).value
    except (TypeError, ValueError):
        return None
    told = (second, found) == (id(held), held.ctypes.data)
    return (items, data) if told else None


def table(items: int, data: int, places: Iterable[tuple[int, int, int]]) -> array[int]:
    """Return a table's words; the frame's address is to be added to the first one.

    Each place has the index of an array, a slot of the frame, and an offset in bytes.
    """
    rows = list(places)
    words = array("q", (0, items, data, len(rows)))
    for index, slot, offset in rows:
        words.extend((index, 8 * slot, offset))
    return words


def binding_text() -> str:
    """Return both functions, to be part of the walk's module."""
    text = _BIND
    for word in ("cancelled", "failed"):
        text = text.replace(f"{{{word}}}", str(FRAME[word]))
    return text


_BIND = """
define void @bind(ptr %table, ptr %arrays) nounwind {
entry:
  %frame = load ptr, ptr %table
  %items_at = getelementptr i64, ptr %table, i64 1
  %items = load i64, ptr %items_at
  %data_at = getelementptr i64, ptr %table, i64 2
  %data = load i64, ptr %data_at
  %count_at = getelementptr i64, ptr %table, i64 3
  %count = load i64, ptr %count_at
  %list_at = getelementptr i8, ptr %arrays, i64 %items
  %list = load ptr, ptr %list_at
  %failed = getelementptr i64, ptr %frame, i64 {failed}
  store i64 0, ptr %failed
  %cancelled = getelementptr i64, ptr %frame, i64 {cancelled}
  store i64 0, ptr %cancelled
  %first = getelementptr i64, ptr %table, i64 4
  %any = icmp sgt i64 %count, 0
  br i1 %any, label %place, label %end
place:
  %number = phi i64 [0, %entry], [%following, %place]
  %row = phi ptr [%first, %entry], [%row_after, %place]
  %index = load i64, ptr %row
  %slot_at = getelementptr i64, ptr %row, i64 1
  %slot = load i64, ptr %slot_at
  %offset_at = getelementptr i64, ptr %row, i64 2
  %offset = load i64, ptr %offset_at
  %item_at = getelementptr ptr, ptr %list, i64 %index
  %item = load ptr, ptr %item_at
  %memory_at = getelementptr i8, ptr %item, i64 %data
  %memory = load i64, ptr %memory_at
  %address = add i64 %memory, %offset
  %target = getelementptr i8, ptr %frame, i64 %slot
  store i64 %address, ptr %target
  %following = add i64 %number, 1
  %row_after = getelementptr i64, ptr %row, i64 3
  %more = icmp slt i64 %following, %count
  br i1 %more, label %place, label %end
end:
  ret void
}

define i64 @run_bound(ptr %table, ptr %arrays) nounwind {
entry:
  call void @bind(ptr %table, ptr %arrays)
  %frame = load ptr, ptr %table
  call void @run_alone(ptr %frame)
  %failed_at = getelementptr i64, ptr %frame, i64 {failed}
  %failed = load i64, ptr %failed_at
  %cancelled_at = getelementptr i64, ptr %frame, i64 {cancelled}
  %cancelled = load i64, ptr %cancelled_at
  %spoiled = or i64 %failed, %cancelled
  ret i64 %spoiled
}
"""
