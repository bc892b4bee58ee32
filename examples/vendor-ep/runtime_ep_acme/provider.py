"""The hooks: which nodes the device takes, how they compile, how values get there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runtime.graph import Graph, Node
from runtime.match import Any, Index, Op, explain
from runtime.plugin import HOST, Claim, Device, Partition, Refusal, hookimpl
from runtime.settings import Settings

from runtime_ep_acme.executable import Layers
from runtime_ep_acme.info import DEVICES
from runtime_ep_acme.memory import Transfer

LAYER = Op("Relu", Op("Add", Op("MatMul", Any("x"), Any("w")), Any("b")))
FLOAT = 1  # ONNX's number for float32


class AcmeProvider:
    """Takes MatMul + Add + Relu in float32, whole or not at all."""

    @hookimpl
    def get_capability(
        self, graph: Graph, nodes: Sequence[Node], settings: Settings
    ) -> Iterator[Claim | Refusal]:
        """Claim every layer among the free nodes; say why not, for all others."""
        device = DEVICES[settings.options["device_id"]]
        left = dict.fromkeys(nodes)
        for match in Index(graph).find(LAYER):
            if match["x"].dtype == FLOAT and all(node in left for node in match.nodes):
                yield Claim(match.nodes, device, fused=True)
                for node in match.nodes:
                    del left[node]
        for node in left:
            yield Refusal(node, _reason(node))

    @hookimpl
    def compile(self, partition: Partition, settings: Settings) -> Layers:
        """Find the layers again, in the partition, and put their weights on the device."""
        order = {node: place for place, node in enumerate(partition.nodes)}
        found = [m for m in Index(partition.graph).find(LAYER) if m.root in order]
        found.sort(key=lambda match: order[match.root])
        return Layers(partition, found, settings.options["accumulate"])

    @hookimpl
    def data_transfer(self, source: Device, target: Device) -> Transfer | None:
        """Copy between the host and these devices, and among these devices."""
        ours = {HOST, *DEVICES}
        return Transfer(target) if source in ours and target in ours else None


def _reason(node: Node) -> str:
    if node.op_type != "Relu":
        return f"{node.op_type} runs here only as a part of MatMul + Add + Relu"
    return explain(LAYER, node) or "only float32 runs here"


provider = AcmeProvider()
