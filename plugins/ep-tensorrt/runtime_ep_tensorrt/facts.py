"""What a subgraph's protobuf says about its values: types, constants, makers, readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

FLOAT, HALF, BFLOAT16, DOUBLE = 1, 10, 16, 11
SMALL = 256
"""Elements up to which a constant's numbers may tell the shape of something."""


class Facts:
    """A model seen from its values' names.

    ``types`` are element types; a value of no tensor type has none.
    """

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.nodes: list[NodeProto] = list(graph.node)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = {value.name: value for value in graph.input}
        self.outputs = {value.name: value for value in graph.output}
        self.types = element_types(model)
        self.producers = {
            name: index
            for index, node in enumerate(self.nodes)
            for name in node.output
            if name
        }

    def is_float(self, name: str) -> bool:
        """Whether a value is float32."""
        return self.types.get(name) == FLOAT

    @cached_property
    def names(self) -> set[str]:
        """Every name in use, those within bodies too."""
        found = set(self.types) | set(self.producers)
        for node in self.nodes:
            found.update(*(names_in(body) for body in bodies(node)))
        return found

    def rank(self, name: str) -> int | None:
        """Return the number of an input's axes, where it is known."""
        kind = self.inputs[name].type.tensor_type
        return len(kind.shape.dim) if kind.HasField("shape") else None


def element_types(model: ModelProto) -> dict[str, int]:
    """Return the element type of every tensor, by ONNX's inference on a weightless copy.

    Raises ``ValueError`` where the types of the model contradict each other.
    """
    light = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = light.graph
    graph.name = "types"
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    given = {value.name for value in graph.input}
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims) <= SMALL:
            graph.initializer.append(tensor)
        elif tensor.name not in given:
            graph.input.append(_told(tensor))
    graph.output.extend(onnx.ValueInfoProto(name=v.name) for v in model.graph.output)
    try:
        inferred = onnx.shape_inference.infer_shapes(light, False, False, True).graph
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the types cannot be inferred: {error}") from error
    told = (
        *inferred.input,
        *inferred.value_info,
        *inferred.output,
        *model.graph.output,
    )
    types = {v.name: v.type.tensor_type.elem_type for v in told if v.HasField("type")}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name and name not in types:
                types[name] = _by_schema(node, index, types, opsets)
    return {name: code for name, code in types.items() if code}


def _by_schema(
    node: NodeProto, index: int, types: dict[str, int], opsets: dict[str, int]
) -> int:
    """Return an output's type where inference left it out: that of an input, mostly.

    Raises ``ValueError`` where the schema does not tell.
    """
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
        wanted = _formal(schema.outputs, index).type_str
        for place, name in enumerate(node.input):
            if name in types and _formal(schema.inputs, place).type_str == wanted:
                return types[name]
        return int(attribute(node, "to") or attribute(node, "dtype") or _code(wanted))
    except (KeyError, IndexError, onnx.defs.SchemaError) as error:
        name = node.output[index]
        raise ValueError(f"the type of {name!r} cannot be inferred") from error


def _formal(parameters: Any, index: int) -> Any:
    return parameters[min(index, len(parameters) - 1)]


def _code(type_str: str) -> int:
    """Return the code of a type such as ``tensor(int64)``."""
    name = type_str.removeprefix("tensor(").removesuffix(")").upper()
    return int(dict(TensorProto.DataType.items())[name])


def _told(tensor: TensorProto) -> onnx.ValueInfoProto:
    dims = list(tensor.dims)
    return onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, dims)


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs among a node's attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def names_in(graph: GraphProto) -> set[str]:
    """Return every name that occurs in a graph, in those within it too."""
    values: Iterable[Any] = (*graph.input, *graph.output, *graph.initializer)
    found = {value.name for value in values}
    for node in graph.node:
        found.update(node.input, node.output)
        for body in bodies(node):
            found |= names_in(body)
    return found


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Return an attribute's plain value."""
    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default


def lift_constants(model: ModelProto) -> None:
    """Make initializers of the tensors that ``Constant`` nodes hold, in place."""
    kept = []
    for node in model.graph.node:
        value = attribute(node, "value") if node.op_type == "Constant" else None
        if isinstance(value, TensorProto) and not node.domain:
            model.graph.initializer.add().CopyFrom(value)
            model.graph.initializer[-1].name = node.output[0]
        else:
            kept.append(node)
    if len(kept) < len(model.graph.node):
        copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in kept]
        del model.graph.node[:]
        model.graph.node.extend(copies)
