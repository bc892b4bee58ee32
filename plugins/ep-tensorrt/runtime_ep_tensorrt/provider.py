"""The hooks of the TensorRT provider."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from runtime.graph import Graph, Node
from runtime.plugin import Claim, Device, Partition, Refusal, hookimpl
from runtime.settings import Settings
from runtime_ep_cuda import devices, transfer

from runtime_ep_tensorrt import adapter, capability, sessions
from runtime_ep_tensorrt.context import Chain
from runtime_ep_tensorrt.options import chosen
from runtime_ep_tensorrt.program import Program


class TensorrtProvider:
    """Claims what TensorRT's parser takes, and builds engines of it."""

    @hookimpl
    def get_capability(
        self, graph: Graph, nodes: Sequence[Node], settings: Settings
    ) -> Iterator[Claim | Refusal]:
        """Look operators up in the parser's list, then ask the parser."""
        choice = chosen(settings)

        def supports(model: bytes) -> list[tuple[bool, list[int]]]:
            with devices.opened(choice.device).using(0):
                return adapter.opened().supports(model)

        return capability.offer(graph, nodes, choice, supports)

    @hookimpl
    def compile(self, partition: Partition, settings: Settings) -> Program | Chain:
        """Load the engine, or build it as soon as its shapes are known."""
        return sessions.build(partition, settings)

    @hookimpl
    def data_transfer(self, source: Device, target: Device) -> Any:
        """Copy to, from, within and between GPUs, as the CUDA provider does."""
        return transfer.between(source, target)


provider = TensorrtProvider()
