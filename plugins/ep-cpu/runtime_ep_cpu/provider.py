"""The hooks of the CPU provider: it runs whatever its kernel table has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runtime.kernels import TableExecutable
from runtime.graph import Node
from runtime.plugin import Claim, Device, Partition, Refusal, hookimpl
from runtime.settings import Settings

from runtime_ep_cpu.ops import table


class CpuProvider:
    """Claims every node there is a kernel for and runs it with NumPy on the host."""

    @hookimpl
    def get_capability(self, nodes: Sequence[Node]) -> Iterator[Claim | Refusal]:
        """Claim by operator and opset; element types are the kernels' affair."""
        return table.capability(nodes)

    @hookimpl
    def compile(self, partition: Partition, settings: Settings) -> TableExecutable:
        """Bind each node to its kernel."""
        return table.executable(partition, settings)

    @hookimpl
    def data_transfer(self, source: Device, target: Device) -> None:
        """Nothing: values of this provider are on the host already."""


provider = CpuProvider()
