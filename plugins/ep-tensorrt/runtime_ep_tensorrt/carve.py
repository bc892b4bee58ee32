"""Carves a partition out of the graph as a model of its own, for TensorRT's parser."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs
from onnx import ModelProto
from runtime.export import partition_proto
from runtime.graph import Node
from runtime.opsets import lowest, means_the_same
from runtime.plugin import Partition, Unsupported

from runtime_ep_tensorrt.operators import OPSETS


def carved(partition: Partition, name: str) -> ModelProto:
    """Return a partition as a model, without what its outputs do not need.

    Inputs and outputs are the partition's, in order. Raises `Unsupported` where no
    version of the standard can say what the nodes mean.
    """
    try:
        proto = partition_proto(partition, "inline", name)
    except ValueError as error:
        raise Unsupported(str(error)) from error
    graph = gs.import_onnx(proto)
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    made: ModelProto = gs.export_onnx(graph, do_type_check=False)
    made.ir_version = proto.ir_version
    del made.opset_import[:]
    for entry in proto.opset_import:
        version = entry.version if entry.domain else newest(partition.nodes)
        made.opset_import.add(domain=entry.domain, version=version or entry.version)
    return made


def newest(nodes: Sequence[Node]) -> int:
    """Return the newest opset that the parser takes and that says what nodes mean, or 0.

    The newest has the most element types: convolutions of bfloat16 came with opset 22.
    """
    ours = [node for node in nodes if not node.domain]
    ours += [n for node in nodes for _, body in node.bodies for n in body]
    least = max(map(lowest, ours), default=1)
    for version in reversed(OPSETS):
        if version >= least and all(means_the_same(node, version) for node in ours):
            return version
    return 0
