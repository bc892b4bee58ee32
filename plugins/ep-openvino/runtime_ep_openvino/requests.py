"""Inference requests that stay bound from one run to the next, and who leases them."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from runtime.errors import ExecutionError
from runtime.graph import Value
from runtime.kernels import filled
from runtime.plugin import Partition
from runtime.valuetypes import numpy_dtype

from runtime_ep_openvino.empties import Empties
from runtime_ep_openvino.integers import guard
from runtime_ep_openvino.tensors import tensor_over

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

_REMEMBERED = 4096
"""How many combinations of input shapes have their output shapes kept."""


@dataclass(frozen=True, slots=True)
class Output:
    """One result: its port, its element type here, and OpenVINO's type and least shape."""

    place: int
    dtype: np.dtype[Any]
    code: int
    kind: ov.Type
    least: list[int]


class Size(NamedTuple):
    """A result's shape, as Python's and as OpenVINO's, which is slow to take apart."""

    shape: Shape
    kept: ov.Shape

    @classmethod
    def of(cls, shape: Shape) -> Size:
        """Return a shape in both forms."""
        return cls(shape, ov.Shape(list(shape)))


class Compiled:
    """One compiled model: which port is which value, and requests ready to be leased.

    Raises `ExecutionError` where the model lacks one of the partition's outputs.
    """

    def __init__(self, model: ov.CompiledModel, partition: Partition) -> None:
        self.model = model
        self.inputs = partition.inputs
        self.guard = guard(partition)
        self.empties = Empties(partition)
        read = _places(model.inputs, partition.inputs)
        self.fed = [(i, place) for i, place in enumerate(read) if place is not None]
        made = _places(model.outputs, partition.outputs)
        self.outputs = [
            _output(model, place, value)
            for place, value in zip(made, partition.outputs, strict=True)
        ]
        ports = [model.outputs[output.place] for output in self.outputs]
        self.static = not any(port.partial_shape.is_dynamic for port in ports)
        self.shapes: dict[Any, list[Size] | None] = {}
        if self.static:
            self.shapes[()] = [Size.of(tuple(port.shape)) for port in ports]
        self.active: set[Request] = set()
        self._idle = [Request(self)]

    def lease(self) -> Request:
        """Return a request nobody uses; as many exist as runs have gone side by side."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = Request(self)
        self.active.add(request)
        return request

    def give_back(self, request: Request) -> None:
        """Let others use a request."""
        self.active.discard(request)
        self._idle.append(request)

    def trim(self) -> None:
        """Drop idle requests and OpenVINO's working memory."""
        self._idle.clear()
        if hasattr(self.model, "release_memory"):
            self.model.release_memory()


def _places(ports: Sequence[Any], values: Sequence[Value]) -> list[int | None]:
    """Return which port is which value, by name; values of one port have one each."""
    free = list(range(len(ports)))
    names = [port.get_names() for port in ports]
    found: list[int | None] = []
    for value in values:
        place = next((place for place in free if value.name in names[place]), None)
        found.append(place)
        if place is not None:
            free.remove(place)
    return found


def _output(model: ov.CompiledModel, place: int | None, value: Value) -> Output:
    if place is None:
        raise ExecutionError(f"OpenVINO's model has no output {value.name!r}")
    port = model.outputs[place]
    shape, code = port.partial_shape, value.dtype or 1
    if shape.rank.is_dynamic:
        raise ExecutionError(f"OpenVINO does not know the rank of {value.name!r}")
    least = [dim.get_length() if dim.is_static else 0 for dim in shape]
    return Output(place, numpy_dtype(code), code, port.get_element_type(), least)


def _nobody() -> None:
    return None


