"""What may be fed to an input: conversion where it loses nothing, else a clear fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from runtime.api.values import OrtValue, from_cuda, from_dlpack, native
from runtime.errors import FeedError, MissingFeed, near
from runtime.graph import Value
from runtime.valuetypes import (
    ELEMENT_TYPES,
    MapType,
    OptionalType,
    SequenceType,
    TensorType,
    Type,
    element_code,
    numpy_dtype,
)

Convert = Callable[[Any], Any]


class Fault(Exception):
    """One thing wrong with one fed value."""


def converter(name: str, kind: Type | None) -> Convert:
    """Return the function that turns what callers give for an input into its value."""
    match kind:
        case TensorType() if kind.dtype:
            return _tensor(name, kind)
        case SequenceType():
            return _sequence(name, kind)
        case OptionalType():
            inner = converter(name, kind.element)
            return lambda value: None if value is None else inner(value)
        case MapType():
            return _map(name, kind)
        case _:
            return lambda value: value


def _tensor(name: str, kind: TensorType) -> Convert:
    want = numpy_dtype(kind.dtype)
    rank = len(kind.shape) if kind.shape else None
    fixed = [(i, d) for i, d in enumerate(kind.shape or ()) if isinstance(d, int)]
    text = want.kind == "O"

    def convert(value: Any) -> Any:
        if text:
            value = _strings(name, value)
        elif type(value) is not np.ndarray or value.dtype != want:
            value = _array(name, value, want, kind)
        if not value.flags.c_contiguous:
            value = np.ascontiguousarray(value)
        if rank is not None and value.ndim != rank:
            raise Fault(
                f"Invalid rank for input: {name} Got: {value.ndim} Expected: {rank} "
                "Please fix either the inputs/outputs or the model."
            )
        for axis, dim in fixed:
            if value.shape[axis] != dim:
                raise _wrong_dims(name, value.shape, fixed)
        return value

    return convert


def _wrong_dims(
    name: str, shape: Sequence[int], fixed: Sequence[tuple[int, int]]
) -> Fault:
    lines = "".join(
        f"\n index: {axis} Got: {shape[axis]} Expected: {dim}"
        for axis, dim in fixed
        if shape[axis] != dim
    )
    return Fault(
        f"Got invalid dimensions for input: {name} for the following indices{lines}\n"
        " Please fix either the inputs/outputs or the model."
    )


def _array(name: str, value: Any, want: Any, kind: TensorType) -> Any:
    """Turn anything array-like into a host array of exactly the input's type."""
    if isinstance(value, OrtValue):
        value = value.numpy()
    if isinstance(value, (list, tuple, int, float, bool, complex)):
        return _from_python(name, value, want)
    if not isinstance(value, (np.ndarray, np.generic)):
        value = _foreign(name, value)
    value = native(np.asarray(value))
    if value.dtype != want:
        raise Fault(
            f"Unexpected input data type. Actual: ({_type_name(value.dtype)}) , "
            f"expected: ({kind}) for input: {name}"
        )
    return value


def _foreign(name: str, value: Any) -> Any:
    if hasattr(value, "__dlpack__"):
        return from_dlpack(value)
    if hasattr(value, "__cuda_array_interface__"):
        return from_cuda(value).numpy()
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return np.asarray(value)
    raise Fault(
        f"Unable to handle object of type {type(value).__name__} for input: {name}; "
        "give a NumPy array, a list, an OrtValue or a tensor that speaks DLPack"
    )


def _from_python(name: str, value: Any, want: Any) -> Any:
    try:
        found = np.asarray(value)
        made = np.asarray(value, want)
    except (ValueError, TypeError, OverflowError) as error:
        raise Fault(
            f"the list given for input {name} is no {want} array: {error}"
        ) from error
    lossy = found.dtype.kind in "fc" and want.kind in "iub" and found.size
    if found.dtype == object or lossy:
        raise Fault(f"the list given for input {name} does not fit {want} without loss")
    return made


