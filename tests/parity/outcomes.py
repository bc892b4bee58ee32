"""What a probe comes to: a value in plain form, or the kind of error it raised."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

Probe = Callable[[Any], Any]
"""Uses one name of a module such as onnxruntime, and returns what shows that it works."""


class Outcome(NamedTuple):
    """A plain value, or the name of the error's class and its text."""

    value: Any = None
    error: str = ""
    text: str = ""

    def same_as(self, other: Outcome) -> bool:
        """Whether two runtimes did the same; the wording of errors is their own."""
        return (self.value, self.error) == (other.value, other.error)


def state(ort: Any) -> Any:
    """Return a runtime's extension module, or what stands for it."""
    return import_module(f"{ort.__name__}.capi.onnxruntime_pybind11_state")


def outcome(probe: Probe, ort: Any) -> Outcome:
    """Run a probe, with what it prints and warns of kept away."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return Outcome(plain(probe(ort)))
        except Exception as error:
            return Outcome(None, type(error).__name__, str(error))


def plain(value: Any) -> Any:
    """Return a value in a form that compares by what it says."""
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bool) or value is None:
        return value
    if hasattr(type(value), "__members__"):
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (int, float, str, bytes)):
        return value
    return type(value).__name__
