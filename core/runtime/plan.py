"""Lays executables out as a straight list of steps over numbered slots, and walks it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from runtime.abilities import Context
from runtime.errors import Cancelled, EngineError, FeedError
from runtime.graph import Graph, Value
from runtime.kernels import fill
from runtime.plugin import HOST, Device, Executable, Partition
from runtime.providers import Providers
from runtime.valuetypes import SequenceType, TensorType, numpy_dtype

Devices = tuple[tuple[Device, ...], tuple[Device | None, ...]]
"""Where inputs lie and where outputs are wanted; ``None`` leaves one where it is."""

Run = Callable[[Sequence[Any], Sequence[Any], Context], Sequence[Any]]


class StepFailed(Exception):
    """An executable raised; says which one."""

    def __init__(self, placed: Placed, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.placed = placed
        self.cause = cause


class WrongResult(EngineError):
    """An executable returned something other than what its partition declares."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A partition with the executable its provider made of it."""

    partition: Partition
    executable: Any
    run: Run
    seconds: float = 0.0


def runner(executable: Any, partition: Partition) -> Run:
    """Return the full calling form of an executable: checked, and serial if it must be."""
    if isinstance(executable, Executable):
        run: Run = executable.run
    else:
        run = _from_function(executable, partition)
    if not getattr(executable, "concurrent", True):
        run = _serial(run)
    return _checked(run, partition)