def _strings(name: str, value: Any) -> Any:
    if isinstance(value, OrtValue):
        value = value.numpy()
    given = isinstance(value, (list, tuple, str))
    array = np.asarray(value, object if given else None)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.dtype.kind not in "UOT":
        raise Fault(
            f"Unexpected input data type. Actual: ({_type_name(array.dtype)}) , "
            f"expected: (tensor(string)) for input: {name}"
        )
    flat = [str(item) for item in array.ravel().tolist()]
    made = np.empty(array.shape, object)
    made.reshape(-1)[:] = flat
    return made


def _sequence(name: str, kind: SequenceType) -> Convert:
    inner = converter(name, kind.element)

    def convert(value: Any) -> Any:
        if isinstance(value, OrtValue):
            value = value.numpy()
        if not isinstance(value, (list, tuple)):
            raise Fault(
                f"input {name} is a {kind}: give a list, not a {type(value).__name__}"
            )
        return [inner(item) for item in value]

    return convert


def _map(name: str, kind: MapType) -> Convert:
    key = str if ELEMENT_TYPES[kind.key].name == "string" else int

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            found = type(value).__name__
            raise Fault(f"input {name} is a {kind}: give a dict, not a {found}")
        for entry, item in value.items():
            if not isinstance(entry, (key, np.integer) if key is int else key):
                raise Fault(f"input {name} is a {kind}: {entry!r} is no {key.__name__}")
            if item is None:
                raise Fault(f"input {name} is a {kind}: {entry!r} has no value")
        return value

    return convert


def _type_name(dtype: Any) -> str:
    try:
        return f"tensor({ELEMENT_TYPES[element_code(dtype)].name})"
    except KeyError:
        return str(dtype)


def check_given(inputs: Sequence[Value], feed: Mapping[str, Any]) -> None:
    """Raise `MissingFeed` for inputs that were not given, `FeedError` for unknown ones."""
    Signature(inputs).check_names(feed)


class Signature:
    """A model's inputs: turns a feed dict into values in order, or says all its faults."""

    def __init__(self, inputs: Sequence[Value]) -> None:
        self.names = tuple(value.name for value in inputs)
        self.fixed = frozenset(
            v.name for v in inputs if v.const is not None and not v.overridable
        )
        self.known = frozenset(self.names)
        self.converters = tuple(converter(v.name, v.type) for v in inputs)
        self.required = tuple(
            v.name
            for v in inputs
            if v.const is None and not isinstance(v.type, OptionalType)
        )

    def values(self, feed: Mapping[str, Any]) -> list[Any]:
        """Return the fed values in the order of the inputs; ``None`` where absent.

        Raises `MissingFeed` or `FeedError` with every fault found.
        """
        if not isinstance(feed, Mapping) or self.fixed or self.known != feed.keys():
            self.check_names(feed)
        try:
            return [
                convert(feed[name]) if name in feed else None
                for name, convert in zip(self.names, self.converters, strict=True)
            ]
        except Fault:
            raise FeedError("\n".join(self._faults(feed))) from None

    def _faults(self, feed: Mapping[str, Any]) -> list[str]:
        faults = []
        for name, convert in zip(self.names, self.converters, strict=True):
            if name in feed:
                try:
                    convert(feed[name])
                except Fault as fault:
                    faults.append(str(fault))
        return faults

    def check_names(self, feed: Mapping[str, Any]) -> None:
        """Raise for names that are missing or unknown."""
        if not isinstance(feed, Mapping):
            raise FeedError(
                f"the input feed is a mapping of names to arrays, not a "
                f"{type(feed).__name__}"
            )
        missing = [name for name in self.required if name not in feed]
        if missing:
            raise MissingFeed(
                f"Required inputs ({missing}) are missing from input feed ({list(feed)})."
            )
        for name in feed:
            if name not in self.names or name in self.fixed:
                raise FeedError(
                    f"Invalid input name: {name}{near(str(name), self.names)}"
                )
