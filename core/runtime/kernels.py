"""KernelTable: a provider made of one function per operator, and what runs it.

A kernel's signature is the operator's: inputs are positional-only, in order, ``None``
when absent; attributes are keyword-only with the standard's defaults. A kernel that needs
more asks for the keyword ``call`` and receives a `Call`::

    table = KernelTable()

    @table("Softmax", since=13)
    def softmax(x, /, *, axis=-1): ...
"""

from __future__ import annotations

import inspect
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from runtime.abilities import Context
from runtime.errors import Cancelled, EngineError, ExecutionError, LimitExceeded
from runtime.graph import AttributeKind, Node, SparseTensor, Tensor, Value
from runtime.plugin import HOST, Claim, Device, Partition, Refusal, Unsupported
from runtime.settings import Settings

Function = Callable[..., Any]
Wrap = Callable[["Kernel", Node, Function], Function]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One registered implementation.

    ``traits`` are free marks the provider's own policy reads. ``formula`` is the scalar
    formula behind the function, where there is one.
    """

    domain: str
    op_type: str
    since: int
    function: Function
    traits: frozenset[str] = frozenset()
    formula: Function | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What a kernel may ask about the node it runs for.

    ``wanted`` tells, for each output in order, whether anybody reads it.
    """

    node: Node
    version: int
    wanted: tuple[bool, ...]
    settings: Settings

    @property
    def outputs(self) -> int:
        """How many outputs the node has, unread trailing ones not counted."""
        return max((i + 1 for i, wanted in enumerate(self.wanted) if wanted), default=1)


@dataclass(slots=True)
class KernelTable:
    """Which function implements which operator since which opset.

    ``wrap`` may replace each function when a node is bound, e.g. to compute half
    precision in float32; it is the one place for policy over element types.
    """

    wrap: Wrap | None = None
    _entries: dict[tuple[str, str], list[Kernel]] = field(default_factory=dict)

    def __call__(
        self,
        *op_types: str,
        since: int,
        domain: str = "",
        until: int | None = None,
        traits: Sequence[str] = (),
        formula: Function | None = None,
    ) -> Callable[[Function], Function]:
        """Register a function from one opset version until the next registration.

        ``until`` is the last version it holds for, where no newer one follows.
        """

        def register(function: Function) -> Function:
            for op in op_types:
                marks = frozenset(traits)
                self.add(Kernel(domain, op, since, function, marks, formula, until))
            return function

        return register

    def add(self, kernel: Kernel) -> None:
        """Register one kernel; twice the same version is an error."""
        versions = self._entries.setdefault((kernel.domain, kernel.op_type), [])
        if any(other.since == kernel.since for other in versions):
            raise ValueError(
                f"{kernel.op_type} since opset {kernel.since} is registered twice"
            )
        versions.append(kernel)
        versions.sort(key=lambda entry: entry.since)

    def include(self, other: KernelTable) -> None:
        """Add everything another table holds."""
        for kernel in other:
            self.add(kernel)

    def __iter__(self) -> Iterator[Kernel]:
        for versions in self._entries.values():
            yield from versions

    def find(self, domain: str, op_type: str, version: int) -> Kernel | None:
        """Return the newest kernel not newer than an opset version."""
        versions = self._entries.get((domain, op_type), [])
        index = bisect_right(versions, version, key=lambda entry: entry.since)
        kernel = versions[index - 1] if index else None
        expired = kernel and kernel.until is not None and version > kernel.until
        return None if expired else kernel

    def refuses(self, node: Node) -> str:
        """Say why a node cannot run by this table, or return ``""``."""
        key = (node.domain, node.op_type)
        if self.find(*key, node.version) is not None:
            return ""
        domain = f" of domain {node.domain}" if node.domain else ""
        if key not in self._entries:
            return f"no kernel for {node.op_type}{domain}"
        known = ", ".join(str(kernel.since) for kernel in self._entries[key])
        return (
            f"no kernel for {node.op_type}{domain} at opset {node.version}; "
            f"kernels begin at {known}"
        )

    def capability(
        self, nodes: Sequence[Node], device: Device = HOST
    ) -> Iterator[Claim | Refusal]:
        """Claim every node there is a kernel for; refuse the others with the reason."""
        for node in nodes:
            if reason := self.refuses(node):
                yield Refusal(node, reason)
            else:
                yield Claim((node,), device, body_host=bool(node.bodies))

    def bind(
        self,
        node: Node,
        settings: Settings | None = None,
        wanted: tuple[bool, ...] | None = None,
    ) -> Function:
        """Return a function of the node's inputs with every attribute filled in.

        Graph attributes are left open: the caller gives them as keywords, each a
        function of the body's inputs. Raises `Unsupported` where there is no kernel or
        it lacks an attribute.
        """
        kernel = self.find(node.domain, node.op_type, node.version)
        if kernel is None:
            raise Unsupported(self.refuses(node))
        attributes = {
            name: _plain(entry.kind, entry.value)
            for name, entry in node.attributes.items()
            if entry.kind is not AttributeKind.GRAPH
        }
        accepted = _keywords(kernel.function)
        unknown = [name for name in attributes if name not in accepted]
        if unknown and "*" not in accepted:
            raise Unsupported(f"{node.op_type} has no attribute {unknown[0]!r}")
        if "call" in accepted:
            if wanted is None:
                wanted = tuple(bool(value.name) for value in node.outputs)
            attributes["call"] = Call(
                node, node.version, wanted, settings or Settings()
            )
        function = kernel.function
        if attributes:
            function = partial(function, **attributes)
        if self.wrap is None or node.bodies:
            return function
        return self.wrap(kernel, node, function)

    def executable(self, partition: Partition, settings: Settings) -> TableExecutable:
        """Compile a partition into calls of this table's kernels."""
        return TableExecutable(self, partition, settings)


