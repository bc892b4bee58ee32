"""Native code that finds arrays' memory by itself, so that a run costs little in Python.

NumPy's and CPython's headers tell every extension module where a list has its items and
an array its data, and such modules read them there; so does this::

    bind       for each place of the table: frame[place] = the array's data + offset
    run_bound  the same, then the walk by the caller's thread alone; 0 if all went well
    call       run_bound as a function of Python's own, that `Caller` makes for a frame;
               before, it looks whether the inputs are of the kinds the table tells

Where the offsets are not those of the headers, as in another Python, `offsets` says so,
and arrays are asked one by one.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np

from runtime_ep_cpu.codegen.walk import FRAME

HEAD: Final = ("frame", "items", "data", "places", "kinds")
"""First words of a table: the frame's address, the two offsets, how many places and kinds
follow."""
PLACE: Final = ("index", "slot", "offset")
"""Words of a place: which array's address goes to which slot, and what is added, in bytes."""
KIND: Final = ("index", "type", "dtype", "rank")
"""Words of a kind, with the sizes behind them: of what an array must be, two addresses.
It must be C-contiguous and aligned, too."""

# An array behind its data, in words: PyArrayObject_fields of NumPy's ndarraytypes.h.
_RANK, _SIZES, _DTYPE, _FLAGS = 1, 2, 5, 6
_IN_ORDER = 0x0001 | 0x0100
"""NPY_ARRAY_C_CONTIGUOUS and NPY_ARRAY_ALIGNED."""


@cache
def offsets() -> tuple[int, int] | None:
    """Return where lists point to their items, and arrays to their data, in bytes."""
    data = object.__basicsize__
    items = data + ctypes.sizeof(ctypes.c_ssize_t)
    held = np.empty((3, 5), np.float32)
    listed = [None, held]
    try:
        first = ctypes.c_void_p.from_address(id(listed) + items).value or 0
        if list.__basicsize__ < items + 8 or not first:
            return None
        second = ctypes.c_void_p.from_address(first + 8).value
        told = second == id(held) and _told(held) == _known(held)
    except (TypeError, ValueError):
        return None
    return (items, data) if told else None


def _told(held: np.ndarray[Any, Any]) -> tuple[int | None, ...]:
    """Return what the memory of an array says, where the headers have it."""
    data = id(held) + object.__basicsize__

    def word(address: int) -> int | None:
        return ctypes.c_void_p.from_address(address).value

    rank = ctypes.c_int.from_address(data + 8 * _RANK).value
    flags = ctypes.c_int.from_address(data + 8 * _FLAGS).value
    sizes = word(data + 8 * _SIZES) or 0
    found = [
        word(data - 8),
        word(data),
        rank,
        word(data + 8 * _DTYPE),
        flags & _IN_ORDER,
    ]
    return (*found, *(word(sizes + 8 * i) for i in range(held.ndim)))


def _known(held: np.ndarray[Any, Any]) -> tuple[int | None, ...]:
    """Return what Python says of a contiguous array, in the same order."""
    found = [id(type(held)), held.ctypes.data, held.ndim, id(held.dtype), _IN_ORDER]
    return (*found, *held.shape)


def table(
    items: int,
    data: int,
    places: Iterable[tuple[int, int, int]],
    kinds: Sequence[tuple[np.dtype[Any], tuple[int, ...]]],
) -> array[int]:
    """Return a table's words; the frame's address is to be added to the first one.

    Each place has the index of an array, a slot of the frame, and an offset in bytes.
    ``kinds`` are the first arrays' types, which must live as long as the table, and shapes.
    """
    rows = list(places)
    words = array("q", (0, items, data, len(rows), len(kinds)))
    for index, slot, offset in rows:
        words.extend((index, 8 * slot, offset))
    for index, (dtype, shape) in enumerate(kinds):
        words.extend((index, id(np.ndarray), id(dtype), len(shape), *shape))
    return words


class _Method(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("words", ctypes.c_char_p),
    )


_TAKES_ONE = 0x0008
"""METH_O: the function is given the owner and one argument."""

_PYTHONS: Final = {
    "unlock": "PyEval_SaveThread",
    "lock": "PyEval_RestoreThread",
    "truth": "PyBool_FromLong",
}


@cache
def pythons() -> dict[int, int]:
    """Return the functions of CPython's that ``call`` needs: slot of the frame, address."""
    return {
        FRAME[slot]: ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
        or 0
        for slot, name in _PYTHONS.items()
    }


class Caller:
    """Makes ``call``, at an address, a function for frames.

    It must live as long as the functions it makes. Each takes a list of the inputs and
    the outputs, and says whether there was no run, as an input is of another kind, or a
    spoiled one; the interpreter's lock is open meanwhile. Calling it costs a tenth of what
    a call by ctypes does.
    """

    def __init__(self, address: int) -> None:
        self._method = _Method(b"call", address, _TAKES_ONE, None)
        make = ctypes.pythonapi.PyCFunction_NewEx
        kinds = (ctypes.POINTER(_Method), ctypes.py_object, ctypes.c_void_p)
        self._make = ctypes.PYFUNCTYPE(ctypes.py_object, *kinds)(
            ctypes.cast(make, ctypes.c_void_p).value or 0
        )

    def __call__(self, block: np.ndarray[Any, Any]) -> Callable[[list[Any]], bool]:
        """Return the function for the frame that is an array's memory."""
        made: Callable[[list[Any]], bool] = self._make(self._method, block, None)
        return made


