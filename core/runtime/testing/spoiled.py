"""Executables that break the contract, one way each, around honest ones of the CPU's."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from runtime.abilities import Context

Call = Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]]
"""An honest run: inputs and buffers to results."""

Run = Callable[[Call, Sequence[Any], Sequence[Any]], Any]
"""A run that is not: it is given the honest one, inputs and buffers."""

FOREVER = 3600.0


class Broken(Exception):
    """What a hostile provider raises; the host must name the provider."""


def fail(*arguments: Any, **keywords: Any) -> Any:
    """Raise."""
    raise Broken("the driver is on fire")


def lacks(*nodes: Any) -> Any:
    """Have no kernel for anything."""
    raise KeyError(nodes[0].op_type)


def hang(*arguments: Any, **keywords: Any) -> Any:
    """Do not return for an hour."""
    threading.Event().wait(FOREVER)


class Spoiled:
    """An executable that runs another one in its own way."""

    def __init__(self, inner: Any, run: Run) -> None:
        self._inner = inner
        self._run = run
        self.weights = dict(inner.weights)

    def run(
        self, inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> Any:
        """Run once."""

        def call(given: Sequence[Any], buffers: Sequence[Any]) -> Sequence[Any]:
            results: Sequence[Any] = self._inner.run(given, buffers, context)
            return results

        return self._run(call, inputs, outputs)


def _changed(change: Callable[[Any], Any]) -> Run:
    """Return a run that changes every array it returns."""

    def run(call: Call, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
        results = call(inputs, outputs)
        return [change(r) if isinstance(r, np.ndarray) else r for r in results]

    return run


def wrong_dtype() -> Run:
    """Return complex numbers."""
    return _changed(lambda r: r.astype(np.complex64) if r.dtype != object else r)


def wrong_shape() -> Run:
    """Return everything with one more dim."""
    return _changed(lambda r: r[None])


def wrong_value() -> Run:
    """Return every number a little too large."""
    return _changed(lambda r: r + r.dtype.type(1) if r.dtype.kind in "fi" else r)


def scalars() -> Run:
    """Return NumPy scalars, or lists, where arrays are wanted."""
    return _changed(lambda r: r[()] if r.ndim == 0 else r.tolist())


def bare() -> Run:
    """Return the array itself instead of a list of one."""
    return lambda call, inputs, outputs: call(inputs, outputs)[0]


def too_many() -> Run:
    """Return one result more than there are outputs."""
    return lambda call, inputs, outputs: [*call(inputs, outputs), np.zeros(1)]


def nothing() -> Run:
    """Return nothing."""
    return lambda call, inputs, outputs: None


def returns_inputs() -> Run:
    """Return views of inputs where they equal results: this is allowed."""

    def run(call: Call, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
        results = list(call(inputs, outputs))
        for index, result in enumerate(results):
            for value in inputs:
                if outputs[index] is None and _equal(result, value):
                    results[index] = value.view()
        return results

    return run


def _equal(one: Any, other: Any) -> bool:
    arrays = isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
    return arrays and one.dtype == other.dtype and np.array_equal(one, other)


def keeps_buffers() -> Run:
    """Return the same memory at every run."""
    kept: dict[Any, Any] = {}

    def run(call: Call, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
        results = list(call(inputs, outputs))
        for index, result in enumerate(results):
            if outputs[index] is None and isinstance(result, np.ndarray):
                key = (index, result.shape, result.dtype)
                memory = kept.setdefault(key, np.empty(result.shape, result.dtype))
                memory[...] = result
                results[index] = memory
        return results

    return run


def keeps_arena() -> Run:
    """Return views of one block that every run uses anew."""
    block = np.zeros(1 << 18, np.uint8)

    def run(call: Call, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
        results, at = list(call(inputs, outputs)), 0
        for index, result in enumerate(results):
            size = getattr(result, "nbytes", 0)
            fits = at + size <= block.nbytes and result.dtype != object
            if outputs[index] is None and size and fits:
                view = block[at : at + size].view(result.dtype).reshape(result.shape)
                view[...] = result
                results[index], at = view, at + size
        return results

    return run


def writes_inputs() -> Run:
    """Overwrite inputs by their address, as native code would."""

    def run(call: Call, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
        results = [np.array(result) for result in call(inputs, outputs)]
        for value in inputs:
            plain = isinstance(value, np.ndarray) and value.dtype != object
            if plain and value.flags.c_contiguous:
                ctypes.memset(value.ctypes.data, 0, value.nbytes)
        return results

    return run


def writes_in_place(*inputs: Any) -> Any:
    """Clear the first input: a plain function, as an afternoon's provider has it."""
    inputs[0][...] = 0
    return inputs[0]


def leaks() -> Run:
    """Remember every result ever returned."""
    every: list[Any] = []

    def run(call: Call, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        results = call(inputs, outputs)
        every.extend(np.array(result) for result in results)
        return results

    return run


def unsafe() -> Run:
    """Keep the inputs of a run where another thread's run finds them."""
    place: dict[str, Sequence[Any]] = {}

    def run(call: Call, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        place["inputs"] = inputs
        time.sleep(0.0005)
        return call(place["inputs"], outputs)

    return run


def fragile() -> Run:
    """Never work again after one run has failed."""
    failed: list[Exception] = []

    def run(call: Call, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        if failed:
            raise Broken("a run has failed before")
        try:
            return call(inputs, outputs)
        except Exception as error:
            failed.append(error)
            raise

    return run


def frozen() -> Run:
    """Take the sizes of the first run for everybody's."""
    first: list[Any] = []

    def run(call: Call, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        shapes = [getattr(value, "shape", None) for value in inputs]
        first.append(shapes)
        if shapes != first[0]:
            raise Broken(f"compiled for {first[0]}")
        return call(inputs, outputs)

    return run


def fears_nothing() -> Run:
    """Look at the first element of everything, though there may be none."""

    def run(call: Call, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        for value in inputs:
            if isinstance(value, np.ndarray):
                value.reshape(-1)[0]
        return call(inputs, outputs)

    return run


def linear() -> Run:
    """Read memory as if every array were contiguous."""

    def run(call: Call, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        return call([_linear(value) for value in inputs], outputs)

    return run


def _linear(value: Any) -> Any:
    if not isinstance(value, np.ndarray) or value.dtype == object:
        return value
    if value.flags.c_contiguous or not value.size:
        return value
    low, high = np.lib.array_utils.byte_bounds(value)
    block = (ctypes.c_uint8 * (high - low)).from_address(low)
    flat: Any = np.frombuffer(memoryview(block), value.dtype)
    return np.resize(flat, value.shape)


def deaf() -> Run:
    """Never fill the memory that is given for results."""
    return lambda call, inputs, outputs: call(inputs, (None,) * len(outputs))