def _from_function(function: Callable[..., Any], partition: Partition) -> Run:
    """Adapt a plain function of arrays; a list is one value where a sequence is wanted."""
    outputs = partition.outputs
    sequence = len(outputs) == 1 and isinstance(outputs[0].type, SequenceType)

    def run(
        inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> Sequence[Any]:
        made = function(*inputs)
        several = isinstance(made, tuple) or (isinstance(made, list) and not sequence)
        results: Sequence[Any] = made if several else (made,)
        if not any(buffer is not None for buffer in outputs):
            return results
        return [fill(v, b) for v, b in zip(results, outputs, strict=True)]

    return run


def _serial(run: Run) -> Run:
    lock = threading.Lock()

    def alone(
        inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> Sequence[Any]:
        with lock:
            return run(inputs, outputs, context)

    return alone


def _checked(run: Run, partition: Partition) -> Run:
    """Compare what a provider returns with what the partition declares."""
    wanted = [
        (value.name, numpy_dtype(value.dtype), len(value.shape or ()), value.shape)
        if isinstance(value.type, TensorType) and value.dtype
        else None
        for value in partition.outputs
    ]

    def checked(
        inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> Sequence[Any]:
        results = run(inputs, outputs, context)
        if results is None or len(results) != len(wanted):
            count = "nothing" if results is None else f"{len(results)} values"
            raise WrongResult(
                f"{partition.provider} returned {count} for {len(wanted)} outputs"
            )
        for result, expected in zip(results, wanted, strict=True):
            if expected is None:
                continue
            name, dtype, _, _ = expected
            found = getattr(result, "dtype", None)
            if found is not None and found != dtype:
                raise WrongResult(
                    f"{partition.provider} returned {found} for {name!r}, which is "
                    f"{dtype}"
                )
        return results

    return checked


@dataclass(frozen=True, slots=True)
class Step:
    """Call ``run`` on some slots, store into others, then forget what nobody reads.

    ``bound`` tells, for each output of the last step, which of the caller's buffers it
    may fill.
    """

    run: Run
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    label: str
    placed: Placed | None = None
    bound: tuple[int | None, ...] = ()
    frees: tuple[int, ...] = ()
    nothing: tuple[None, ...] = ()


class Plan:
    """A straight-line program for one placement of inputs and outputs: no decisions left."""

    def __init__(
        self,
        graph: Graph,
        inputs: Sequence[Value],
        placed: Sequence[Placed],
        providers: Providers,
        input_devices: Sequence[Device],
        output_devices: Sequence[Device | None],
    ) -> None:
        self._providers = providers
        self._slots: dict[tuple[Value, Device, bool], int] = {}
        self._template: list[Any] = []
        self._home: dict[Value, Device] = {}
        self.steps: list[Step] = []
        self.transfers: list[tuple[str, str, str]] = []
        self._inputs = self._place_inputs(inputs, input_devices)
        for item in placed:
            self._place(item)
        self._outputs = tuple(
            self._output(value, device)
            for value, device in zip(graph.outputs, output_devices, strict=True)
        )
        self._output_devices = tuple(output_devices)
        self._bind_last()
        self._plan_frees()
        self._constants = tuple(
            value for value in self._template if isinstance(value, np.ndarray)
        )

    def _place_inputs(
        self, values: Sequence[Value], devices: Sequence[Device]
    ) -> tuple[int, ...]:
        slots = []
        for value, device in zip(values, devices, strict=True):
            self._home[value] = device
            slot = self._slot(value, device)
            if value.const is not None:
                self._template[slot] = value.const.numpy()
            slots.append(slot)
        return tuple(slots)

    def _slot(self, value: Value, device: Device, shape_only: bool = False) -> int:
        key = (value, device, shape_only)
        if key not in self._slots:
            self._slots[key] = len(self._slots)
            self._template.append(None)
        return self._slots[key]

    def _place(self, item: Placed) -> None:
        part = item.partition
        inputs = tuple(
            self._fetch(value, part.device, value in part.shape_only)
            for value in part.inputs
        )
        self._home.update(dict.fromkeys(part.outputs, part.device))
        outputs = tuple(self._slot(value, part.device) for value in part.outputs)
        label = f"{part.provider}_{len(self.steps)}"
        nothing = (None,) * len(outputs)
        self.steps.append(Step(item.run, inputs, outputs, label, item, nothing=nothing))

    def _fetch(self, value: Value, device: Device, shape_only: bool = False) -> int:
        """Return the slot that holds a value on a device, adding a transfer if needed."""
        home = self._home.get(value)
        if home is None:
            return self._constant(value, device)
        if home == device:
            return self._slot(value, device)
        if (value, device, False) in self._slots:
            return self._slots[value, device, False]
        known = (value, device, shape_only) in self._slots
        target = self._slot(value, device, shape_only)
        if not known:
            copy = _stand_in if shape_only else self._providers.transfer(home, device)
            run = _copying(copy)
            label = f"{value.name}: {home} -> {device}"
            source = self._slot(value, home)
            self.steps.append(Step(run, (source,), (target,), label, nothing=(None,)))
            if not shape_only:
                self.transfers.append((value.name, str(home), str(device)))
        return target

    def _constant(self, value: Value, device: Device) -> int:
        slot = self._slot(value, device)
        array = value.constant()
        self._template[slot] = self._providers.transfer(HOST, device)(array)
        return slot

    def _output(self, value: Value, device: Device | None) -> int:
        """Return the slot of a result; without a device it stays where it is made."""
        return self._fetch(value, device or self._home.get(value, HOST))

    def _bind_last(self) -> None:
        """Let the last step fill the caller's buffers: nothing can fail after it."""
        if not self.steps or self.steps[-1].placed is None:
            return
        last = self.steps[-1]
        position = {slot: index for index, slot in enumerate(self._outputs)}
        bound = tuple(position.get(slot) for slot in last.outputs)
        self.steps[-1] = replace(last, bound=bound)

    def _plan_frees(self) -> None:
        seen = {i for i, value in enumerate(self._template) if value is not None}
        seen |= set(self._outputs)
        for index in reversed(range(len(self.steps))):
            step = self.steps[index]
            touched = dict.fromkeys((*step.inputs, *step.outputs))
            last = tuple(slot for slot in touched if slot not in seen)
            seen.update(last)
            self.steps[index] = replace(step, frees=last)

    def run(
        self, inputs: Sequence[Any], outputs: Sequence[Any] | None, context: Context
    ) -> list[Any]:
        """Run once; ``inputs`` in order, ``None`` for one that has a default.

        ``outputs`` are buffers to fill, ``None`` where a fresh value is wanted. Values on
        the host come back owning their memory. Raises `StepFailed` or `Cancelled`.
        """
        slots = self._template.copy()
        for slot, value in zip(self._inputs, inputs, strict=True):
            if value is not None:
                slots[slot] = value
        for step in self.steps:
            if context.stopped():
                raise Cancelled("the run was stopped, as asked")
            self._walk(step, slots, outputs, context)
        return self._deliver([slots[i] for i in self._outputs], inputs, outputs)

    def _walk(
        self,
        step: Step,
        slots: list[Any],
        outputs: Sequence[Any] | None,
        context: Context,
    ) -> None:
        given = [slots[slot] for slot in step.inputs]
        buffers: Sequence[Any] = step.nothing
        if outputs is not None and step.bound:
            buffers = [None if i is None else outputs[i] for i in step.bound]
        began = time.perf_counter_ns() if context.trace is not None else 0
        try:
            results = step.run(given, buffers, context)
        except Cancelled:
            raise
        except Exception as error:
            if step.placed is None:
                raise
            raise StepFailed(step.placed, error) from error
        if context.trace is not None:
            category = "Transfer" if step.placed is None else "Partition"
            context.trace.add(step.label, category, began, time.perf_counter_ns())
        for slot, value in zip(step.outputs, results, strict=True):
            slots[slot] = value
        for slot in step.frees:
            slots[slot] = None

    def _deliver(
        self, values: list[Any], inputs: Sequence[Any], outputs: Sequence[Any] | None
    ) -> list[Any]:
        """Give host results memory of their own and put bound ones where they belong."""
        borrowed = {id(root(value)) for value in (*inputs, *self._constants)}
        for index, (value, device) in enumerate(
            zip(values, self._output_devices, strict=True)
        ):
            buffer = outputs[index] if outputs is not None else None
            if buffer is not None and device is not None:
                if buffer is not value:
                    self._into(value, buffer, device)
                values[index] = buffer
            elif device == HOST:
                values[index] = owned(value, borrowed)
        return values

    def _into(self, value: Any, buffer: Any, device: Device) -> None:
        """Copy a result that was made elsewhere into the caller's buffer."""
        if tuple(buffer.shape) != tuple(value.shape):
            raise FeedError(
                f"a result has the shape {list(value.shape)}, but the memory bound to it "
                f"has {list(buffer.shape)}"
            )
        if device == HOST:
            buffer[...] = value
            return
        copy = getattr(self._providers.transfer(device, device), "copy", None)
        if copy is None:
            buffer[...] = value
        else:
            copy(value, buffer)


def root(value: Any) -> Any:
    """Return the array at the bottom of a chain of views."""
    while isinstance(value, np.ndarray) and isinstance(value.base, np.ndarray):
        value = value.base
    return value


def owned(value: Any, borrowed: set[int]) -> Any:
    """Return a result as a writable C-ordered array that shares memory with nothing else.

    ``borrowed`` holds the identities of arrays that are not to be given away; what is
    given away is added, so that no two outputs share memory.
    """
    if isinstance(value, list):
        return [owned(item, borrowed) for item in value]
    if not isinstance(value, np.ndarray):
        return value
    bottom = root(value)
    foreign = bottom.base is not None or not value.flags.writeable
    if foreign or id(bottom) in borrowed or not value.flags.c_contiguous:
        value = np.array(value, order="C")
        bottom = value
    borrowed.add(id(bottom))
    return value


def _copying(copy: Callable[[Any], Any]) -> Run:
    def run(
        inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> Sequence[Any]:
        return (copy(inputs[0]),)

    return run


def _stand_in(value: Any) -> Any:
    """Return an array of a device value's shape and type that takes no memory."""
    return np.broadcast_to(np.empty((), np.dtype(value.dtype)), value.shape)