def binding_text() -> str:
    """Return the functions, to be part of the walk's module."""
    data = object.__basicsize__
    words = {word: FRAME[word] for word in ("cancelled", "failed", "table", *_PYTHONS)}
    words |= {"data": data, "type": data - 8, "in_order": _IN_ORDER}
    words |= {"rank": data + 8 * _RANK, "sizes": data + 8 * _SIZES}
    words |= {"dtype": data + 8 * _DTYPE, "flags": data + 8 * _FLAGS}
    text = _BIND
    for word, number in words.items():
        text = text.replace(f"{{{word}}}", str(number))
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
  %first = getelementptr i64, ptr %table, i64 5
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

define internal i1 @fits(ptr %table, ptr %arrays) nounwind {
entry:
  %items_at = getelementptr i64, ptr %table, i64 1
  %items = load i64, ptr %items_at
  %places_at = getelementptr i64, ptr %table, i64 3
  %places = load i64, ptr %places_at
  %count_at = getelementptr i64, ptr %table, i64 4
  %count = load i64, ptr %count_at
  %list_at = getelementptr i8, ptr %arrays, i64 %items
  %list = load ptr, ptr %list_at
  %words = mul i64 %places, 3
  %behind = add i64 %words, 5
  %first = getelementptr i64, ptr %table, i64 %behind
  br label %next
next:
  %number = phi i64 [0, %entry], [%following, %found]
  %row = phi ptr [%first, %entry], [%row_after, %found]
  %more = icmp slt i64 %number, %count
  br i1 %more, label %kind, label %yes
kind:
  %index = load i64, ptr %row
  %item_at = getelementptr ptr, ptr %list, i64 %index
  %item = load ptr, ptr %item_at
  %wanted_type_at = getelementptr i64, ptr %row, i64 1
  %wanted_type = load i64, ptr %wanted_type_at
  %type_at = getelementptr i8, ptr %item, i64 {type}
  %type = load i64, ptr %type_at
  %is_array = icmp eq i64 %type, %wanted_type
  br i1 %is_array, label %array, label %no
array:
  %wanted_dtype_at = getelementptr i64, ptr %row, i64 2
  %wanted_dtype = load i64, ptr %wanted_dtype_at
  %dtype_at = getelementptr i8, ptr %item, i64 {dtype}
  %dtype = load i64, ptr %dtype_at
  %same = icmp eq i64 %dtype, %wanted_dtype
  %flags_at = getelementptr i8, ptr %item, i64 {flags}
  %flags = load i32, ptr %flags_at
  %order = and i32 %flags, {in_order}
  %in_order = icmp eq i32 %order, {in_order}
  %wanted_rank_at = getelementptr i64, ptr %row, i64 3
  %wanted_rank = load i64, ptr %wanted_rank_at
  %rank_at = getelementptr i8, ptr %item, i64 {rank}
  %rank_here = load i32, ptr %rank_at
  %rank = sext i32 %rank_here to i64
  %as_many = icmp eq i64 %rank, %wanted_rank
  %some = and i1 %same, %in_order
  %all = and i1 %some, %as_many
  %sizes_at = getelementptr i8, ptr %item, i64 {sizes}
  %sizes = load ptr, ptr %sizes_at
  br i1 %all, label %axis, label %no
axis:
  %i = phi i64 [0, %array], [%after, %size]
  %left = icmp slt i64 %i, %rank
  br i1 %left, label %size, label %found
size:
  %size_at = getelementptr i64, ptr %sizes, i64 %i
  %here = load i64, ptr %size_at
  %slot = add i64 %i, 4
  %wanted_at = getelementptr i64, ptr %row, i64 %slot
  %wanted = load i64, ptr %wanted_at
  %after = add i64 %i, 1
  %equal = icmp eq i64 %here, %wanted
  br i1 %equal, label %axis, label %no
found:
  %length = add i64 %rank, 4
  %row_after = getelementptr i64, ptr %row, i64 %length
  %following = add i64 %number, 1
  br label %next
yes:
  ret i1 1
no:
  ret i1 0
}

define ptr @call(ptr %owner, ptr %arrays) nounwind {
entry:
  %block_at = getelementptr i8, ptr %owner, i64 {data}
  %block = load ptr, ptr %block_at
  %table_at = getelementptr i64, ptr %block, i64 {table}
  %table = load ptr, ptr %table_at
  %truth_at = getelementptr i64, ptr %block, i64 {truth}
  %truth = load ptr, ptr %truth_at
  %fitting = call i1 @fits(ptr %table, ptr %arrays)
  br i1 %fitting, label %run, label %other
run:
  %unlock_at = getelementptr i64, ptr %block, i64 {unlock}
  %unlock = load ptr, ptr %unlock_at
  %lock_at = getelementptr i64, ptr %block, i64 {lock}
  %lock = load ptr, ptr %lock_at
  %state = call ptr %unlock()
  %spoiled = call i64 @run_bound(ptr %table, ptr %arrays)
  call void %lock(ptr %state)
  %any = icmp ne i64 %spoiled, 0
  %one = zext i1 %any to i64
  %told = call ptr %truth(i64 %one)
  ret ptr %told
other:
  %refused = call ptr %truth(i64 1)
  ret ptr %refused
}
"""
