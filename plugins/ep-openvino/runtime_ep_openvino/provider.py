"""The hooks of the OpenVINO provider."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runtime.graph import Node
from runtime.plugin import Claim, Device, Partition, Refusal, hookimpl
from runtime.settings import Settings

from runtime_ep_openvino.build import build
from runtime_ep_openvino.capability import offer
from runtime_ep_openvino.options import chosen
from runtime_ep_openvino.program import Program


class OpenVinoProvider:
    """Claims what OpenVINO converts and supports, and compiles partitions with it."""

    @hookimpl
    def get_capability(
        self, nodes: Sequence[Node], settings: Settings
    ) -> Iterator[Claim | Refusal]:
        """Ask OpenVINO about each kind of node once per process."""
        return offer(nodes, chosen(settings).device)

    @hookimpl
    def compile(self, partition: Partition, settings: Settings) -> Program:
        """Convert, compile and bind."""
        return build(partition, settings)

    @hookimpl
    def data_transfer(self, source: Device, target: Device) -> None:
        """Nothing: OpenVINO takes and gives host memory, whatever the device."""


provider = OpenVinoProvider()
