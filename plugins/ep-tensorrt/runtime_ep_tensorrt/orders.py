"""What is asked of TensorRT, and what it answers: words that know nothing of its API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from runtime_ep_tensorrt.options import Build
from runtime_ep_tensorrt.spellings import Range

Reallocate = Callable[[str, int, int], int]
"""Return memory for an output, given its name, the bytes wanted and their alignment."""
Notify = Callable[[str, tuple[int, ...]], None]
"""Be told the shape of an output."""


class BuildFailed(Exception):
    """TensorRT did not make or take an engine; says what it said."""


class Progress(Protocol):
    """Who is told how a build goes on."""

    def begin(self, phase: str, parent: str, steps: int) -> None:
        """A phase has begun."""

    def step(self, phase: str, step: int) -> bool:
        """A step of it is done; false ends the build."""

    def end(self, phase: str) -> None:
        """The phase is over."""


@dataclass(frozen=True, slots=True)
class Binding:
    """An input or output of an engine; open dims are -1, ``on_host`` is read on the host."""

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    on_host: bool


@dataclass(frozen=True, slots=True)
class Ranges:
    """One profile: ranges of shapes of inputs, and of values of those that are shapes."""

    shapes: Mapping[str, Range]
    values: Mapping[str, Range] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Order:
    """What an engine is built from. ``weights`` are those given apart from the model."""

    model: bytes
    build: Build
    profiles: Sequence[Ranges] = ()
    weights: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    timing: bytes | None = None
    any_timing: bool = False
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """An engine as bytes, and the timing cache as it is afterwards."""

    engine: bytes
    timing: bytes | None
