"""Plans a partition for given shapes: what the steps of groups see and add to."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from runtime.graph import Node, Value
from runtime_ep_cpu.ops import table

from runtime_ep_cuda.codegen import movement
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.driver import Candidate, Properties
from runtime_ep_cuda.express import is_elementwise, operands_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.operations import Call, Operation
from runtime_ep_cuda.tensor import Buffer, Tensor
from runtime_ep_cuda.types import Dtype, dtype_of
from runtime_ep_cuda.weights import Weights

Array = np.ndarray[Any, Any]


class Unplannable(Exception):
    """These shapes cannot be planned; says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """Work of an operator without a kernel of its own, done by the array namespace.

    ``run`` takes arrays of the driver's `xp` and returns as many as there are results.
    """

    run: Callable[..., Any]
    inputs: tuple[Tensor | Array | None, ...]
    results: tuple[Tensor | None, ...]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What lies on the device."""
        both = (*self.inputs, *self.results)
        return tuple(t for t in both if isinstance(t, Tensor))


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """A library's work with the way it shall be done."""

    call: Call
    candidate: Candidate

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What is read, and the result last."""
        return (*self.call.tensors, self.call.result)


@dataclass(frozen=True, slots=True, eq=False)
class Action:
    """One thing a plan does, and the group it does it for."""

    work: Launch | Chosen | Tail
    group: Group | None

    @property
    def buffers(self) -> list[Buffer]:
        """The buffers it touches."""
        return [tensor.buffer for tensor in self.work.tensors]


class Chooser(Protocol):
    """What finds the way in which a library does an operation."""

    def choose(self, operation: Operation) -> Candidate | None:
        """Return it, or ``None`` where no library can."""

    def may(self, operation: Operation) -> bool:
        """Whether it is worth asking: nothing is built."""


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What all plans of an executable share.

    ``storage`` tells in which type a value is kept where that is not its own;
    ``outputs`` are the partition's results; ``settled`` are the nodes whose results
    follow from shapes and constants, and are worked out while planning.
    """

    weights: Weights
    chooser: Chooser
    properties: Properties
    storage: Mapping[Value, Dtype]
    outputs: tuple[Value, ...]
    settled: frozenset[Node] = frozenset()
    tf32: bool = False
    deterministic: bool = False
    channels_last: bool = True


