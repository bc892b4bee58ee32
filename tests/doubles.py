"""Providers for tests: choosy ones, a device with memory of its own, ones that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from runtime.abilities import Context
from runtime.graph import Node
from runtime.plugin import (
    HOST,
    Claim,
    Device,
    Partition,
    Probe,
    ProviderInfo,
    Refusal,
    hookimpl,
)
from runtime_ep_cpu.ops import table


def describe(name: str, **fields: Any) -> ProviderInfo:
    """Return a provider's info whose probe succeeds on the host."""
    fields.setdefault("probe", lambda: Probe((HOST,)))
    return ProviderInfo(name, **fields)


class Choosy:
    """Runs the operators it likes, on the host, by the CPU provider's kernels."""

    def __init__(
        self,
        name: str,
        likes: Iterable[str] | Callable[[Node], bool],
        fused: bool = False,
        **fields: Any,
    ) -> None:
        names = frozenset(likes) if not callable(likes) else frozenset()
        self.likes = likes if callable(likes) else lambda node: node.op_type in names
        self.fused = fused
        self.info = describe(name, **fields)
        self.compiled: list[Partition] = []

    @hookimpl
    def get_capability(self, nodes: tuple[Node, ...]) -> Iterable[Claim | Refusal]:
        liked = [node for node in nodes if self.likes(node)]
        if self.fused and liked:
            yield Claim(tuple(liked), fused=True)
        for node in nodes:
            if node in liked and not self.fused:
                yield Claim((node,), body_host=bool(node.bodies))
            elif node not in liked:
                yield Refusal(node, f"{self.info.name} does not like {node.op_type}")

    @hookimpl
    def compile(self, partition: Partition, settings: Any) -> Any:
        self.compiled.append(partition)
        return table.executable(partition, settings)


class Failing(Choosy):
    """Claims everything it likes and raises at one stage."""

    def __init__(self, name: str, stage: str, likes: Iterable[str]) -> None:
        probe = self._probe if stage == "probe" else lambda: Probe((HOST,))
        super().__init__(name, likes, probe=probe)
        self.stage = stage

    def _probe(self) -> Probe:
        raise OSError("the driver is on fire")

    @hookimpl
    def get_capability(self, nodes: tuple[Node, ...]) -> Iterable[Claim | Refusal]:
        if self.stage == "get_capability":
            raise OSError("the driver is on fire")
        return list(Choosy.get_capability(self, nodes))

    @hookimpl
    def compile(self, partition: Partition, settings: Any) -> Any:
        if self.stage == "compile":
            raise OSError("the driver is on fire")
        made = Choosy.compile(self, partition, settings)
        return made if self.stage != "run" else _raise


def _raise(*arrays: Any) -> Any:
    raise OSError("the driver is on fire")


@dataclass
class Remote:
    """An array in the simulated device's memory; NumPy cannot read it by accident."""

    data: np.ndarray[Any, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The array's element type."""
        return self.data.dtype

    @property
    def nbytes(self) -> int:
        """The array's size."""
        return self.data.nbytes

    @property
    def pointer(self) -> int:
        """The array's address on the device."""
        return int(self.data.__array_interface__["data"][0])

    def __array__(self, *args: Any, **keywords: Any) -> Any:
        raise TypeError("device memory read without a transfer")


class _Transfer:
    """A full transfer that counts what crosses."""

    def __init__(self, owner: DeviceProvider, up: bool) -> None:
        self._owner = owner
        self._up = up

    def __call__(self, value: Any) -> Any:
        self._owner.uploads += self._up
        self._owner.downloads += not self._up
        if self._up:
            return Remote(np.array(value))
        return value.data.copy()

    def copy(self, source: Any, target: Any = None, stream: Any = None) -> Any:
        made = self(source)
        if target is None:
            return made
        target.data[...] = made.data
        return target

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Remote:
        return Remote(np.empty(shape, dtype))

    def wrap(self, pointer: int, shape: tuple[int, ...], dtype: Any) -> Remote:
        import ctypes

        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        block = (ctypes.c_uint8 * size).from_address(pointer)
        return Remote(np.frombuffer(block, dtype).reshape(shape))


class DeviceProvider:
    """Runs the operators it likes on a simulated device with memory of its own."""

    def __init__(
        self, name: str, likes: Iterable[str], kind: str = "sim", **fields: Any
    ) -> None:
        self.likes = frozenset(likes)
        self.device = Device(kind)
        self.info = describe(
            name, device_kinds=(kind,), probe=lambda: Probe((self.device,)), **fields
        )
        self.uploads = 0
        self.downloads = 0

    @hookimpl
    def get_capability(self, nodes: tuple[Node, ...]) -> Iterable[Claim | Refusal]:
        for node in nodes:
            if node.op_type in self.likes:
                yield Claim((node,), self.device)
            else:
                yield Refusal(node, f"no device kernel for {node.op_type}")

    @hookimpl
    def compile(self, partition: Partition, settings: Any) -> Any:
        return DeviceExecutable(table.executable(partition, settings))

    @hookimpl
    def data_transfer(self, source: Device, target: Device) -> Any:
        if (source, target) == (HOST, self.device):
            return _Transfer(self, up=True)
        if (source, target) == (self.device, HOST):
            return _Transfer(self, up=False)
        return None


class DeviceExecutable:
    """Computes on `Remote` arrays and fills the buffers it is given."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def run(self, inputs: Any, outputs: Any, context: Context) -> list[Remote]:
        arrays = [value.data for value in inputs]
        results = self._inner.run(arrays, [None] * len(outputs), context)
        made = []
        for result, buffer in zip(results, outputs, strict=True):
            if buffer is None:
                made.append(Remote(np.array(result)))
            else:
                buffer.data[...] = result
                made.append(buffer)
        return made


class Saving(Choosy):
    """Saves what it compiles, and runs the ``EPContext`` nodes that carry it."""

    def __init__(self, name: str, likes: Iterable[str]) -> None:
        liked = frozenset(likes)
        super().__init__(name, lambda n: n.op_type in liked or self._is_mine(n))

    def _is_mine(self, node: Node) -> bool:
        source = node.attribute("source")
        return node.op_type == "EPContext" and source == self.info.name

    @hookimpl
    def compile(self, partition: Partition, settings: Any) -> Any:
        if partition.nodes[0].op_type != "EPContext":
            return _Saved(partition, Choosy.compile(self, partition, settings))
        import onnx
        from onnx.reference import ReferenceEvaluator

        data = partition.nodes[0].attribute("ep_cache_context")
        model = onnx.ModelProto.FromString(data.encode("utf-8", "surrogateescape"))
        names = [value.name for value in model.graph.input]
        evaluate = ReferenceEvaluator(model)

        def run(*arrays: Any) -> Any:
            return tuple(evaluate.run(None, dict(zip(names, arrays, strict=True))))

        return run


class _Saved:
    """An executable that hands out its partition as a model."""

    def __init__(self, partition: Partition, executable: Any) -> None:
        self._partition = partition
        self._executable = executable

    def run(self, inputs: Any, outputs: Any, context: Context) -> Any:
        return self._executable.run(inputs, outputs, context)

    def export(self) -> bytes:
        from runtime.export import partition_proto

        data: bytes = partition_proto(self._partition).SerializeToString()
        return data
