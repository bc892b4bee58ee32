"""What compile and data_transfer return, in one calling form: checked, and by name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runtime.abilities import CancelFlag, Cancellable, Context
from runtime.errors import Cancelled, EngineError
from runtime.explain import Event, warn_once
from runtime.graph import Value
from runtime.kernels import filled
from runtime.plugin import Executable, Partition
from runtime.valuetypes import SequenceType, TensorType, numpy_dtype
from runtime.watchdog import watched

Run = Callable[[Sequence[Any], Sequence[Any], Context], Sequence[Any]]


class WrongResult(EngineError):
    """An executable returned something other than what its partition declares."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A partition with the executable its provider made of it, and what that says."""

    partition: Partition
    executable: Any
    run: Run
    seconds: float = 0.0
    weights: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        partition: Partition,
        executable: Any,
        seconds: float,
        limit: float,
        shapes: bool = True,
    ) -> Placed:
        """Look up, once, all that an executable has to say.

        ``limit`` is as in `watched`, ``shapes`` as in `runner`.
        """
        run = runner(executable, partition, shapes)
        run = watched(run, partition.provider, "run", limit)
        weights = dict(getattr(executable, "weights", {}))
        facts = dict(getattr(executable, "facts", {}))
        return cls(partition, executable, run, seconds, weights, facts)


def runner(executable: Any, partition: Partition, shapes: bool = False) -> Run:
    """Return the full calling form of an executable: checked, and serial if it must be.

    ``shapes`` tells whether results must have the declared ranks and known sizes, too. A
    model's file may declare a wrong one, so the last provider is not held to them.
    """
    if isinstance(executable, Executable):
        run: Run = executable.run
    elif callable(executable):
        run = _from_function(executable, partition)
    else:
        raise TypeError(f"compile returned {executable!r:.80}, which cannot be called")
    if isinstance(executable, Cancellable):
        run = _cancellable(run, executable, partition.provider)
    if not getattr(executable, "concurrent", True):
        run = _serial(run)
    return _checked(run, partition, shapes)


def _from_function(function: Callable[..., Any], partition: Partition) -> Run:
    """Adapt a plain function of arrays; a list is one value where a sequence is wanted.

    It is given read-only views, so that writing an input is an error and not a surprise.
    """
    outputs = partition.outputs
    sequence = len(outputs) == 1 and isinstance(outputs[0].type, SequenceType)

    def run(
        inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> Sequence[Any]:
        made = function(*map(_read_only, inputs))
        several = isinstance(made, tuple) or (isinstance(made, list) and not sequence)
        results: Sequence[Any] = made if several else (made,)
        results = [np.asarray(v) if isinstance(v, np.generic) else v for v in results]
        if not any(buffer is not None for buffer in outputs):
            return results
        return filled(results, outputs)

    return run


def _read_only(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
    return value


def _serial(run: Run) -> Run:
    lock = threading.Lock()

    def alone(
        inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> Sequence[Any]:
        with lock:
            return run(inputs, outputs, context)

    return alone


def _cancellable(run: Run, executable: Cancellable, who: str) -> Run:
    """Have an executable stop its run when the run's flag is set.

    It may stop the runs of other callers along with that one; those are repeated.
    """
    asked = [0]

    def cancel() -> None:
        asked[0] += 1
        try:
            executable.cancel()
        except Exception as error:
            reason = f"cancel: {type(error).__name__}: {error}"
            warn_once(Event(who, "ability", reason))

    def once(
        inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> Sequence[Any]:
        if not isinstance(context.cancelled, CancelFlag):
            return run(inputs, outputs, context)
        with context.cancelled.calling(cancel):
            if context.stopped():
                raise Cancelled("the run was stopped, as asked")
            return run(inputs, outputs, context)

    def stoppable(
        inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> Sequence[Any]:
        while True:
            before = asked[0]
            try:
                return once(inputs, outputs, context)
            except Exception as error:
                if context.stopped():
                    raise Cancelled("the run was stopped, as asked") from error
                if before == asked[0]:
                    raise

    return stoppable


@dataclass(frozen=True, slots=True)
class _Declared:
    """What is known of a tensor before a run; ``rank`` is -1 where it is not."""

    name: str
    dtype: Any
    rank: int = -1
    sizes: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, value: Value, shapes: bool) -> _Declared | None:
        """Return what is declared of a value; ``None`` for no tensor or an unknown one."""
        if not isinstance(value.type, TensorType) or not value.dtype:
            return None
        name, dtype, shape = value.name, numpy_dtype(value.dtype), value.shape
        if shape is None or not shapes:
            return cls(name, dtype)
        known = tuple((i, dim) for i, dim in enumerate(shape) if isinstance(dim, int))
        return cls(name, dtype, len(shape), known)

    def check(self, result: Any, who: str) -> None:
        """Raise `WrongResult` for a result that is something else."""
        found = getattr(result, "dtype", None)
        if found is None or found != self.dtype:
            found = type(result).__name__ if found is None else found
            raise WrongResult(
                f"{who} returned {found} for {self.name!r}, which is {self.dtype}"
            )
        if self.rank < 0:
            return
        shape = result.shape
        if len(shape) != self.rank or any(shape[i] != dim for i, dim in self.sizes):
            known = dict(self.sizes)
            told = ", ".join(str(known.get(i, "?")) for i in range(self.rank))
            raise WrongResult(
                f"{who} returned the shape {list(shape)} for {self.name!r}, which is "
                f"[{told}]"
            )


def _checked(run: Run, partition: Partition, shapes: bool) -> Run:
    """Compare what a provider returns with what the partition declares."""
    declared = [_Declared.of(value, shapes) for value in partition.outputs]
    wanted = [(i, one, one.dtype) for i, one in enumerate(declared) if one is not None]
    who, count = partition.provider, len(declared)
    fitting: list[Any] = [
        None
    ] * count  # shapes that were found to fit, the latest each

    def checked(
        inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> Sequence[Any]:
        results = run(inputs, outputs, context)
        several = isinstance(results, (list, tuple))
        if not several or len(results) != count:
            made = f"{len(results)} values" if several else type(results).__name__
            raise WrongResult(f"{who} returned {made} for {count} outputs")
        for index, one, dtype in wanted:
            result = results[index]
            known = getattr(result, "dtype", None) is dtype
            if not known or (shapes and result.shape != fitting[index]):
                one.check(result, who)
                fitting[index] = result.shape
        return results

    return checked


def copying(copy: Callable[[Any], Any], who: str) -> Run:
    """Return a transfer as a step; what comes out must be of the same kind."""

    def run(
        inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> Sequence[Any]:
        (value,) = inputs
        made = copy(value)
        if hasattr(value, "dtype") and not _alike(value, made):
            before, after = _kind(value), _kind(made)
            raise WrongResult(f"{who or 'a transfer'} copied {before} and made {after}")
        return (made,)

    return run


def _alike(value: Any, made: Any) -> bool:
    dtype = getattr(made, "dtype", None)
    if dtype is None or dtype != value.dtype:
        return False
    return tuple(made.shape) == tuple(value.shape)


def _kind(value: Any) -> str:
    return f"{getattr(value, 'dtype', type(value))}{list(getattr(value, 'shape', ()))}"
