"""The hooks of the Core ML provider."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from runtime.graph import Graph, Node
from runtime.plugin import Claim, Device, Partition, Refusal, hookimpl
from runtime.settings import Settings

from runtime_ep_coreml.build import build
from runtime_ep_coreml.capability import offer
from runtime_ep_coreml.context import Chain, is_compiled, loaded
from runtime_ep_coreml.engine import Loader, load
from runtime_ep_coreml.options import chosen
from runtime_ep_coreml.program import Program


class CoreMlProvider:
    """Claims what can be lowered, and compiles partitions to packages.

    ``loader`` loads a package; by default Core ML does.
    """

    def __init__(self, loader: Loader = load) -> None:
        self._load = loader

    @hookimpl
    def get_capability(
        self, graph: Graph, nodes: Sequence[Node], settings: Settings
    ) -> Iterator[Claim | Refusal]:
        """Look each operator up, and lower each kind of node once on trial."""
        return offer(graph, nodes, chosen(settings))

    @hookimpl
    def compile(self, partition: Partition, settings: Settings) -> Program | Chain:
        """Lower, convert and load; or load what comes compiled."""
        if is_compiled(partition.nodes[0]):
            return loaded(partition, settings, self._load)
        return build(partition, settings, self._load)

    @hookimpl
    def data_transfer(self, source: Device, target: Device) -> None:
        """Nothing: Core ML takes and gives host memory, whatever the device."""

    def compiling_ahead(self) -> AbstractContextManager[Any]:
        """Make packages wherever coremltools is; see `runtime_ep_coreml.ahead`."""
        from runtime_ep_coreml.ahead import making

        return making()


provider = CoreMlProvider()
