"""The way back: a `Model`, or one partition of it, as an ONNX ModelProto."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import onnx

from runtime import opsets
from runtime.graph import (
    Attribute,
    Function,
    Graph,
    Model,
    Node,
    SparseTensor,
    Tensor,
    Value,
)
from runtime.plugin import Partition
from runtime.valuetypes import (
    ELEMENT_TYPES,
    MapType,
    OpaqueType,
    OptionalType,
    SequenceType,
    TensorType,
    Type,
)

Weights = Literal["keep", "inline", "types"]
"""``keep``: as found, external ones stay external; ``inline``: all data in the proto;
``types``: large initializers become graph inputs, for shape inference."""

SMALL = 256
"""Elements up to which ``types`` keeps an initializer's data: shapes, axes, scalars."""


def to_proto(model: Model, weights: Weights = "keep") -> onnx.ModelProto:
    """Write a model as protobuf; what was loaded and not changed comes back unchanged."""
    proto = onnx.ModelProto(ir_version=model.ir_version)
    _texts(
        proto,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        domain=model.domain,
        doc_string=model.doc_string,
    )
    if model.model_version is not None:
        proto.model_version = model.model_version
    _metadata(proto.metadata_props, model.metadata)
    writer = _Writer(model.graph, weights)
    for domain, version in _opsets(model).items():
        proto.opset_import.add(domain=domain, version=version)
    writer.graph(model.graph, proto.graph)
    for function in model.functions.values():
        _Writer(function.graph, weights).function(function, proto.functions.add())
    if model.extra:
        proto.training_info.extend(model.extra)
    return proto


def partition_proto(
    partition: Partition, weights: Weights = "inline", name: str = "partition"
) -> onnx.ModelProto:
    """Write one partition as a model of its own.

    Its graph inputs and outputs are the partition's, in order, under their value names;
    constants become initializers.
    """
    proto = onnx.ModelProto(ir_version=10)
    for domain, version in _lowest_opsets(partition.nodes).items():
        proto.opset_import.add(domain=domain, version=version)
    writer = _Writer(partition.graph, weights)
    graph = proto.graph
    graph.name = name
    writer.infos(partition.inputs, graph.input)
    for value in partition.constants:
        writer.initializer(value, graph)
    for node in partition.nodes:
        writer.node(node, graph.node)
    writer.infos(partition.outputs, graph.output)
    graph.input.extend(writer.hoisted)
    return proto


def _opsets(model: Model) -> dict[str, int]:
    """Return the file's own imports, or those that the rewritten nodes need."""
    graphs = [*model.graph.all_graphs()]
    nodes = [node for graph in graphs for node in graph]
    if all(model.opsets.get(node.domain, 1) == node.version for node in nodes):
        return model.opsets
    return {**model.opsets, **_lowest_opsets(nodes)}


def _lowest_opsets(nodes: Iterable[Node]) -> dict[str, int]:
    """Return, by domain, the lowest version at which every node means what it means.

    Raises ``ValueError`` naming two nodes that no common version can express.
    """
    lowest: dict[str, int] = {}
    everything = [inner for node in nodes for inner in _with_bodies(node)]
    for node in everything:
        since = opsets.lowest(node)
        lowest[node.domain] = max(lowest.get(node.domain, 1), since)
    for node in everything:
        if not opsets.means_the_same(node, lowest[node.domain]):
            raise ValueError(
                f"{node.label} is written for opset {node.version}, but other nodes "
                f"need opset {lowest[node.domain]}, where {node.op_type} differs"
            )
    return lowest


def _with_bodies(node: Node) -> Iterable[Node]:
    yield node
    for _, body in node.bodies:
        for inner in body:
            yield from _with_bodies(inner)