class Planner:
    """Collects actions; a step asks it for tensors and gives it work."""

    def __init__(
        self,
        setting: Setting,
        inputs: Mapping[Value, tuple[tuple[int, ...], Dtype]],
        known: Mapping[Value, Array],
        shapes: Mapping[Value, tuple[int, ...]] = MappingProxyType({}),
    ) -> None:
        self.setting = setting
        self.weights = setting.weights
        self.actions: list[Action] = []
        self.constants = Weights()
        self.inputs: dict[Value, Tensor] = {}
        self.outputs: dict[Value, Tensor] = {}
        self._tensors: dict[Value, Tensor] = {}
        self._known: dict[Value, Array] = dict(known)
        self._shapes = shapes
        self._group: Group | None = None
        for value, (shape, dtype) in inputs.items():
            buffer = Buffer(prod(shape) * dtype.itemsize, "input", note=value.name)
            self.inputs[value] = Tensor.dense(buffer, dtype, shape)
            self._tensors[value] = self.inputs[value]

    # what there is

    def known(self, value: Value | None) -> Array | None:
        """Return the contents of a value that is known while planning, else ``None``."""
        if value is None:
            return None
        if value not in self._known and value.producer in self.setting.settled:
            self._work_out(value.producer)
        found = self._known.get(value)
        return value.constant() if found is None else found

    def _work_out(self, node: Node) -> None:
        """Compute a settled node by the host's kernel."""
        if node.op_type in ("Shape", "Size") and not node.domain:
            reads = [_stand_in(self.shape(value)) for value in node.reads]
        else:
            reads = [self.known(value) for value in node.inputs]
        made = table.bind(node)(*reads)
        results = made if type(made) is tuple else (made,)
        for value, array in zip(node.outputs, results, strict=False):
            self._known[value] = np.asarray(array)

    def numbers(self, value: Value | None) -> list[int] | None:
        """Return the integers of a known value, or ``None`` where it is absent.

        Raises `Unplannable` where it is there and not known.
        """
        if value is None:
            return None
        array = self.known(value)
        if array is None:
            raise Unplannable(f"{value.name!r} is known on the device only")
        return [int(number) for number in array.reshape(-1)]

    def shape(self, value: Value) -> tuple[int, ...]:
        """Return the shape of a value: known, on the device, or inside a group."""
        found = self._tensors.get(value)
        if found is not None:
            return found.shape
        known = self.known(value)
        if known is not None:
            return known.shape
        if value in self._shapes:
            return self._shapes[value]
        maker = value.producer
        if maker is None or not is_elementwise(maker):
            raise Unplannable(f"{value.name!r} has not been made")
        shapes = [self.shape(operand) for operand in operands_of(maker)]
        return broadcast(shapes)

    def tensor(self, value: Value | None) -> Tensor:
        """Return a value as it lies on the device; what is known is brought there."""
        if value is None:
            raise Unplannable("an input is missing")
        if value not in self._tensors:
            self._tensors[value] = self._brought(value)
        return self._tensors[value]

    def _brought(self, value: Value) -> Tensor:
        array = value.constant()
        if array is None:
            array = self.known(value)
            if array is None:
                raise Unplannable(f"{value.name!r} has not been made")
            dtype = self.storage(value, array.dtype)
            return self.constants.put(array.astype(dtype, copy=False))
        return self.weights.get(value, self.storage(value, array.dtype))

    def storage(self, value: Value, own: Dtype | None = None) -> Dtype:
        """Return the type in which a value is kept on the device."""
        found = self.setting.storage.get(value) or own or dtype_of(value)
        if found is None:
            raise Unplannable(f"the element type of {value.name!r} is not supported")
        return found

    def weight(
        self,
        value: Value,
        form: Hashable,
        make: Callable[[Array], Array],
        dtype: Dtype | None = None,
    ) -> Tensor:
        """Return a constant in a form of its own."""
        return self.weights.get(value, dtype or self.storage(value), form, make)

    # what is made

    def new(
        self, dtype: Any, shape: Sequence[int], order: Sequence[int] | None = None
    ) -> Tensor:
        """Return a tensor in memory of its own."""
        dtype = np.dtype(dtype)
        size = prod(shape) * dtype.itemsize
        return Tensor.dense(Buffer(size), dtype, shape, order)

    def result(
        self,
        value: Value,
        shape: Sequence[int],
        order: Sequence[int] | None = None,
    ) -> Tensor:
        """Return where a value is to be written, in the caller's memory if it can be.

        ``order`` lists the axes, outermost first; results of the partition are C-ordered.
        """
        dtype = self.storage(value)
        made = self.new(dtype, shape, order)
        if self._is_given_out(value, dtype) and made.is_dense():
            made.buffer.role, made.buffer.note = "output", value.name
            self.outputs[value] = made
        self._tensors[value] = made
        return made

    def _is_given_out(self, value: Value, dtype: Dtype) -> bool:
        return value in self.setting.outputs and dtype == dtype_of(value)

    def order_for(
        self, value: Value, order: Sequence[int] | None
    ) -> Sequence[int] | None:
        """Return an order for a result: C order where the caller shall have it."""
        return None if value in self.setting.outputs else order

    def define(self, value: Value, tensor: Tensor) -> None:
        """Say that a value is a view of what is there already."""
        self._tensors[value] = tensor

    def launch(self, launches: Iterable[Launch]) -> None:
        """Add calls of kernels."""
        self.actions += [Action(each, self._group) for each in launches]

    def tail(
        self,
        run: Callable[..., Any],
        inputs: Sequence[Tensor | Array | None],
        results: Sequence[Tensor | None],
    ) -> None:
        """Add work for the array namespace."""
        work = Tail(run, tuple(inputs), tuple(results))
        self.actions.append(Action(work, self._group))

    def can(self, operation: Operation) -> bool:
        """Whether a library may be able to do an operation."""
        return self.setting.chooser.may(operation)

    def call(self, call: Call) -> bool:
        """Add a library's work; tell whether a library can do it."""
        candidate = self.setting.chooser.choose(call.operation)
        if candidate is None:
            return False
        self.actions.append(Action(Chosen(call, candidate), self._group))
        return True

    def copy(
        self,
        source: Tensor,
        order: Sequence[int] | None = None,
        dtype: Dtype | None = None,
    ) -> Tensor:
        """Return a dense copy in an order of axes."""
        made = self.new(dtype or source.dtype, source.shape, order)
        self.launch(movement.copy(source, made))
        return made

    def dense(
        self,
        source: Tensor,
        order: Sequence[int] | None = None,
        dtype: Dtype | None = None,
    ) -> Tensor:
        """Return a tensor that is dense in an order of axes, a copy only where it must be."""
        if source.is_dense(order) and dtype in (None, source.dtype):
            return source
        return self.copy(source, order, dtype)

    def typed(self, source: Tensor, dtype: Dtype) -> Tensor:
        """Return a tensor of an element type, however it lies."""
        return source if source.dtype == dtype else self.copy(source, dtype=dtype)

    def reshape(self, source: Tensor, shape: Sequence[int]) -> Tensor:
        """Return a tensor in another shape of as many elements."""
        if prod(shape) != source.size:
            raise Unplannable(f"{source.shape} cannot be reshaped to {tuple(shape)}")
        found = source.reshaped(shape)
        if found is None:
            found = self.copy(source).reshaped(shape)
        if found is None:
            raise Unplannable(f"{source.shape} cannot be reshaped to {tuple(shape)}")
        return found

    # the walk

    def plan(
        self, groups: Iterable[tuple[Group, Callable[[Planner, Group], None]]]
    ) -> None:
        """Plan every group by its step, then put results where the caller has them."""
        for group, step in groups:
            self._group = group
            step(self, group)
        self._group = None
        for value in self.setting.outputs:
            self._deliver(value)

    def _deliver(self, value: Value) -> None:
        if value in self.outputs:
            return
        dtype = dtype_of(value)
        if dtype is None:
            raise Unplannable(f"the element type of {value.name!r} is not supported")
        source = self.tensor(value)
        buffer = Buffer(source.size * dtype.itemsize, "output", note=value.name)
        self.outputs[value] = Tensor.dense(buffer, dtype, source.shape)
        self.launch(movement.copy(source, self.outputs[value]))


def broadcast(shapes: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """Return what shapes broadcast to.

    Raises `Unplannable` where they do not.
    """
    shapes = list(shapes)
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        told = " and ".join(str(list(shape)) for shape in shapes)
        raise Unplannable(f"{told} do not broadcast") from None


def _stand_in(shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(np.empty((), np.int8), shape)
