"""Who was given which nodes, in the form onnxruntime tells it."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.explain import Placement


@dataclass(frozen=True, slots=True)
class OrtEpAssignedNode:
    """One node as it is executed."""

    name: str
    domain: str
    op_type: str


@dataclass(frozen=True, slots=True)
class OrtEpAssignedSubgraph:
    """The nodes of one partition and the provider that runs them."""

    ep_name: str
    _nodes: tuple[OrtEpAssignedNode, ...]

    def get_nodes(self) -> list[OrtEpAssignedNode]:
        """Return the nodes, in the order they run."""
        return list(self._nodes)


def assignment_of(placement: Placement) -> list[OrtEpAssignedSubgraph]:
    """Return every partition of a session, bodies of control flow included."""
    return [
        OrtEpAssignedSubgraph(
            part.provider,
            tuple(
                OrtEpAssignedNode(node.name, node.domain, node.op_type)
                for node in placement.nodes
                if node.partition == part.index
            ),
        )
        for part in placement.partitions
    ]
