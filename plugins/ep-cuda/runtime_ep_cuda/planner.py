"""Plans a partition for given shapes: what the steps of groups see and add to."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cuda.actions import (
    Action,
    Array,
    Chosen,
    Setting,
    Tail,
    Unplannable,
    handing_on,
)  # fmt: skip
from runtime_ep_cuda.codegen import movement
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.dtypes import Dtype, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.operations import Call, Operation
from runtime_ep_cuda.quantized import is_constant, shape_of
from runtime_ep_cuda.recall import Log, Recall
from runtime_ep_cuda.tensor import Buffer, Tensor
from runtime_ep_cuda.weights import Weights

Step = Callable[["Planner", Group], None]

Later = tuple[tuple[int, ...], Callable[["Planner"], None]]
"""A value's shape, and what makes it where somebody asks for it."""


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
        self.derivations: dict[tuple[str, Value], Tensor] = {}
        self._later: dict[Value, Later] = {}
        self._retyped: Mapping[Value, Dtype] = {}
        self._group: Group | None = None
        self._log: Log | None = None
        for value, (shape, dtype) in inputs.items():
            buffer = Buffer(prod(shape) * dtype.itemsize, "input", note=value.name)
            self.inputs[value] = Tensor.dense(buffer, dtype, shape)
            self._tensors[value] = self.inputs[value]

    # what there is

    def known(self, value: Value | None) -> Array | None:
        """Return the contents of a value that is known while planning, else ``None``."""
        if value is None:
            return None
        found = self._known_now(value)
        if value.const is None:
            self._told("known", value, found)
        return found

    def _told(self, what: str, value: Value, found: Any, more: Any = None) -> None:
        """Note what a step was told by a method, which may decide what it does."""
        if self._log is not None:
            self._log.reads((what, value, more), found)

    def _known_now(self, value: Value) -> Array | None:
        maker = value.producer
        settled = maker is not None and maker in self.setting.settled
        if maker is not None and settled and value not in self._known:
            self._work_out(maker)
        found = self._known.get(value)
        return value.constant() if found is None else found

    def _work_out(self, node: Node) -> None:
        """Compute a settled node by the host's kernel."""
        reads: list[Array | None]
        if node.op_type in ("Shape", "Size") and not node.domain:
            nothing = np.empty((), np.int8)
            shapes = map(self._shape_now, node.reads)
            reads = [np.broadcast_to(nothing, shape) for shape in shapes]
        else:
            reads = [None if v is None else self._known_now(v) for v in node.inputs]
        made = self.setting.settled[node](*reads)
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

    def gist(self, value: Value, of: Callable[[Array], Any]) -> Any:
        """Return what a function makes of a known value: no more of it decides the plan.

        Raises `Unplannable` where it is not known.
        """
        array = self._known_now(value)
        if array is None:
            raise Unplannable(f"{value.name!r} is known on the device only")
        found = of(array)
        if value.const is None:
            self._told("gist", value, found, of)
        return found

    def shape(self, value: Value) -> tuple[int, ...]:
        """Return the shape of a value: known, on the device, or inside a group."""
        found = self._shape_now(value)
        self._told("shape", value, found)
        return found

    def _shape_now(self, value: Value) -> tuple[int, ...]:
        found = self._tensors.get(value)
        if found is not None:
            return found.shape
        if value in self._later:
            return self._later[value][0]
        constant = shape_of(value) if is_constant(value) else None
        if constant is not None:
            return constant
        known = self._known_now(value)
        if known is not None:
            return tuple(known.shape)
        if value in self._shapes:
            return self._shapes[value]
        operands = self.setting.operands.get(value)
        if operands is None:
            raise Unplannable(f"{value.name!r} has not been made")
        return broadcast([self._shape_now(operand) for operand in operands])

    def has(self, value: Value) -> bool:
        """Whether a value lies on the device already."""
        found = value in self._tensors
        self._told("has", value, found)
        return found

    def tensor(self, value: Value | None) -> Tensor:
        """Return a value as it lies on the device; what is known is brought there."""
        if value is None:
            raise Unplannable("an input is missing")
        if value not in self._tensors:
            later = self._later.get(value)
            if later is not None:
                later[1](self)
            else:
                self._tensors[value] = self._brought(value)
        found = self._tensors[value]
        self._told("tensor", value, found)
        return found

    def _brought(self, value: Value) -> Tensor:
        if is_constant(value):
            return self.weights.get(value, self.storage(value))
        array = self._known_now(value)
        if array is None:
            raise Unplannable(f"{value.name!r} has not been made")
        dtype = self.storage(value, array.dtype)
        with np.errstate(over="ignore"):
            return self.constants.put(array.astype(dtype, copy=False))

    def storage(self, value: Value, own: Dtype | None = None) -> Dtype:
        """Return the type in which a value is kept on the device."""
        found = self._retyped.get(value) or self.setting.storage.get(value)
        found = found or own or dtype_of(value)
        if found is None:
            raise Unplannable(f"the element type of {value.name!r} is not supported")
        return found

    def constant(self, array: Array) -> Tensor:
        """Return an array that this plan alone needs as a tensor on the device."""
        made = self.constants.put(array)
        if self._log is not None:
            self._log.constants.append((made, array))
        return made

    def derived(self, word: str, value: Value, make: Callable[[], Tensor]) -> Tensor:
        """Return what several groups need of a value: the first one makes it.

        ``word`` says what it is.
        """
        found = self.derivations.get((word, value))
        if found is None:
            found = self.derivations[word, value] = make()
            if self._log is not None:
                self._log.derived[word, value] = found
        elif self._log is not None and (word, value) not in self._log.derived:
            self._told("derived", value, found, word)
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
        self.define(value, made)
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
        if self._log is not None:
            self._log.made[value] = tensor

    def define_later(self, value: Value, later: Later) -> None:
        """Say what makes a value, if anybody reads it at all."""
        self._later[value] = later
        if self._log is not None:
            self._log.later[value] = later

    @contextmanager
    def pretending(
        self, read: Mapping[Value, Tensor], written: Mapping[Value, Dtype]
    ) -> Iterator[None]:
        """Have values read as other tensors meanwhile, results written in other types."""
        kept = {value: self._tensors.get(value) for value in read}
        self._retyped = written
        for value, tensor in read.items():
            self.define(value, tensor)
        try:
            yield
        finally:
            self._retyped = {}
            for value, before in kept.items():
                if self._log is not None:
                    self._log.made.pop(value, None)
                del self._tensors[value]
                if before is not None:
                    self._tensors[value] = before

    def launch(self, launches: Iterable[Launch]) -> None:
        """Add calls of kernels; raises `Unplannable` for more than GPUs launch."""
        for each in launches:
            if not each.is_possible:
                raise Unplannable(f"too large for the kernel {each.kernel.name}")
            self.actions.append(Action(each, self._group))

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

    def plan(self, groups: Iterable[tuple[Group, Step]], recall: Recall) -> None:
        """Plan every group by its step, then put results where the caller has them.

        What a group did for the same shapes before is done again by ``recall``.
        """
        for group, step in groups:
            self._group = group
            if recall.again(self, group):
                continue
            self._log = Log(len(self.actions))
            with handing_on(group.anchor or group.nodes):
                step(self, group)
            recall.remember(group, self._log, self.actions)
            self._log = None
        self._group = None
        for value in self.setting.outputs:
            with handing_on(value.producer or ()):
                self._deliver(value)

    def _deliver(self, value: Value) -> None:
        if value in self.outputs:
            return
        dtype = dtype_of(value)
        if dtype is None:
            raise Unplannable(f"the element type of {value.name!r} is not supported")
        source = self.tensor(value)
        if value in self.outputs:
            return
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
