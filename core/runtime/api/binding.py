"""IOBinding: inputs and outputs attached once, on any device, and run many times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import not_
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.api.call import context_of
from runtime.api.devices import device_of, missing
from runtime.api.feeds import Fault, converter
from runtime.api.inner import Inner, SessionIOBinding
from runtime.api.options import RunOptions
from runtime.api.values import OrtValue, at_pointer, dtype_of, from_cuda, native
from runtime.api.vector import OrtValueVector
from runtime.errors import EngineError, FeedError, TransferUnavailable, near
from runtime.plugin import HOST, Device
from runtime.valuetypes import TensorType, Type

if TYPE_CHECKING:
    from runtime.api.session import InferenceSession
    from runtime.build import Runnable


Targets = dict[str, tuple[Device, OrtValue | None]]
"""Where outputs are wanted, by name, and in whose memory."""

_CHEAP = 1 << 14
"""Bytes that are copied sooner than a run is led to write them in place."""


class IOBinding:
    """Values bound to a session's inputs and outputs by name.

    An output bound without memory belongs to the runtime: each run gives it memory of
    the size that run needs. An output bound to memory is written in place, once the run
    has succeeded.
    """

    _iobinding = Inner(SessionIOBinding.within)

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._inputs: dict[str, OrtValue] = {}
        self._targets: Targets = {}
        self._last: tuple[Targets, Sequence[Any]] = ({}, ())
        self._again: _Again | None = None

    def bind_cpu_input(self, name: str, arr_on_cpu: Any) -> None:
        """Bind a host array; changing it in place is seen by the next run.

        Tensors of other libraries are taken as well, those on a GPU where they are.
        """
        kind = self._input_type(name)
        array = arr_on_cpu
        if hasattr(array, "__cuda_array_interface__"):
            self._bind(name, from_cuda(array))
            return
        if isinstance(array, np.ndarray) and array.dtype.isnative:
            value = native(array)
        else:
            value = _converted(name, kind, array)
        self._bind(name, OrtValue(value, keep=arr_on_cpu))

    def bind_input(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: Any,
        shape: Sequence[int],
        buffer_ptr: int,
    ) -> None:
        """Bind memory by address; it must stay alive and unchanged while it is bound."""
        self._input_type(name)
        device = device_of(device_type, device_id)
        value = at_pointer(buffer_ptr, shape, dtype_of(element_type), device)
        self._bind(name, OrtValue(value, device))

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        """Bind an OrtValue on any device."""
        self._input_type(name)
        self._bind(name, ortvalue)

    def _bind(self, name: str, value: OrtValue) -> None:
        self._inputs[name] = value
        self._again = None

    def _direct(self, name: str, device: Device, target: OrtValue | None) -> None:
        self._targets[name] = (device, target)
        self._again = None

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: Any = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Ask for an output on a device, in memory given by address or the runtime's."""
        self._output_index(name)
        device = device_of(device_type, device_id)
        target = None
        if buffer_ptr is not None:
            if element_type is None or shape is None:
                raise ValueError("a buffer needs element_type and shape")
            array = at_pointer(buffer_ptr, shape, dtype_of(element_type), device)
            target = OrtValue(array, device)
        else:
            device = self._reachable(device)
        self._direct(name, device, target)

    def _reachable(self, device: Device) -> Device:
        """Return the device, or loudly the host where this session has nobody for it."""
        runnable = self._session._runnable
        try:
            runnable.providers.transfer(HOST, device)
        except TransferUnavailable as error:
            if runnable.settings.fallback == "error":
                raise RuntimeError(f"Error in execution: {error}") from error
            missing(device, str(error))
            return HOST
        return device

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        """Have an output written into an OrtValue's memory."""
        self._output_index(name)
        self._direct(name, ortvalue._device, ortvalue)

    def synchronize_inputs(self) -> None:
        """Nothing to wait for: values are handed over finished."""

    def synchronize_outputs(self) -> None:
        """Nothing to wait for: values come finished."""

    def get_outputs(self) -> list[OrtValue]:
        """Return the last run's outputs, in the order they were bound."""
        targets, made = self._last
        return [
            OrtValue(made[self._output_index(name)], device)
            if target is None
            else target
            for name, (device, target) in targets.items()
        ]

    def get_outputs_as_ortvaluevector(self) -> OrtValueVector:
        """Return the last run's outputs as the vector other libraries take."""
        return OrtValueVector(self.get_outputs())

    def copy_outputs_to_cpu(self) -> list[Any]:
        """Return the last run's outputs on the host."""
        return [value.numpy() for value in self.get_outputs()]

    def clear_binding_inputs(self) -> None:
        """Forget every bound input."""
        self._inputs.clear()
        self._again = None

    def clear_binding_outputs(self) -> None:
        """Forget every bound output and result."""
        self._targets.clear()
        self._last, self._again = ({}, ()), None

    def _input_type(self, name: str) -> Type | None:
        for value in self._session._runnable.inputs:
            if value.name == name:
                return value.type
        names = [value.name for value in self._session._runnable.inputs]
        raise RuntimeError(
            f"Failed to find NodeArg with name: {name} in the def list{near(name, names)}"
        )

    def _output_index(self, name: str) -> int:
        names = [known for known, _ in self._session._runnable.signature]
        if name not in names:
            raise RuntimeError(
                f"Failed to find NodeArg with name: {name} in the def list"
                f"{near(name, names)}"
            )
        return names.index(name)

    def _run(self, run_options: RunOptions | None) -> None:
        """Run once with what is bound; every failure is a RuntimeError."""
        again = self._again
        if again is not None and run_options is None:
            made = again.repeat(again.given)
            if made is not None:
                for index, memory in again.memory:
                    memory[...] = made[index]
                self._last = again.targets, made
                return
        if not self._targets:
            raise RuntimeError(
                "Error in execution: At least one output should be requested."
            )
        try:
            self._run_generally(run_options)
        except EngineError as error:
            raise RuntimeError(f"Error in execution: {error}") from error

    def _run_generally(self, run_options: RunOptions | None) -> None:
        runnable = self._session._runnable
        given = [self._given(v.name, v.type, v.const) for v in runnable.inputs]
        self._check_targets()
        sources = tuple(
            self._inputs[v.name]._device if v.name in self._inputs else HOST
            for v in runnable.inputs
        )
        wanted = [self._targets.get(name) for name, _ in runnable.signature]
        places = tuple(None if t is None else t[0] for t in wanted)
        buffers = [t[1]._value if t and t[1] else None for t in wanted]
        local = {*sources, *places} == {HOST}
        targets = dict(self._targets)
        made = runnable.run(
            given,
            None if local and not any(b is not None for b in buffers) else buffers,
            context_of(runnable, run_options),
            None if local else (sources, places),
        )
        self._last = targets, made
        bound = [self._inputs.get(v.name) for v in runnable.inputs]
        same = all(
            b is None or b._value is g for b, g in zip(bound, given, strict=True)
        )
        if local and same:
            self._again = _Again.of(runnable, given, buffers, targets)

    def _given(self, name: str, kind: Type | None, default: Any) -> Any:
        bound = self._inputs.get(name)
        if bound is None:
            if default is None and "optional" not in str(kind):
                raise FeedError(f"Missing Input: {name}")
            return None
        if bound._device == HOST:
            return _converted(name, kind, bound._value)
        if isinstance(kind, TensorType):
            _check_device_value(name, kind, bound)
        return bound._value

    def _check_targets(self) -> None:
        kinds = dict(self._session._runnable.signature)
        for name, (_, target) in self._targets.items():
            kind = kinds[name]
            if target is None or not isinstance(kind, TensorType) or not kind.dtype:
                continue
            if target.element_type() != kind.dtype:
                raise FeedError(
                    f"output {name} is a {kind}, but it is bound to memory of "
                    f"{target.data_type()}"
                )


