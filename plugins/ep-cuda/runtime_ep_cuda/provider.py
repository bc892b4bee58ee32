"""The hooks of the CUDA provider."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from runtime.graph import Graph, Node
from runtime.plugin import Claim, Device, Partition, Refusal, hookimpl
from runtime.settings import Settings

from runtime_ep_cuda import capability, transfer
from runtime_ep_cuda.build import build
from runtime_ep_cuda.options import chosen
from runtime_ep_cuda.program import Program
from runtime_ep_cuda.sessions import session_of


class CudaProvider:
    """Claims what there is a step for, and plans partitions for one GPU."""

    @hookimpl
    def get_capability(
        self, graph: Graph, nodes: Sequence[Node], settings: Settings
    ) -> Iterator[Claim | Refusal]:
        """Claim by operator, element types and ranks."""
        choice = chosen(settings)
        device = Device("cuda", choice.device)
        return capability.offer(graph, nodes, device, choice.cudnn)

    @hookimpl
    def compile(self, partition: Partition, settings: Settings) -> Program:
        """Fuse, plan, compile kernels and choose among the libraries' ways."""
        return build(partition, settings, session_of(partition.graph, settings))

    @hookimpl
    def data_transfer(self, source: Device, target: Device) -> Any:
        """Copy to, from, within and between GPUs."""
        return transfer.between(source, target)


provider = CudaProvider()
