"""Providers that do right: a loopback to the CPU's, on a simulated device, from a table."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from runtime.abilities import Context
from runtime.explain import Report
from runtime.graph import Graph, Node
from runtime.kernels import KernelTable
from runtime.plugin import (
    HOST,
    Claim,
    Device,
    Executable,
    Partition,
    Probe,
    ProviderInfo,
    Refusal,
    hookimpl,
)
from runtime.providers import HOST_ALIAS, Providers, Request
from runtime.settings import Settings
from runtime.valuetypes import TensorType

LOOP = Device("loop")


@functools.cache
def _host() -> Providers:
    return Providers.open([Request(HOST_ALIAS)], Settings(), Report())


def host_hook(hook: str, settings: Settings, **arguments: Any) -> Any:
    """Call a hook of the CPU's provider, whose name and options replace one's own."""
    (name,) = _host().names
    if "partition" in arguments:
        part = arguments["partition"]
        arguments["partition"] = replace(part, provider=name, device=HOST)
    own = replace(settings, options=_host().settings(name).options)
    return _host().call(hook, name, settings=own, **arguments)


class Loopback:
    """Claims what it likes of what the CPU's provider claims, and has it run by that.

    With a device other than the host, tensors are moved to a simulated memory first.
    """

    def __init__(
        self,
        name: str = "LoopbackExecutionProvider",
        likes: Callable[[Node], bool] = lambda node: True,
        device: Device = HOST,
        **fields: Any,
    ) -> None:
        self.likes = likes
        self.device = device
        fields.setdefault("probe", lambda: Probe((device,)))
        self.info = ProviderInfo(name, device_kinds=(device.kind,), **fields)

    @hookimpl
    def get_capability(
        self, graph: Graph, nodes: Sequence[Node], settings: Settings
    ) -> Iterable[Claim | Refusal]:
        """Pass the CPU's answers on, for the nodes that are liked."""
        liked = tuple(node for node in nodes if self.likes(node))
        for node in nodes:
            if node not in liked:
                yield Refusal(node, f"{self.info.name} does not like {node.op_type}")
        asked: dict[str, Any] = {"graph": graph, "nodes": liked, "settings": settings}
        for group in host_hook("get_capability", **asked):
            for answer in group:
                yield self._placed(answer) if isinstance(answer, Claim) else answer

    def _placed(self, claim: Claim) -> Claim:
        fits = all(map(_is_dense, claim.nodes)) and not claim.body_host
        return replace(claim, device=self.device if fits else HOST)

    @hookimpl
    def compile(self, partition: Partition, settings: Settings) -> Any:
        """Have the CPU's provider compile it."""
        made = host_hook("compile", settings, partition=partition)
        made = self.executable(made, partition)
        return made if partition.device == HOST else OnDevice(made)

    def executable(self, made: Executable, partition: Partition) -> Any:
        """Return what runs the partition, given what the CPU's provider made of it."""
        return made

    @hookimpl
    def data_transfer(self, source: Device, target: Device) -> Any:
        """Copy to the simulated memory and back."""
        if self.device != HOST and {source, target} == {HOST, self.device}:
            return LoopTransfer(target)
        return None


def _is_dense(node: Node) -> bool:
    values = (*node.inputs, *node.outputs)
    return all(
        isinstance(value.type, TensorType) and value.dtype not in (None, 8)
        for value in values
        if value is not None and (value.name or value.uses)
    )


@dataclass(slots=True)
class LoopArray:
    """An array in the simulated memory; NumPy cannot read it by accident."""

    data: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return tuple(self.data.shape)

    @property
    def dtype(self) -> Any:
        """The array's element type."""
        return self.data.dtype

    @property
    def nbytes(self) -> int:
        """The array's size."""
        return int(self.data.nbytes)

    @property
    def pointer(self) -> int:
        """The array's address on the device."""
        return int(self.data.__array_interface__["data"][0])

    def __array__(self, *arguments: Any, **keywords: Any) -> Any:
        raise TypeError("device memory was read without a transfer")


class LoopTransfer:
    """The full form of a transfer to the simulated memory, or from it."""

    def __init__(self, target: Device) -> None:
        self._up = target != HOST

    def __call__(self, value: Any) -> Any:
        """Copy one value."""
        if self._up:
            return LoopArray(np.array(value, order="C"))
        return value.data.copy()

    def copy(self, source: Any, target: Any = None, stream: Any = None) -> Any:
        """Copy into a value that is there."""
        if target is None:
            return self(source)
        held = target.data if isinstance(target, LoopArray) else target
        held[...] = source.data if isinstance(source, LoopArray) else source
        return target

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """Allocate."""
        made = np.empty(tuple(shape), dtype)
        return LoopArray(made) if self._up else made

    def wrap(self, pointer: int, shape: Sequence[int], dtype: Any) -> Any:
        """Look at memory by its address."""
        size = int(np.prod(tuple(shape))) * np.dtype(dtype).itemsize
        block = (ctypes.c_uint8 * size).from_address(pointer)
        made = np.frombuffer(block, dtype).reshape(tuple(shape))
        return LoopArray(made) if self._up else made

    def synchronize(self) -> None:
        """Do nothing: copies are finished when they return."""


class OnDevice:
    """Runs a host executable on values of the simulated memory."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.concurrent = getattr(inner, "concurrent", True)
        self.weights = dict(inner.weights)

    def run(
        self, inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> list[Any]:
        """Run once, on the device as far as anybody can tell."""
        given = [value.data for value in inputs]
        buffers = [None if buffer is None else buffer.data for buffer in outputs]
        results = self._inner.run(given, buffers, context)
        return [
            LoopArray(self._own(result, given)) if buffer is None else buffer
            for result, buffer in zip(results, outputs, strict=True)
        ]

    @staticmethod
    def _own(result: Any, given: Sequence[Any]) -> Any:
        """Return memory of a result's own: a kernel may return its input."""
        shared = any(np.may_share_memory(result, value) for value in given)
        return np.array(result) if shared else result


kernels = KernelTable()


@kernels("Add", since=7)
def _add(a: Any, b: Any, /) -> Any:
    return np.add(a, b)


@kernels("Mul", since=7)
def _mul(a: Any, b: Any, /) -> Any:
    return np.multiply(a, b)


@kernels("Relu", since=6)
def _relu(x: Any, /) -> Any:
    return np.maximum(x, x.dtype.type(0))


@kernels("LeakyRelu", since=6)
def _leaky_relu(x: Any, /, *, alpha: float = 0.01) -> Any:
    return np.where(x < 0, x * x.dtype.type(alpha), x)


class Table:
    """A whole provider, made of a kernel table alone."""

    info = ProviderInfo("TableExecutionProvider")

    @hookimpl
    def get_capability(self, nodes: Sequence[Node]) -> Iterable[Claim | Refusal]:
        """Claim what the table has a function for."""
        return kernels.capability(nodes)

    @hookimpl
    def compile(self, partition: Partition, settings: Settings) -> Any:
        """Call the functions one after another."""
        return kernels.executable(partition, settings)


loopback = Loopback()
loopback_device = Loopback("LoopDeviceExecutionProvider", device=LOOP)
table = Table()
