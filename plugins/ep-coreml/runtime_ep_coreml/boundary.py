"""What crosses into Core ML and back: element types, integers of 64 bits, missing axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from runtime.errors import ExecutionError
from runtime.graph import Value
from runtime.plugin import Partition
from runtime.valuetypes import numpy_dtype

from runtime_ep_coreml.dims import Sizes
from runtime_ep_coreml.narrowing import limits, outside
from runtime_ep_coreml.scope import NUMPY, WORDS
from runtime_ep_coreml.spans import Span
from runtime_ep_coreml.writer import input_name, interface, output_name

Array = np.ndarray[Any, Any]


class Boundary:
    """Turns a partition's inputs into Core ML's, and Core ML's outputs into its outputs.

    Arrays that have the type already, and lie in order, are handed over as they are.
    """

    def __init__(self, partition: Partition, sizes: Mapping[str, Sizes]) -> None:
        admitted = outside(partition.nodes)
        self._inputs = [
            _Input(value, sizes, limits(value, admitted)) for value in partition.inputs
        ]
        self._outputs = [_Output(value) for value in partition.outputs]

    def feed(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Return what Core ML is given, by name.

        Raises `ExecutionError` for integers beyond 32 bits and for sizes that the package
        was not made for.
        """
        pairs = zip(self._inputs, arrays, strict=True)
        return {
            input_name(index): one.given(array)
            for index, (one, array) in enumerate(pairs)
        }

    def results(self, made: Mapping[str, Any]) -> list[Array]:
        """Return the outputs in order, in arrays that nothing else holds."""
        return [
            one.result(made[output_name(index)])
            for index, one in enumerate(self._outputs)
        ]


class _Input:
    def __init__(self, value: Value, sizes: Mapping[str, Sizes], span: Span) -> None:
        self._name = value.name
        self._low, self._high = span
        self._dtype = np.dtype(NUMPY[interface(value)])
        self._wide = value.dtype == 7
        self._scalar = value.shape == ()
        self._dims = [
            (axis, sizes[dim])
            for axis, dim in enumerate(value.shape or ())
            if isinstance(dim, str) and dim in sizes
        ]

    def given(self, array: Array) -> Array:
        for axis, sizes in self._dims:
            if not sizes.admits(array.shape[axis]):
                told = "|".join(map(str, sizes.only)) or f"{sizes.low}..{sizes.high}"
                raise ExecutionError(
                    f"input {self._name!r} has size {array.shape[axis]} along axis {axis}, "
                    f"and the package was made for {told}; widen DimBounds"
                )
        if self._wide and array.size:
            self._check(array)
        found = array.reshape(1) if self._scalar else array
        return np.ascontiguousarray(found, self._dtype)

    def _check(self, array: Array) -> None:
        low, high = int(array.min()), int(array.max())
        if low < WORDS[0] or high > WORDS[1]:
            raise ExecutionError(
                f"input {self._name!r} holds integers beyond 32 bits, which Core ML lacks"
            )
        if low < self._low or high > self._high:
            raise ExecutionError(
                f"input {self._name!r} holds integers beyond {self._low} to {self._high}, "
                "of which results may not fit into the 32 bits that Core ML has"
            )


class _Output:
    def __init__(self, value: Value) -> None:
        self._dtype = numpy_dtype(value.dtype or 1)
        self._scalar = value.shape == ()

    def result(self, array: Any) -> Array:
        made = np.array(array, self._dtype, order="C")
        return made.reshape(()) if self._scalar else made