class _Writer:
    """Writes one main graph and its bodies, giving unnamed values names."""

    def __init__(self, root: Graph, weights: Weights) -> None:
        self._weights = weights
        self._names: dict[Value, str] = {}
        self._taken: set[str] = set()
        self.hoisted: list[onnx.ValueInfoProto] = []
        for graph in root.all_graphs():
            self._taken.update(graph.initializers)
            self._taken.update(value.name for value in graph.inputs)
            self._taken.update(v.name for node in graph for v in node.outputs)

    def name(self, value: Value) -> str:
        """Return the value's name; one that is used but unnamed gets a fresh one."""
        if value.name:
            return value.name
        if value not in self._names:
            number = len(self._names)
            while f"value_{number}" in self._taken:
                number += 1
            self._names[value] = f"value_{number}"
            self._taken.add(f"value_{number}")
        return self._names[value]

    def graph(self, graph: Graph, proto: onnx.GraphProto) -> None:
        """Fill a GraphProto."""
        _texts(proto, name=graph.name, doc_string=graph.doc_string)
        _metadata(proto.metadata_props, graph.metadata)
        proto.quantization_annotation.extend(graph.quantization)
        self.infos(graph.inputs, proto.input)
        for value in graph.initializers.values():
            self.initializer(value, proto)
        public = set(graph.outputs)
        nodes, infos = proto.node, proto.value_info
        for node in graph:
            self.node(node, nodes)
            for value in node.outputs:
                if value.type is not None and value not in public:
                    self.info(value, infos.add())
        self.infos(graph.outputs, proto.output)
        if self.hoisted and not graph.captures:
            proto.input.extend(self.hoisted)
            self.hoisted = []

    def initializer(self, value: Value, proto: onnx.GraphProto) -> None:
        """Add an initializer, or only its type, as the mode asks."""
        const = value.const
        if isinstance(const, SparseTensor):
            sparse = proto.sparse_initializer.add()
            self.sparse(const, sparse)
            sparse.values.name = value.name
        elif isinstance(const, Tensor):
            if self._weights == "types" and const.size > SMALL:
                if not value.overridable:
                    kind = TensorType(const.dtype, const.shape)
                    self.hoisted.append(
                        onnx.ValueInfoProto(name=value.name, type=write_type(kind))
                    )
                return
            self.tensor(const, proto.initializer.add())
            proto.initializer[-1].name = value.name

    def node(self, node: Node, nodes: Any) -> None:
        """Add one node with its bodies to a field."""
        proto = nodes.add(
            op_type=node.op_type,
            input=["" if v is None else v.name or self.name(v) for v in node.inputs],
            output=[
                v.name or (self.name(v) if v.uses or _public(v) else "")
                for v in node.outputs
            ],
        )
        _texts(
            proto,
            domain=node.domain,
            name=node.name,
            overload=node.overload,
            doc_string=node.doc_string,
        )
        if node.metadata:
            _metadata(proto.metadata_props, node.metadata)
        for name, entry in node.attributes.items():
            self.attribute(name, entry, proto.attribute.add())

    def attribute(
        self, name: str, entry: Attribute, proto: onnx.AttributeProto
    ) -> None:
        """Fill an AttributeProto."""
        proto.name = name
        proto.type = int(entry.kind)
        _texts(proto, doc_string=entry.doc_string)
        if entry.reference:
            proto.ref_attr_name = entry.reference
            return
        value = entry.value
        match entry.kind.name:
            case "FLOAT":
                proto.f = value
            case "INT":
                proto.i = value
            case "STRING":
                proto.s = _bytes(value)
            case "TENSOR":
                self.tensor(value, proto.t)
            case "GRAPH":
                self.graph(value, proto.g)
            case "FLOATS":
                proto.floats.extend(value)
            case "INTS":
                proto.ints.extend(value)
            case "STRINGS":
                proto.strings.extend(_bytes(item) for item in value)
            case "TENSORS":
                for item in value:
                    self.tensor(item, proto.tensors.add())
            case "GRAPHS":
                for item in value:
                    self.graph(item, proto.graphs.add())
            case "SPARSE_TENSOR":
                self.sparse(value, proto.sparse_tensor)
            case "SPARSE_TENSORS":
                for item in value:
                    self.sparse(item, proto.sparse_tensors.add())
            case "TYPE_PROTO":
                proto.tp.CopyFrom(write_type(value))
            case "TYPE_PROTOS":
                proto.type_protos.extend(write_type(item) for item in value)

    def tensor(self, tensor: Tensor, proto: onnx.TensorProto) -> None:
        """Fill a TensorProto; what was loaded is written as it was found."""
        source = tensor.source
        if source is not None:
            proto.CopyFrom(source)
            external = source.data_location == onnx.TensorProto.EXTERNAL
            if external and self._weights != "keep":
                proto.ClearField("external_data")
                proto.ClearField("data_location")
                proto.raw_data = raw_bytes(tensor)
            elif not external and not _has_data(source):
                proto.raw_data = raw_bytes(tensor)
            return
        proto.name = tensor.name
        proto.data_type = tensor.dtype
        proto.dims.extend(tensor.shape)
        if ELEMENT_TYPES[tensor.dtype].name == "string":
            proto.string_data.extend(_bytes(s) for s in tensor.numpy().reshape(-1))
        else:
            proto.raw_data = raw_bytes(tensor)

    def sparse(self, tensor: SparseTensor, proto: onnx.SparseTensorProto) -> None:
        """Fill a SparseTensorProto."""
        self.tensor(tensor.values, proto.values)
        self.tensor(tensor.indices, proto.indices)
        proto.dims.extend(tensor.shape)

    def function(self, function: Function, proto: onnx.FunctionProto) -> None:
        """Fill a FunctionProto."""
        _texts(
            proto,
            domain=function.domain,
            name=function.name,
            overload=function.overload,
            doc_string=function.doc_string,
        )
        _metadata(proto.metadata_props, function.metadata)
        proto.input.extend(value.name for value in function.graph.inputs)
        proto.output.extend(self.name(value) for value in function.graph.outputs)
        proto.attribute.extend(function.attributes)
        for name, entry in function.defaults.items():
            self.attribute(name, entry, proto.attribute_proto.add())
        for domain, version in function.opsets.items():
            proto.opset_import.add(domain=domain, version=version)
        for node in function.graph:
            self.node(node, proto.node)
            typed = [value for value in node.outputs if value.type is not None]
            self.infos(typed, proto.value_info)

    def info(self, value: Value, proto: onnx.ValueInfoProto) -> None:
        """Fill a ValueInfoProto: a value's name, type and notes."""
        proto.name = value.name or self.name(value)
        if value.doc_string:
            proto.doc_string = value.doc_string
        if value.type is not None:
            _write_type(value.type, proto.type)
        if value.metadata:
            _metadata(proto.metadata_props, value.metadata)

    def infos(self, values: Iterable[Value], field: Any) -> None:
        """Add a ValueInfoProto for each value to a field."""
        for value in values:
            self.info(value, field.add())


