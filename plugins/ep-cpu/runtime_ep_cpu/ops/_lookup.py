"""Finds the positions of many values in a list of keys at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime_ep_cpu.ops._remembered import remembered


class Lookup:
    """Keys of one type: strings by a dictionary, numbers by binary search.

    Of equal keys the last one counts. NaN finds NaN.
    """

    def __init__(self, keys: Any) -> None:
        array = np.asarray(keys).reshape(-1)
        self.count = len(array)
        self.text = array.dtype.kind in "OUS"
        if self.text:
            self._places = {str(key): n for n, key in enumerate(array.tolist())}
            return
        order = np.argsort(array, kind="stable")
        self._sorted, self._order = array[order], order
        self._nan = -1
        if array.dtype.kind == "f" and np.isnan(array).any():
            self._nan = int(np.flatnonzero(np.isnan(array))[-1])

    def find(self, values: Any) -> np.ndarray:
        """Return each value's position, or -1, in the shape of the values."""
        if self.text != (values.dtype.kind in "OUS"):
            kinds = ("numbers", "strings") if self.text else ("strings", "numbers")
            raise ValueError(f"the input holds {kinds[0]}, the keys are {kinds[1]}")
        if self.text:
            get = self._places.get
            found = [get(value, -1) for value in values.reshape(-1).tolist()]
            return np.array(found, np.int64).reshape(values.shape)
        if not len(self._sorted):
            return np.full(values.shape, -1)
        place = np.searchsorted(self._sorted, values, side="right") - 1
        place = place.clip(0, len(self._sorted) - 1)
        known = self._sorted[place] == values
        found = np.where(known, self._order[place], -1)
        if values.dtype.kind == "f":
            found = np.where(np.isnan(values), self._nan, found)
        return found


@remembered
def lookup(keys: Any, dtype: Any = None) -> Lookup:
    """Return the lookup of an attribute's keys, made once."""
    return Lookup(keys if dtype is None else np.asarray(keys, dtype))
