"""Lays executables out as a straight list of steps over numbered slots, and walks it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np

from runtime.abilities import Context, Preparable
from runtime.calling import Placed, Run, copying
from runtime.errors import Cancelled, EngineError, FeedError
from runtime.explain import Event
from runtime.graph import Graph, Value
from runtime.ownership import flat, is_free, is_given, is_kept, owned, root
from runtime.plugin import HOST, Device
from runtime.prepared import Prepared
from runtime.providers import Providers

Devices = tuple[tuple[Device, ...], tuple[Device | None, ...]]
"""Where inputs lie and where outputs are wanted; ``None`` leaves one where it is."""


class StepFailed(Exception):
    """An executable raised; says which one."""

    def __init__(self, placed: Placed, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.placed = placed
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Step:
    """Call ``run`` on some slots, store into others, then forget what nobody reads.

    ``bound`` tells, for each output of the last step, which of the caller's buffers it
    may fill; ``blame`` is whose device a transfer serves.
    """

    run: Run
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    label: str
    placed: Placed | None = None
    blame: Placed | None = None
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
        self.prepared: Prepared | None = None
        self._providers = providers
        self._slots: dict[tuple[Value, Device, bool], int] = {}
        self._template: list[Any] = []
        self._home: dict[Value, Device] = {}
        self._maker: dict[Value, Placed] = {}
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
        self._makers = [self._maker.get(value) for value in graph.outputs]
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
            self._fetch(
                value,
                HOST if value in part.host_inputs else part.device,
                value in part.shape_only,
                item,
            )
            for value in part.inputs
        )
        self._home.update(dict.fromkeys(part.outputs, part.device))
        self._maker.update(dict.fromkeys(part.outputs, item))
        outputs = tuple(self._slot(value, part.device) for value in part.outputs)
        label = f"{part.provider}_{len(self.steps)}"
        nothing = (None,) * len(outputs)
        self.steps.append(Step(item.run, inputs, outputs, label, item, nothing=nothing))

    def _fetch(
        self,
        value: Value,
        device: Device,
        shape_only: bool = False,
        reader: Placed | None = None,
    ) -> int:
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
            blame = reader if home == HOST else self._maker.get(value, reader)
            run = copying(copy, "" if blame is None else blame.partition.provider)
            label = f"{value.name}: {home} -> {device}"
            source = self._slot(value, home)
            step = Step(run, (source,), (target,), label, None, blame, nothing=(None,))
            self.steps.append(step)
            if not shape_only:
                self.transfers.append((value.name, str(home), str(device)))
        return target

    def _constant(self, value: Value, device: Device) -> int:
        slot = self._slot(value, device)
        array = value.constant()
        if array is None:
            raise EngineError(
                f"nothing makes {value.name!r}, which a partition on {device} reads"
            )
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

    def prepare(self, inputs: Sequence[Value]) -> None:
        """Keep runs prepared from now on, if one executable is the whole plan.

        ``inputs`` are as given, and everything is on the host.
        """
        if len(self.steps) != 1:
            return
        step, placed = self.steps[0], self.steps[0].placed
        fed = [value.const is None for value in inputs]
        places = list(compress(self._inputs, fed))
        if (
            placed is not None
            and isinstance(placed.executable, Preparable)
            and getattr(placed.executable, "concurrent", True)
            and set(step.inputs) <= set(places)
            and sorted(step.outputs) == sorted(self._outputs)
        ):
            takes = [places.index(slot) for slot in step.inputs]
            makes = [step.outputs.index(slot) for slot in self._outputs]
            name = placed.partition.provider
            self.prepared = Prepared(placed.executable, name, fed, takes, makes)

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
        results = self._deliver([slots[i] for i in self._outputs], inputs, outputs)
        if self.prepared is not None and context.cancelled is None:
            self.prepared.learn(inputs)
        return results

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
            culprit = step.placed or step.blame
            if culprit is None:
                raise
            raise StepFailed(culprit, error) from error
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
        if outputs is None and all(
            device == HOST and is_given(values, index)
            for index, device in enumerate(self._output_devices)
        ):
            return values
        borrowed = {
            id(root(array))
            for value in (*inputs, *self._constants)
            for array in flat(value)
        }
        given = []
        for index, device in enumerate(self._output_devices):
            buffer = outputs[index] if outputs is not None else None
            if buffer is not None and device is not None:
                if buffer is not values[index]:
                    self._into(values[index], buffer, device)
                given.append(buffer)
            elif device == HOST:
                if is_free(values[index], borrowed) and is_kept(values, index):
                    borrowed.add(id(root(values[index])))
                    self._note_kept(index)
                given.append(owned(values[index], borrowed))
            else:
                given.append(values[index])
        return given

    def _note_kept(self, index: int) -> None:
        maker, self._makers[index] = self._makers[index], None
        if maker is not None:
            reason = "it holds on to a result it returned; such results are copied"
            event = Event(maker.partition.provider, "ability", reason)
            self._providers.report.note(event)

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
        copy = self._providers.copier(device)
        if copy is None:
            buffer[...] = value
        else:
            copy(value, buffer)


def _stand_in(value: Any) -> Any:
    """Return an array of a device value's shape and type that takes no memory."""
    return np.broadcast_to(np.empty((), np.dtype(value.dtype)), value.shape)
