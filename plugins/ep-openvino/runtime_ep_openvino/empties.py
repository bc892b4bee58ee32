"""Runs on nothing: what has no elements makes results without any, and needs no engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from runtime.graph import Value
from runtime.plugin import Partition
from runtime.valuetypes import numpy_dtype

Array = np.ndarray[Any, Any]


class Empties:
    """Knows results that must be empty from the symbols in the shapes of a partition.

    OpenVINO refuses some operators on a batch of none, pools for one.
    """

    def __init__(self, partition: Partition) -> None:
        self._inputs = [value.shape or () for value in partition.inputs]
        self._outputs = [
            (_dims(v), numpy_dtype(v.dtype or 1)) for v in partition.outputs
        ]

    def results(self, inputs: Sequence[Array]) -> list[Array] | None:
        """Return the results, or ``None`` unless all are known to be empty."""
        sizes: dict[Any, int] = {}
        for dims, array in zip(self._inputs, inputs, strict=True):
            sizes.update(zip(dims, array.shape, strict=False))
        found = []
        for dims, dtype in self._outputs:
            shape = [dim if isinstance(dim, int) else sizes.get(dim) for dim in dims]
            if None in shape or 0 not in shape:
                return None
            found.append(np.empty([size or 0 for size in shape], dtype))
        return found


def _dims(value: Value) -> Sequence[Any]:
    """Return a shape in which an unnamed dim is a symbol that no input has."""
    return tuple(object() if dim is None else dim for dim in value.shape or ())
