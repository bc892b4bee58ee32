"""Turns a partition into OpenVINO's model, through its reader of ONNX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import onnx
import openvino as ov
from runtime import opsets
from runtime.export import partition_proto
from runtime.graph import Node, Value
from runtime.plugin import Partition, Unsupported

from runtime_ep_openvino.attention import unfold
from runtime_ep_openvino.norms import flatten
from runtime_ep_openvino.tensors import engine, first_line, tensor_over
from runtime_ep_openvino.ties import settle


def common_opset(nodes: Iterable[Node]) -> int:
    """Return the opset of ai.onnx in which most nodes mean what they mean.

    That is the newest, unless the graph was not simplified.
    """
    newest = opsets.newest()
    votes: Counter[int] = Counter()
    for node in nodes:
        if not node.domain:
            same = opsets.means_the_same(node, newest)
            votes[newest if same else node.version] += 1
    return max(votes, key=lambda version: (votes[version], version), default=newest)


def fits(node: Node, opset: int) -> bool:
    """Whether a node and the nodes of its bodies mean the same in an opset."""
    if not node.domain and not opsets.means_the_same(node, opset):
        return False
    return all(fits(inner, opset) for _, body in node.bodies for inner in body)


def proto_of(partition: Partition, opset: int) -> onnx.ModelProto:
    """Write a partition in one opset; large constants become inputs, to be filled later.

    Raises `Unsupported` where the nodes have no opset in common.
    """
    try:
        proto = partition_proto(partition, "types")
    except ValueError as error:
        raise Unsupported(str(error)) from error
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = max(entry.version, opset)
    return proto


def model_of(partition: Partition) -> tuple[ov.Model, set[Value]]:
    """Convert a partition; tell which constants share memory with the initializers.

    Those are the large ones. Raises `Unsupported` with OpenVINO's reason.
    """
    proto = proto_of(partition, common_opset(partition.nodes))
    try:
        model = engine().read_model(proto.SerializeToString())
        unfold(model)
        settle(model)
        flatten(model)
        return model, _give_constants(model, partition.constants)
    except RuntimeError as error:
        raise Unsupported(first_line(error)) from error


def _give_constants(model: ov.Model, constants: Sequence[Value]) -> set[Value]:
    """Put constants that share the initializers' memory in the place of inputs."""
    by_name = {value.name: value for value in constants}
    given = set()
    for port in list(model.inputs):
        for name in port.get_names() & by_name.keys():
            constant = _constant(by_name[name])
            constant.set_friendly_name(name)
            parameter = port.get_node()
            parameter.output(0).replace(constant.output(0))
            model.remove_parameter(parameter)
            given.add(by_name[name])
    if given:
        model.validate_nodes_and_infer_types()
    return given


def _constant(value: Value) -> Any:
    tensor = tensor_over(value.constant(), value.dtype or 1)
    return ov.op.Constant(tensor, shared_memory=True)


def used(value: Value) -> bool:
    """Whether an output of a node is wanted by anybody."""
    return bool(value.name or value.uses)