def _public(value: Value) -> bool:
    producer = value.producer
    graph = producer.graph if producer is not None else None
    return graph is not None and value in graph.outputs


def _has_data(proto: onnx.TensorProto) -> bool:
    if proto.HasField("raw_data"):
        return True
    fields: Sequence[Any] = (
        proto.float_data, proto.int32_data, proto.string_data, proto.int64_data,
        proto.double_data, proto.uint64_data,
    )  # fmt: skip
    return any(fields) or 0 in proto.dims


def raw_bytes(tensor: Tensor) -> bytes:
    """Return a tensor's data as ONNX lays it out: little-endian, small types packed."""
    array, bits = tensor.numpy(), ELEMENT_TYPES[tensor.dtype].bits
    if bits >= 8:
        return array.tobytes()
    packed: bytes = onnx.numpy_helper.from_array(array).raw_data
    return packed


def _bytes(text: str) -> bytes:
    return str(text).encode("utf-8", "surrogateescape")


def _texts(proto: Any, **fields: str) -> None:
    """Set the string fields that say something: presence of an empty one means nothing."""
    for name, text in fields.items():
        if text:
            setattr(proto, name, text)


def _metadata(field: Any, entries: Mapping[str, str]) -> None:
    for key, value in entries.items():
        field.add(key=key, value=value)


def write_type(kind: Type | None) -> onnx.TypeProto:
    """Turn our type into a TypeProto."""
    proto = onnx.TypeProto()
    if kind is not None:
        _write_type(kind, proto)
    return proto


def _write_type(kind: Type, proto: onnx.TypeProto) -> None:
    if kind.denotation:
        proto.denotation = kind.denotation
    match kind:
        case TensorType():
            target = proto.sparse_tensor_type if kind.sparse else proto.tensor_type
            _write_tensor_type(kind, target)
        case SequenceType():
            proto.sequence_type.elem_type.CopyFrom(write_type(kind.element))
        case OptionalType():
            proto.optional_type.elem_type.CopyFrom(write_type(kind.element))
        case MapType():
            proto.map_type.key_type = kind.key
            proto.map_type.value_type.CopyFrom(write_type(kind.value))
        case OpaqueType():
            proto.opaque_type.domain = kind.domain
            proto.opaque_type.name = kind.name


def _write_tensor_type(kind: TensorType, proto: Any) -> None:
    proto.elem_type = kind.dtype
    if kind.shape is None:
        return
    shape = proto.shape
    shape.SetInParent()
    for index, dim in enumerate(kind.shape):
        entry = shape.dim.add()
        if isinstance(dim, int):
            entry.dim_value = dim
        elif dim:
            entry.dim_param = dim
        if kind.denotations and kind.denotations[index]:
            entry.denotation = kind.denotations[index]
