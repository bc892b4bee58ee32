"""Runtime, engines, contexts and refitting of the double."""

from __future__ import annotations

import ctypes
import threading
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import runtime as ort
from onnx import ModelProto

from tensorrt_double import models, plans
from tensorrt_double.classes import say

__all__ = [
    "ICudaEngine",
    "IExecutionContext",
    "OnnxParserRefitter",
    "Refitter",
    "Runtime",
]

NUMPY = {
    "FLOAT": np.float32, "HALF": np.float16, "BF16": ml_dtypes.bfloat16, "INT8": np.int8,
    "UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_,
}  # fmt: skip


class Runtime:
    """Loads engines."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._host_code = False

    engine_host_code_allowed = property(
        lambda self: self._host_code,
        lambda self, value: setattr(self, "_host_code", value),
    )

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        double = self._double
        try:
            head, model = plans.read(bytes(serialized_engine))
            sm = double.driver().properties.sm
            reason = plans.refusal(head, double.version, sm, self._host_code)
        except ValueError as error:
            reason = str(error)
        if reason:
            say(self._logger, reason)
            return None
        double.counts["loads"] += 1
        return double.module.ICudaEngine()._of(head, model, self._logger)


class ICudaEngine:
    """A loaded engine."""

    def _of(self, head: dict[str, Any], model: bytes, logger: Any) -> Any:
        self._head = head
        self._logger = logger
        self._model = ModelProto.FromString(model)
        self._inputs = {value.name: value for value in self._model.graph.input}
        self._outputs = {value.name: value for value in self._model.graph.output}
        self._hosted = set().union(*models.shape_tensors(self._model))
        self._missing = {
            tensor.name
            for tensor in self._model.graph.initializer
            if "STRIP_PLAN" in head["flags"] and prod(tensor.dims) and not _has(tensor)
        }
        self._session: Any = None
        self._lock = threading.Lock()
        self._known: dict[Any, dict[str, tuple[int, ...]]] = {}
        return self

    @property
    def num_io_tensors(self) -> int:
        return len(self._inputs) + len(self._outputs)

    @property
    def num_optimization_profiles(self) -> int:
        return max(len(self._head["profiles"]), 1)

    @property
    def device_memory_size_v2(self) -> int:
        return int(self._head["memory"])

    def get_tensor_name(self, index: int) -> str:
        return [*self._inputs, *self._outputs][index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = self._double.module.TensorIOMode
        return modes.INPUT if name in self._inputs else modes.OUTPUT

    def get_tensor_location(self, name: str) -> Any:
        places = self._double.module.TensorLocation
        return places.HOST if name in self._hosted else places.DEVICE

    def _value(self, name: str) -> onnx.ValueInfoProto:
        return self._inputs.get(name) or self._outputs[name]

    def get_tensor_dtype(self, name: str) -> Any:
        code = self._value(name).type.tensor_type.elem_type
        return self._double.module.DataType[models.DTYPES[code]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return models.dims_of(self._value(name))

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
        return [tuple(s) for s in self._head["profiles"][profile_index][name]]

    def get_tensor_profile_values(self, name: str, profile_index: int) -> list[Any]:
        return self._head["values"][profile_index][name]

    def create_execution_context(self, strategy: Any = None) -> Any:
        kinds = self._double.module.ExecutionContextAllocationStrategy
        managed = kinds(strategy) is kinds.USER_MANAGED
        self._double.counts["contexts"] += 1
        return self._double.module.IExecutionContext()._of(self, managed)

    def _run(self, feed: dict[str, Any]) -> dict[str, Any]:
        """Compute everything on the host, one run at a time."""
        with self._lock:
            if self._session is None:
                data = self._model.SerializeToString()
                options = ort.SessionOptions()
                options.add_session_config_entry("session.cache", "0")
                providers = [("CPUExecutionProvider", {"native": "off"})]
                self._session = ort.InferenceSession(data, options, providers)
            found = self._session.run([*self._outputs], feed)
        return dict(zip(self._outputs, found, strict=True))


def _has(tensor: onnx.TensorProto) -> bool:
    fields = (
        tensor.raw_data, tensor.float_data, tensor.int32_data, tensor.int64_data,
        tensor.double_data, tensor.uint64_data,
    )  # fmt: skip
    return any(map(len, fields))


class IExecutionContext:
    """What one run at a time is set up in."""

    def _of(self, engine: Any, managed: bool) -> Any:
        self._engine = engine
        self._profile = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, Any] = {}
        self._memory = None if managed else 0
        self._busy = threading.Lock()
        self._warm: set[Any] = set()
        self._changes = 0
        return self

    def _refuse(self, reason: str) -> bool:
        say(self._engine._logger, reason)
        return False

    @property
    def active_optimization_profile(self) -> int:
        return self._profile

    def set_optimization_profile_async(
        self, profile_index: int, stream_handle: int
    ) -> bool:
        if not 0 <= profile_index < self._engine.num_optimization_profiles:
            return self._refuse(f"there is no profile {profile_index}")
        self._profile = profile_index
        self._changes += 1
        self._shapes.clear()
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        if memory % 256 or size < self._engine.device_memory_size_v2:
            raise RuntimeError("the memory is not aligned, or too small")
        self._memory = memory
        self._changes += 1

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self._busy.locked():
            return self._refuse(f"{name} is set while the context runs")
        dims = self._engine.get_tensor_shape(name)
        if len(dims) != len(shape) or any(
            want not in (-1, have) for want, have in zip(dims, shape, strict=True)
        ):
            return self._refuse(f"{name} has the shape {dims}, not {shape}")
        span = self._span(name)
        if span is not None and any(
            not low <= dim <= high
            for low, dim, high in zip(span[0], shape, span[2], strict=True)
        ):
            return self._refuse(f"{name}: {shape} is outside of the profile {span}")
        self._shapes[name] = tuple(shape)
        self._changes += 1
        return True

    def _span(self, name: str) -> Any:
        profiles = self._engine._head["profiles"]
        return profiles[self._profile].get(name) if profiles else None

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if self._busy.locked():
            return self._refuse(f"{name} is bound while the context runs")
        if not memory:
            return self._refuse(f"{name} is bound to nothing")
        self._addresses[name] = memory
        self._changes += 1
        return True

    def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
        if output_allocator is None:
            self._allocators.pop(name, None)
        else:
            self._allocators[name] = output_allocator
        return name in self._engine._outputs

    def infer_shapes(self) -> list[str]:
        missing = [name for name in self._engine._inputs if name not in self._shapes]
        hosted = self._engine._hosted & set(self._engine._inputs)
        return missing + [name for name in hosted if name not in self._addresses]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._engine._inputs:
            return self._shapes.get(name, self._engine.get_tensor_shape(name))
        values = {
            each: self._read(each, None)
            for each in self._engine._hosted & set(self._engine._inputs)
        }
        sizes = tuple((each, values[each].tobytes()) for each in sorted(values))
        key = (tuple(sorted(self._shapes.items())), sizes)
        known = self._engine._known
        if key not in known:
            known[key] = models.inferred(self._engine._model, self._shapes, values)
        return known[key][name]

    def _read(self, name: str, stream: int | None) -> np.ndarray[Any, Any]:
        """Return a copy of an input, from the host or from the device."""
        kind = np.dtype(NUMPY[self._engine.get_tensor_dtype(name).name])
        shape, address = self._shapes[name], self._addresses[name]
        size = prod(shape) * kind.itemsize
        if stream is not None and name not in self._engine._hosted:
            self._driver.reach(address, size, stream, False)
        data = ctypes.string_at(address, size)
        return np.frombuffer(data, kind).reshape(shape).copy()

    @property
    def _driver(self) -> Any:
        return self._double.driver()

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not self._busy.acquire(blocking=False):
            return self._refuse("two runs at once in one context")
        try:
            return self._execute(stream_handle)
        finally:
            self._busy.release()

    def _execute(self, stream: int) -> bool:
        engine, recording = self._engine, stream in self._driver._recording
        if engine._missing:
            return self._refuse(f"weights are missing: {sorted(engine._missing)}")
        if self._memory is None:
            return self._refuse("the context has no memory to work in")
        if missing := self.infer_shapes():
            return self._refuse(f"shapes are missing: {missing}")
        for name in (*engine._inputs, *engine._outputs):
            if name not in self._addresses and name not in self._allocators:
                return self._refuse(f"{name} is bound to no address")
        if reason := self._values_outside():
            return self._refuse(reason)
        shapes = tuple(sorted(self._shapes.items()))
        if recording and shapes not in self._warm:
            return self._refuse("a shape is captured that was not run before")
        self._warm.add(shapes)
        bound = dict(self._addresses)
        if recording:
            self._driver.begin(stream, self._unchanged(self._changes))
        if self._waits():
            if recording:
                return self._refuse("outputs of unknown shapes are captured")
            self._short = ""
            self._driver.begin(stream, lambda on: self._work(bound, on, stream))
            if self._short:
                return self._refuse(self._short)
        else:
            self._driver.begin(stream, lambda on: self._work(bound, on, None))
        return True

    def _unchanged(self, changes: int) -> Any:
        """Return what a replay begins with: the context must be as it was captured."""

        def work(stream: int) -> None:
            if self._changes != changes:
                raise RuntimeError("a context was changed after it was captured")

        return work

    def _values_outside(self) -> str:
        head = self._engine._head
        for name, span in (
            head["values"][self._profile] if head["values"] else {}
        ).items():
            found = self._read(name, None).reshape(-1)
            if any(
                not a <= v <= b for a, v, b in zip(span[0], found, span[2], strict=True)
            ):
                return f"{name}: the values {found.tolist()} are outside of {span}"
        return ""

    def _waits(self) -> bool:
        """Whether some output's shape is known only when it is there."""
        return any(-1 in self.get_tensor_shape(name) for name in self._engine._outputs)

    def _work(self, bound: dict[str, int], stream: int, asking: int | None) -> None:
        """Compute, when it is this work's turn in its stream."""
        engine = self._engine
        now, self._addresses = self._addresses, bound
        try:
            feed = {name: self._read(name, stream) for name in engine._inputs}
        finally:
            self._addresses = now
        self._double.counts["runs"] += 1
        if self._memory:
            size = engine.device_memory_size_v2
            self._driver.reach(self._memory, size, stream, True)
        for name, array in engine._run(feed).items():
            address, data = bound.get(name, 0), np.ascontiguousarray(array)
            allocator = self._allocators.get(name)
            if asking is not None and allocator is not None:
                if data.nbytes or self._double.asks_for_nothing:
                    with self._double.calling():
                        address = allocator.reallocate_output_async(
                            name, 0, data.nbytes, 256, asking
                        )
                    if not address:
                        self._short = f"there is no memory for {name}"
                        return
                with self._double.calling():
                    allocator.notify_shape(name, data.shape)
            if name not in engine._hosted:
                self._driver.reach(address, data.nbytes, stream, True)
            ctypes.memmove(address, data.ctypes.data, data.nbytes)


class Refitter:
    """Puts weights into an engine."""

    def __init__(self, engine: Any, logger: Any) -> None:
        self._engine = engine
        self._given: dict[str, onnx.TensorProto] = {}

    def refit_cuda_engine(self) -> bool:
        for tensor in self._engine._model.graph.initializer:
            if tensor.name in self._given:
                tensor.CopyFrom(self._given[tensor.name])
        self._engine._missing -= set(self._given)
        return not self._engine._missing


class OnnxParserRefitter:
    """Takes weights from a model."""

    def __init__(self, refitter: Any, logger: Any) -> None:
        self._refitter = refitter
        self._logger = logger

    def refit_from_bytes(self, model: bytes, path: str | None = None) -> bool:
        given = {
            t.name: t for t in ModelProto.FromString(bytes(model)).graph.initializer
        }
        for tensor in self._refitter._engine._model.graph.initializer:
            other = given.get(tensor.name)
            fits = other is not None and list(other.dims) == list(tensor.dims)
            if not fits or other.data_type != tensor.data_type:
                say(self._logger, f"the model has no weights {tensor.name!r}")
                return False
            self._refitter._given[tensor.name] = other
        return True