class Request:
    """An inference request and the arrays it is bound to; one run at a time uses it.

    It holds no array between runs: inputs are known by weak references, and results are
    the caller's. What is bound and gone is bound anew before it could be touched.
    """

    def __init__(self, owner: Compiled) -> None:
        self._owner = owner
        self._request = owner.model.create_infer_request()
        self._bound: list[Any] = [_nobody] * len(owner.inputs)
        self._sizes: list[Shape] = [()] * len(owner.inputs)
        self._loose = [False] * len(owner.outputs)

    def cancel(self) -> None:
        """Make the run in progress raise soon."""
        self._request.cancel()

    def run(self, inputs: Sequence[Array], outputs: Sequence[Any]) -> list[Array]:
        """Bind what changed, infer, and return arrays nobody else will write.

        ``outputs`` are as for `runtime.plugin.Executable.run`. Raises `ExecutionError`
        for integers that do not fit and ``RuntimeError`` with OpenVINO's words.
        """
        owner = self._owner
        if owner.guard.inputs:
            owner.guard.check(inputs, owner.inputs)
        if not all(array.size for array in inputs):
            results = owner.empties.results(inputs)
            if results is not None:
                return filled(results, outputs)
        copies = []
        for index, place in owner.fed:
            array = inputs[index]
            if array is not self._bound[index]() or array.shape != self._sizes[index]:
                copies.append(self._feed(index, place, array))
        key = () if owner.static else tuple([inputs[i].shape for i, _ in owner.fed])
        sizes = owner.shapes.get(key)
        if sizes is None:
            return self._unforeseen(key, outputs)
        return self._foreseen(key, sizes, inputs, outputs)

    def _feed(self, index: int, place: int, array: Array) -> Array:
        """Bind an input; return what was bound, a copy unless it is C-contiguous."""
        whole = array if array.flags.c_contiguous else array.copy()
        code = self._owner.inputs[index].dtype or 1
        self._request.set_input_tensor(place, tensor_over(whole, code))
        self._bound[index] = weakref.ref(array) if whole is array else _nobody
        self._sizes[index] = array.shape
        return whole

    def _foreseen(
        self,
        key: Any,
        sizes: Sequence[Size],
        inputs: Sequence[Array],
        outputs: Sequence[Any],
    ) -> list[Array]:
        """Run into arrays of the shapes that inputs of these shapes gave before."""
        owner, results, tensors = self._owner, [], []
        for index, output in enumerate(owner.outputs):
            array, shape = outputs[index], sizes[index].shape
            if array is None or not _may_fill(array, output, shape, inputs):
                array = np.empty(shape, output.dtype)
            tensor = tensor_over(array, output.code)
            self._request.set_output_tensor(output.place, tensor)
            self._loose[index] = False
            results.append(array)
            tensors.append(tensor)
        try:
            self._request.infer(share_outputs=True)
        except RuntimeError as error:
            if owner.static or "set new shape" not in str(error):
                raise
            owner.shapes[key] = None
            return self._copies(outputs)
        if not owner.static:
            for index, tensor in enumerate(tensors):
                if tensor.shape != sizes[index].kept:
                    owner.shapes[key] = None
                    results[index] = _beginning(results[index], tensor)
        return filled(results, outputs)

    def _unforeseen(self, key: Any, outputs: Sequence[Any]) -> list[Array]:
        """Run where the shapes of the outputs are not known, and remember them.

        ``None`` is remembered where inputs of one shape gave outputs of several.
        """
        results = self._copies(outputs)
        known = self._owner.shapes
        if key not in known:
            if len(known) >= _REMEMBERED:
                known.clear()
            known[key] = [Size.of(array.shape) for array in results]
        return results

    def _copies(self, outputs: Sequence[Any]) -> list[Array]:
        """Run into OpenVINO's own memory, which grows as needed, and copy from there."""
        for index, output in enumerate(self._owner.outputs):
            if not self._loose[index]:
                tensor = ov.Tensor(output.kind, output.least)
                self._request.set_output_tensor(output.place, tensor)
                self._loose[index] = True
        self._request.infer(share_outputs=True)
        results = []
        for output in self._owner.outputs:
            found = self._request.get_output_tensor(output.place).data
            same = found.dtype == output.dtype
            results.append(np.array(found if same else found.view(output.dtype)))
        return filled(results, outputs)


def _may_fill(
    array: Array, output: Output, shape: Shape, inputs: Sequence[Array]
) -> bool:
    """Whether OpenVINO may write a caller's buffer while it reads the inputs."""
    return bool(
        array.flags.c_contiguous
        and array.flags.writeable
        and array.dtype == output.dtype
        and array.shape == shape
        and not any(np.may_share_memory(array, given) for given in inputs)
    )


def _beginning(array: Array, tensor: ov.Tensor) -> Array:
    """Return the smaller result that lies at the beginning of an array."""
    count = tensor.get_size()
    return array.reshape(-1)[:count].reshape(tuple(tensor.shape)).copy()
