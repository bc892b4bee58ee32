"""Runs of which all is settled but the data: types and shapes were run before.

A run has much to find out that depends on nothing but what kind of inputs it is given:
whether they fit the model, which executable takes which of them, how it runs them. An
executable that is `Preparable` answers all of it once, and what it answers is kept here.
Of kinds that come twice in a row, a run that vouches for itself is tried before anything
is looked at.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np

from runtime.abilities import Preparable
from runtime.explain import Event, warn_once
from runtime.ownership import all_given

REMEMBERED = 8
"""For so many kinds of inputs runs are kept prepared, the latest met."""


@dataclass(slots=True, eq=False)
class Prepared:
    """The prepared runs of one executable that is a whole model. Thread-safe.

    ``fed`` tells for each of the model's inputs whether it must be given, having no
    default. Of those, ``takes`` are the places of what the executable takes; ``makes``
    are the places, among its results, of the model's outputs.
    """

    executable: Preparable
    provider: str
    fed: Sequence[bool]
    takes: Sequence[int]
    makes: Sequence[int]
    _chooses: bool = field(init=False)
    _orders: bool = field(init=False)
    _runs: dict[Any, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _vouched: Callable[[Sequence[Any]], list[Any] | None] | None = None
    _before: Any = None

    def __post_init__(self) -> None:
        """Note whether inputs and outputs are taken as they come."""
        self._chooses = [*self.takes] != [*range(len(self.fed))]
        self._orders = [*self.makes] != [*range(len(self.makes))]

    def run(self, values: Sequence[Any]) -> list[Any] | None:
        """Run once; ``None`` where the general way shall, to answer or to say why not.

        ``values`` may be anything, one for each input that must be given.
        """
        vouched = self._vouched
        if vouched is not None:
            try:
                results = vouched(values)
            except Exception:  # as below
                return None
            if results is not None:
                return results
        return self._run(values)

    def _run(self, values: Sequence[Any]) -> list[Any] | None:
        kinds = _kinds(values)
        run = self._runs.get(kinds)
        if run is None:
            return None
        self._vouched = run if kinds == self._before and self._is_vouched(run) else None
        self._before = kinds
        try:
            results = run([values[i] for i in self.takes] if self._chooses else values)
        except Exception:  # the general way fails as well, and its errors are clear
            return None
        if results is None:
            return None
        made = [results[i] for i in self.makes] if self._orders else results
        if not all_given(made, 2 if self._orders else 1):
            self._runs[kinds] = None  # what is not its own is never given away
            return None
        return made

    def _is_vouched(self, run: Any) -> bool:
        """Whether a run itself looks at all that is to be looked at."""
        plain = not self._chooses and not self._orders
        return plain and getattr(run, "vouches", False) is True

    def learn(self, values: Sequence[Any]) -> None:
        """Prepare runs for such values as have just been run the general way.

        Here they are one for each input of the model, ``None`` where it was not given.
        """
        given = list(compress(values, self.fed))
        kinds = _kinds(given)
        if kinds is None or kinds in self._runs:
            return
        if len(given) < sum(value is not None for value in values):
            return
        made = None
        try:
            made = self.executable.prepared([given[i] for i in self.takes])
        except Exception as error:
            reason = f"prepared: {type(error).__name__}: {error}"
            warn_once(Event(self.provider, "ability", reason))
        with self._lock:
            self._runs[kinds] = made
            while len(self._runs) > REMEMBERED:
                del self._runs[next(iter(self._runs))]


def _kinds(values: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return types and shapes; ``None`` for values that no run is prepared for."""
    kinds: list[Any] = []
    for value in values:
        if type(value) is not np.ndarray or not value.flags.c_contiguous:
            return None
        kinds += value.dtype, value.shape
    return tuple(kinds)