@dataclass(frozen=True, slots=True, eq=False)
class _Again:
    """A bound run that can be repeated: everything was settled by the one before.

    ``memory`` are the arrays that outputs were bound to, by place.
    """

    repeat: Callable[[Sequence[Any]], list[Any] | None]
    given: Sequence[Any]
    memory: Sequence[tuple[int, Any]]
    targets: Targets

    @classmethod
    def of(
        cls,
        runnable: Runnable,
        given: Sequence[Any],
        buffers: Sequence[Any],
        targets: Targets,
    ) -> _Again | None:
        """Return it, or ``None`` where filling bound memory afterwards would cost more."""
        memory = [(at, each) for at, each in enumerate(buffers) if each is not None]
        if sum(each.nbytes for _, each in memory) > _CHEAP:
            return None
        fed = [value.const is None for value in runnable.inputs]
        if any(value is not None for value in compress(given, map(not_, fed))):
            return None
        return cls(runnable.repeat, list(compress(given, fed)), memory, targets)


def _check_device_value(name: str, kind: TensorType, bound: OrtValue) -> None:
    if kind.dtype and bound.element_type() != kind.dtype:
        raise FeedError(
            f"Unexpected input data type. Actual: ({bound.data_type()}) , "
            f"expected: ({kind}) for input: {name}"
        )
    if kind.shape and len(bound.shape()) != len(kind.shape):
        raise FeedError(
            f"Invalid rank for input: {name} Got: {len(bound.shape())} "
            f"Expected: {len(kind.shape)}"
        )


def _converted(name: str, kind: Type | None, value: Any) -> Any:
    try:
        return converter(name, kind)(value)
    except Fault as fault:
        raise FeedError(str(fault)) from None