def _keywords(function: Function) -> frozenset[str]:
    names = set()
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            names.add(parameter.name)
        elif parameter.kind is parameter.VAR_KEYWORD:
            names.add("*")
    return frozenset(names)


def _plain(kind: AttributeKind, value: Any) -> Any:
    if isinstance(value, (Tensor, SparseTensor)):
        return value.numpy()
    if kind in (AttributeKind.TENSORS, AttributeKind.SPARSE_TENSORS):
        return tuple(item.numpy() for item in value)
    return value


@dataclass(frozen=True, slots=True)
class _Step:
    node: Node
    run: Function
    bodies: tuple[tuple[str, Function], ...]
    inputs: tuple[int | None, ...]
    captures: tuple[int, ...]
    outputs: tuple[int | None, ...]
    frees: tuple[int, ...]


class TableExecutable:
    """Runs a partition's nodes one after another by a table's kernels."""

    concurrent = True

    def __init__(
        self, table: KernelTable, partition: Partition, settings: Settings
    ) -> None:
        self._slots: dict[Value, int] = {}
        self._template: list[Any] = []
        self.weights: dict[str, str] = {}
        for value in partition.inputs:
            self._slot(value)
        for value in partition.constants:
            self._template[self._slot(value)] = value.constant()
            self.weights[value.name] = "kept"
        wanted = _wanted(partition)
        self._steps = [
            self._step(table, node, wanted, partition, settings)
            for node in partition.nodes
        ]
        self._outputs = tuple(self._slots[value] for value in partition.outputs)
        self._provider = partition.provider
        self._plan_frees()

    def _slot(self, value: Value) -> int:
        if value not in self._slots:
            self._slots[value] = len(self._slots)
            self._template.append(None)
        return self._slots[value]

    def _step(
        self,
        table: KernelTable,
        node: Node,
        wanted: set[Value],
        partition: Partition,
        settings: Settings,
    ) -> _Step:
        marks = tuple(value in wanted for value in node.outputs)
        bodies = tuple((name, partition.bodies[node, name]) for name, _ in node.bodies)
        return _Step(
            node,
            table.bind(node, settings, marks),
            bodies,
            tuple(
                None if value is None else self._slot(value) for value in node.inputs
            ),
            tuple(self._slot(value) for value in node.captures),
            tuple(
                self._slot(value) if mark else None
                for value, mark in zip(node.outputs, marks, strict=True)
            ),
            (),
        )

    def _plan_frees(self) -> None:
        kept = {i for i, value in enumerate(self._template) if value is not None}
        seen = kept | set(self._outputs)
        for index in reversed(range(len(self._steps))):
            step = self._steps[index]
            touched = (*step.inputs, *step.captures, *step.outputs)
            last = {slot for slot in touched if slot is not None and slot not in seen}
            seen |= last
            self._steps[index] = replace(step, frees=tuple(last))

    def run(
        self, inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> list[Any]:
        """Run every kernel in order; the cancel flag is polled before each."""
        values = self._template.copy()
        values[: len(inputs)] = inputs
        for step in self._steps:
            if context.stopped():
                raise Cancelled(f"stopped before {step.node.label}, as asked")
            self._call(step, values, context)
            for slot in step.frees:
                values[slot] = None
        return filled([values[slot] for slot in self._outputs], outputs)

    def memory(self) -> dict[str, int]:
        """Return the bytes of the constants it keeps, which others may share."""
        return {"weights": sum(getattr(v, "nbytes", 0) for v in self._template)}

    def _call(self, step: _Step, values: list[Any], context: Context) -> None:
        arguments = [None if slot is None else values[slot] for slot in step.inputs]
        bodies = _with_captures(step, values, context) if step.bodies else {}
        began = time.perf_counter_ns() if context.trace is not None else 0
        try:
            results = step.run(*arguments, **bodies)
        except EngineError:
            raise
        except Exception as error:
            raise _explained(step.node, arguments, error) from error
        if type(results) is not tuple:
            results = (results,)
        for slot, result in zip(step.outputs, results, strict=False):
            if slot is not None:
                known = not isinstance(result, np.generic)
                values[slot] = result if known else np.asarray(result)
        if context.trace is not None:
            context.trace.kernel(step.node, self._provider, began, arguments, results)


def _with_captures(
    step: _Step, values: list[Any], context: Context
) -> dict[str, Function]:
    """Give each body the values it reads from outside in this run."""
    captured = [values[slot] for slot in step.captures]

    def call(body: Function, *inputs: Any) -> Any:
        if context.stopped():
            raise Cancelled(f"stopped in {step.node.label}, as asked")
        return body(inputs, captured, context)

    return {name: partial(call, body) for name, body in step.bodies}


def _explained(node: Node, arguments: list[Any], error: Exception) -> ExecutionError:
    from runtime.valuetypes import ELEMENT_TYPES, element_code

    def show(value: Any) -> str:
        if not hasattr(value, "dtype"):
            return "none" if value is None else type(value).__name__
        try:
            name = ELEMENT_TYPES[element_code(value.dtype)].name
        except (KeyError, TypeError):
            name = str(value.dtype)
        return f"{name}{list(value.shape)}"

    found = ", ".join(show(value) for value in arguments)
    kind = LimitExceeded if isinstance(error, MemoryError) else ExecutionError
    return kind(
        f"running {node.op_type} node, name {node.name!r}: {error} (inputs: {found})"
    )


def filled(values: Sequence[Any], buffers: Sequence[Any]) -> list[Any]:
    """Copy results into the caller's buffers, where there are any; all of them or none.

    A result that shares memory with another one's buffer is copied first. Raises
    ``ValueError`` for a buffer of another shape or type, before any is written.
    """
    results = list(values)
    wanted = [(i, b) for i, b in enumerate(buffers) if b is not None]
    for index, buffer in wanted:
        if buffer is not results[index]:
            _check_buffer(results[index], buffer)
    for index, buffer in wanted:
        for other, result in enumerate(results):
            if other == index or not isinstance(result, np.ndarray):
                continue
            if np.may_share_memory(result, buffer):
                results[other] = result.copy()
    for index, buffer in wanted:
        if buffer is not results[index]:
            buffer[...] = results[index]
            results[index] = buffer
    return results


def _check_buffer(value: Any, buffer: Any) -> None:
    if tuple(buffer.shape) != tuple(value.shape) or buffer.dtype != value.dtype:
        raise ValueError(
            f"a result is {value.dtype} of shape {list(value.shape)}, but the memory "
            f"bound to it has the shape {list(buffer.shape)} and type {buffer.dtype}"
        )


def _wanted(partition: Partition) -> set[Value]:
    inside = set(partition.nodes)
    wanted = set(partition.outputs)
    for node in partition.nodes:
        for value in node.outputs:
            if any(_owner(user, inside) for user in value.users):
                wanted.add(value)
    return wanted


def _owner(user: Node, inside: set[Node]) -> bool:
    """Whether a reader, or the node whose body it stands in, belongs to the partition."""
    return user in inside or user.graph is not next(iter(inside)).graph
