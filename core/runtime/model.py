"""Reads an ONNX file or its bytes into a `Model`, and checks it against the standard."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from runtime import errors
from runtime.graph import (
    Attribute,
    AttributeKind,
    Function,
    Graph,
    Model,
    Node,
    SparseTensor,
    Tensor,
    Value,
)
from runtime.pieces import FilePieces, Piece
from runtime.schema import STRAY, Demands, demands, domains, operators, versions
from runtime.settings import Settings
from runtime.valuetypes import (
    ELEMENT_TYPES,
    Dim,
    MapType,
    OpaqueType,
    OptionalType,
    SequenceType,
    TensorType,
    Type,
    nbytes,
    numpy_dtype,
)
from runtime.weights import (
    STORE,
    Buffer,
    ExternalData,
    View,
    decode,
    drop_pages,
    split,
)

Source = str | os.PathLike[str] | bytes

_KINDS = {int(kind): kind for kind in AttributeKind}


def load(source: Source, settings: Settings | None = None) -> Model:
    """Read a model from a path or from bytes.

    Large initializers stay where they are, in the file or the given bytes; `Model.settle`
    reads what is needed of a file that may change. Raises one of
    `runtime.errors` when the file is missing, unreadable, invalid or too new.
    """
    settings = settings or Settings()
    if isinstance(source, bytes):
        path, folder = "", settings.external_data_directory
        data: Buffer | FilePieces = memoryview(source)
    else:
        path = os.fspath(source)
        folder, data = os.path.dirname(path), _open(path)
    if len(data) == 0:
        raise errors.ModelEmpty(
            f"no graph was found in {path or 'the bytes given'!r}: it is empty"
        )
    try:
        skeleton, views = split(data)
    except errors.ModelUnreadable as error:
        raise errors.ModelUnreadable(
            f"{path or 'the bytes given'!r}: {error}"
        ) from None
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(skeleton)
    except Exception as error:
        raise errors.ModelUnreadable(
            f"{path or 'the bytes given'!r} is not an ONNX model: protobuf parsing failed"
        ) from error
    buffers, replaced = settings.external_data_buffers, settings.initializers
    external = ExternalData(folder, buffers, path, replaced)
    model = from_proto(proto, views, external)
    model.path = path
    model.file = data if isinstance(data, FilePieces) else None
    return model


def _open(path: str) -> Buffer | FilePieces:
    if not os.path.exists(path):
        raise errors.ModelNotFound(f"load model from {path} failed: file doesn't exist")
    if not Path(path).is_file():
        raise errors.ModelUnreadable(
            f"load model from {path} failed: it is not a file; protobuf parsing failed"
        )
    return STORE.open(path)


def from_proto(
    proto: onnx.ModelProto,
    views: list[View | None] | None = None,
    external: ExternalData | None = None,
) -> Model:
    """Turn a parsed ModelProto into a `Model`; ``views`` hold initializers taken out."""
    if not proto.HasField("graph"):
        raise errors.ModelEmpty("no graph was found in the protobuf")
    opsets = _opsets(proto.opset_import, proto.ir_version)
    if proto.ir_version > onnx.IR_VERSION:
        raise errors.UnsupportedVersion(
            f"Unsupported model IR version: {proto.ir_version}, max supported IR "
            f"version: {onnx.IR_VERSION}; update the onnx package or save the model for "
            "an older one"
        )
    reader = _Reader(opsets, proto.ir_version, external or ExternalData("", {}))
    graph = reader.graph(proto.graph, {}, views or [])
    model = Model(graph, proto.ir_version, opsets)
    model.producer_name = proto.producer_name
    model.producer_version = proto.producer_version
    model.domain = proto.domain
    if proto.HasField("model_version"):
        model.model_version = proto.model_version
    model.doc_string = proto.doc_string
    model.metadata = _metadata(proto.metadata_props)
    model.extra = list(proto.training_info)
    model.passing = reader.passing
    for function in proto.functions:
        made = reader.function(function)
        model.functions[made.domain, made.name, made.overload] = made
    validate(model)
    return model


def _opsets(imports: Any, ir_version: int) -> dict[str, int]:
    opsets = {
        ("" if entry.domain == "ai.onnx" else entry.domain): entry.version
        for entry in imports
    }
    if "" not in opsets and ir_version < 3:
        opsets[""] = 1
    newest = onnx.defs.onnx_opset_version()
    if opsets.get("", 1) > newest:
        raise errors.UnsupportedVersion(
            f"the model imports opset {opsets['']} of ai.onnx; official support is until "
            f"opset {newest}; update the onnx package or convert the model"
        )
    return opsets


def _metadata(entries: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in entries}


class _Reader:
    """Turns protobuf messages into our graph; knows opsets and where weights lie."""

    def __init__(
        self, opsets: dict[str, int], ir_version: int, external: ExternalData
    ) -> None:
        self._opsets = opsets
        self._ir_version = ir_version
        self._external = external
        self.passing: list[weakref.ref[Tensor]] = []

    def graph(
        self,
        proto: onnx.GraphProto,
        outer: Mapping[str, Value],
        views: list[View | None],
        is_body: bool = False,
    ) -> Graph:
        """Read a graph; ``outer`` are the values visible from surrounding graphs."""
        graph = Graph(proto.name, is_body=is_body)
        graph.doc_string = proto.doc_string
        graph.metadata = _metadata(proto.metadata_props)
        graph.quantization = list(proto.quantization_annotation)
        scope: dict[str, Value] = {}
        for info in proto.input:
            _check_text(info.name)
            value = scope[info.name] = Value(info.name, read_type(info.type))
            value.doc_string, value.metadata = _notes(info)
            graph.inputs.append(value)
        self._initializers(proto, graph, scope, views)
        types = {info.name: info for info in (*proto.value_info, *proto.output)}
        self._declare(proto, scope, types)
        self._connect(proto, graph, scope, outer)
        self._finish(proto, graph, scope, outer)
        return graph

    def _initializers(
        self,
        proto: onnx.GraphProto,
        graph: Graph,
        scope: dict[str, Value],
        views: list[View | None],
    ) -> None:
        def register(name: str, const: Tensor | SparseTensor, kind: TensorType) -> None:
            value = scope.get(name)
            if value is None:
                value = scope[name] = Value(name, kind)
            elif self._ir_version >= 4:
                value.overridable = True
            _check_text(name)
            if name in graph.initializers:
                raise errors.ModelInvalid(f"initializer {name!r} is defined twice")
            value.const = const
            graph.initializers[name] = value

        for index, tensor in enumerate(proto.initializer):
            view = views[index] if index < len(views) else None
            const = self.tensor(tensor, view)
            register(tensor.name, const, TensorType(const.dtype, const.shape))
        for sparse in proto.sparse_initializer:
            made = self.sparse(sparse)
            register(
                sparse.values.name, made, TensorType(made.values.dtype, made.shape)
            )

    def _declare(
        self,
        proto: onnx.GraphProto,
        scope: dict[str, Value],
        types: Mapping[str, Any],
    ) -> None:
        """Create every node's outputs first: order in the file need not be topological."""
        for item in proto.node:
            _check_text(item.name, item.op_type, item.domain, *item.output)
            for name in item.output:
                if not name:
                    continue
                if name in scope:
                    raise errors.ModelInvalid(
                        f"node {item.name!r} ({item.op_type}) defines {name!r}, which "
                        "is already defined; every name is assigned once"
                    )
                value = scope[name] = Value(name)
                if info := types.get(name):
                    value.type = read_type(info.type)
                    value.doc_string, value.metadata = _notes(info)

    def _connect(
        self,
        proto: onnx.GraphProto,
        graph: Graph,
        scope: dict[str, Value],
        outer: Mapping[str, Value],
    ) -> None:
        visible = {**outer, **scope}
        for item in proto.node:
            graph.append(self.node(item, scope, visible))
        graph.sort()

    def _finish(
        self,
        proto: onnx.GraphProto,
        graph: Graph,
        scope: dict[str, Value],
        outer: Mapping[str, Value],
    ) -> None:
        for info in proto.output:
            value = scope.get(info.name)
            if value is None and info.name in outer:
                node = Node(
                    "Identity",
                    [outer[info.name]],
                    version=self._version("", "Identity"),
                )
                value = graph.append(node).outputs[0]
                value.name = info.name
            if value is None:
                raise errors.UndefinedValue(
                    f"graph {graph.name!r} has the output {info.name!r}, which is "
                    "not a graph input, initializer, or output of a node"
                )
            value.type = value.type or read_type(info.type)
            graph.outputs.append(value)

    def _version(self, domain: str, op_type: str) -> int:
        version = self._opsets.get(domain)
        if version is not None:
            return version
        if domain == "":
            raise errors.ModelInvalid(
                f"{op_type} is of domain ai.onnx, but the model imports no opset of it"
            )
        known = versions(domain, op_type)
        self._opsets[domain] = known[-1] if known else 1
        return self._opsets[domain]

    def node(
        self,
        item: onnx.NodeProto,
        scope: Mapping[str, Value],
        visible: dict[str, Value],
    ) -> Node:
        """Read one node whose outputs are already in scope."""
        domain = "" if item.domain == "ai.onnx" else item.domain
        inputs: list[Value | None] = []
        for name in item.input:
            if name and name not in visible:
                raise errors.UndefinedValue(
                    f"invalid model: node {item.name!r} ({item.op_type}) reads "
                    f"{name!r}, which is not a graph input, initializer, or output of "
                    "a previous node"
                )
            inputs.append(visible[name] if name else None)
        _check_text(*(entry.name for entry in item.attribute))
        attributes = {
            entry.name: self.attribute(entry, visible) for entry in item.attribute
        }
        node = Node(
            item.op_type,
            inputs,
            [scope[name] if name else Value() for name in item.output],
            attributes,
            domain=domain,
            version=self._version(domain, item.op_type),
            name=item.name,
            overload=item.overload,
            origins=(item.name or (item.output[0] if item.output else ""),),
        )
        node.doc_string = item.doc_string
        node.metadata = _metadata(item.metadata_props)
        return node

    def body(self, proto: onnx.GraphProto, visible: Mapping[str, Value]) -> Graph:
        """Read a graph that is an attribute of a node."""
        return self.graph(proto, visible, [], is_body=True)

    def attribute(
        self, entry: onnx.AttributeProto, visible: Mapping[str, Value]
    ) -> Attribute:
        """Read an attribute; bodies see the surrounding values."""
        kind = _KINDS[entry.type or _guess(entry)]
        if entry.ref_attr_name:
            return Attribute(kind, None, entry.ref_attr_name, entry.doc_string)
        value: Any
        match kind.name:
            case "INT":
                value = entry.i
            case "INTS":
                value = tuple(entry.ints)
            case "FLOAT":
                value = entry.f
            case "STRING":
                value = _text(entry.s)
            case "TENSOR":
                value = self.tensor(entry.t)
            case "GRAPH":
                value = self.body(entry.g, visible)
            case "FLOATS":
                value = tuple(entry.floats)
            case "STRINGS":
                value = tuple(_text(item) for item in entry.strings)
            case "TENSORS":
                value = tuple(self.tensor(item) for item in entry.tensors)
            case "GRAPHS":
                value = tuple(self.body(item, visible) for item in entry.graphs)
            case "SPARSE_TENSOR":
                value = self.sparse(entry.sparse_tensor)
            case "SPARSE_TENSORS":
                value = tuple(self.sparse(item) for item in entry.sparse_tensors)
            case "TYPE_PROTO":
                value = read_type(entry.tp)
            case "TYPE_PROTOS":
                value = tuple(read_type(item) for item in entry.type_protos)
            case _:
                raise errors.ModelInvalid(f"attribute {entry.name!r} has no type")
        return Attribute(kind, value, "", entry.doc_string)

    def tensor(self, proto: onnx.TensorProto, view: View | None = None) -> Tensor:
        """Read a tensor; its data is decoded when first asked for."""
        shape = tuple(proto.dims)
        if proto.data_type not in ELEMENT_TYPES or any(dim < 0 for dim in shape):
            raise errors.ModelInvalid(
                f"tensor {proto.name!r} has element type {proto.data_type} and shape "
                f"{list(shape)}, which ONNX does not have"
            )
        dtype, name = proto.data_type, proto.name
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in proto.external_data}
            view = self._external.view(name, entries, nbytes(dtype, shape))
        if isinstance(view, Piece):
            return self._passing(view, proto, dtype, shape)
        if view is not None:
            source = view
            return Tensor(
                name,
                dtype,
                shape,
                lambda: STORE.array(source, dtype, shape),
                proto,
                drop=drop_pages,
            )
        return Tensor(name, dtype, shape, lambda: _parsed(proto, dtype, shape), proto)

    def _passing(
        self, piece: Piece, proto: onnx.TensorProto, dtype: int, shape: tuple[int, ...]
    ) -> Tensor:
        """Return a tensor of which the data is read from an open file."""
        made = Tensor(
            proto.name,
            dtype,
            shape,
            lambda: STORE.copied(piece, dtype, shape),
            proto,
            lambda room: decode(piece.read(room), dtype, shape),
        )
        self.passing.append(weakref.ref(made))
        return made

    def sparse(self, proto: onnx.SparseTensorProto) -> SparseTensor:
        """Read a sparse tensor in coordinate form and check its indices."""
        made = SparseTensor(
            self.tensor(proto.values), self.tensor(proto.indices), tuple(proto.dims)
        )
        indices, limits = made.indices.numpy(), np.array(made.shape)
        if indices.ndim == 1:
            limits = limits.prod()
        if indices.size and (indices.min() < 0 or (indices >= limits).any()):
            raise errors.ModelInvalid(
                f"sparse tensor {proto.values.name!r} has indices outside its shape "
                f"{list(made.shape)}"
            )
        return made

    def function(self, proto: onnx.FunctionProto) -> Function:
        """Read a model-local function as a graph over its formal inputs."""
        opsets = _opsets(proto.opset_import, self._ir_version) or self._opsets
        inner = _Reader({**self._opsets, **opsets}, self._ir_version, self._external)
        body = onnx.GraphProto(name=proto.name)
        body.input.extend(onnx.ValueInfoProto(name=name) for name in proto.input)
        body.output.extend(onnx.ValueInfoProto(name=name) for name in proto.output)
        body.node.extend(proto.node)
        body.value_info.extend(proto.value_info)
        return Function(
            "" if proto.domain == "ai.onnx" else proto.domain,
            proto.name,
            proto.overload,
            inner.graph(body, {}, []),
            opsets,
            tuple(proto.attribute),
            {entry.name: self.attribute(entry, {}) for entry in proto.attribute_proto},
            proto.doc_string,
            _metadata(proto.metadata_props),
        )


def read_function(proto: onnx.FunctionProto) -> Function:
    """Turn a FunctionProto, such as a schema's body, into a `Function`."""
    return _Reader({}, onnx.IR_VERSION, ExternalData("", {})).function(proto)


def _notes(info: onnx.ValueInfoProto) -> tuple[str, dict[str, str]]:
    return info.doc_string, _metadata(info.metadata_props)


def _check_text(*names: str) -> None:
    """Refuse names that are not UTF-8, which protobuf hands over as bytes."""
    for name in names:
        if not isinstance(name, str):
            raise errors.ModelUnreadable(
                f"the model holds a name that is not UTF-8: {name!r}; is the file damaged?"
            )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _guess(entry: onnx.AttributeProto) -> int:
    """Models of IR version 1 may leave the attribute's type out."""
    for field, kind in (
        ("f", 1), ("i", 2), ("s", 3), ("t", 4), ("g", 5), ("sparse_tensor", 11), ("tp", 13)
    ):  # fmt: skip
        if entry.HasField(field):
            return kind
    for field, kind in (("floats", 6), ("ints", 7), ("strings", 8), ("tensors", 9)):
        if getattr(entry, field):
            return kind
    return 0


def _parsed(proto: onnx.TensorProto, dtype: int, shape: tuple[int, ...]) -> Any:
    """Decode a tensor that protobuf parsed."""
    if proto.HasField("raw_data"):
        return decode(memoryview(proto.raw_data), dtype, shape)
    if dtype == onnx.TensorProto.STRING:
        array = np.array([_text(s) for s in proto.string_data], object)
    else:
        try:
            array = onnx.numpy_helper.to_array(proto).astype(numpy_dtype(dtype))
        except (ValueError, TypeError) as error:
            raise errors.ModelInvalid(
                f"the data of tensor {proto.name!r} does not fit its shape "
                f"{list(shape)}: {error}"
            ) from error
    if array.size != int(np.prod(shape, dtype=np.int64)):
        raise errors.ModelInvalid(
            f"tensor {proto.name!r} of shape {list(shape)} holds {array.size} elements"
        )
    array = array.reshape(shape)
    array.flags.writeable = False
    return array


def read_type(proto: onnx.TypeProto) -> Type | None:
    """Turn a TypeProto into our type; ``None`` where nothing is set."""
    kind = proto.WhichOneof("value")
    note = proto.denotation
    match kind:
        case "tensor_type":
            return _tensor_type(proto.tensor_type, False, note)
        case "sparse_tensor_type":
            return _tensor_type(proto.sparse_tensor_type, True, note)
        case "sequence_type":
            return SequenceType(read_type(proto.sequence_type.elem_type), note)
        case "optional_type":
            return OptionalType(read_type(proto.optional_type.elem_type), note)
        case "map_type":
            value = read_type(proto.map_type.value_type)
            return MapType(proto.map_type.key_type, value, note)
        case "opaque_type":
            return OpaqueType(proto.opaque_type.domain, proto.opaque_type.name, note)
        case _:
            return None


def _tensor_type(proto: Any, sparse: bool, denotation: str) -> TensorType | None:
    if not proto.elem_type and not proto.HasField("shape"):
        return None
    if proto.elem_type and proto.elem_type not in ELEMENT_TYPES:
        raise errors.ModelInvalid(
            f"a value is declared with element type {proto.elem_type}, which ONNX does "
            "not have"
        )
    if not proto.HasField("shape"):
        return TensorType(proto.elem_type, None, sparse, (), denotation)
    dims = proto.shape.dim
    shape = tuple([_dim(dim) for dim in dims])
    notes = tuple([dim.denotation for dim in dims])
    denotations = notes if any(notes) else ()
    return TensorType(proto.elem_type, shape, sparse, denotations, denotation)


def _dim(proto: Any) -> Dim:
    size: int = proto.dim_value
    if size:
        return size if size > 0 else None
    return 0 if proto.WhichOneof("value") == "dim_value" else proto.dim_param or None


def validate(model: Model) -> None:
    """Check every node against its schema: operator, arity, attributes.

    Raises `UnknownOperator` or `ModelInvalid`, naming the node and what it may have.
    """
    for graph in model.graph.all_graphs():
        for node in graph:
            key = (node.domain, node.op_type, node.overload)
            if key not in model.functions:
                _validate_node(node)
    for function in model.functions.values():
        for graph in function.graph.all_graphs():
            for node in graph:
                if (node.domain, node.op_type, node.overload) not in model.functions:
                    _validate_node(node)


def _validate_node(node: Node) -> None:
    found = demands(node.domain, node.op_type, node.version)
    if found is None:
        if node.domain in domains() and (node.domain, node.op_type) not in STRAY:
            raise errors.UnknownOperator(
                f"no operator {node.op_type} in domain {node.domain or 'ai.onnx'} at "
                f"opset {node.version} (node {node.name!r}){_since(node)}"
            )
        return
    for what, count, (low, high) in (
        ("inputs", len(node.inputs), found.inputs),
        ("outputs", len(node.outputs), found.outputs),
    ):
        if not low <= count <= high:
            bounds = str(low) if low == high else f"{low} to {high}"
            raise errors.ModelInvalid(
                f"{node.label} has {count} {what}; {node.op_type} at opset "
                f"{node.version} takes {bounds}"
            )
    _validate_presence(node, found.required)
    _validate_attributes(node, found)


def _validate_presence(node: Node, required: Mapping[int, str]) -> None:
    """Refuse required inputs left out by name, and outputs another number than told."""
    if None in node.inputs:
        for index, value in enumerate(node.inputs):
            if value is None and index in required:
                raise errors.ModelInvalid(
                    f"{node.label} lacks the input {required[index]!r}, which "
                    f"{node.op_type} requires"
                )
    told = node.attribute("num_outputs") if node.op_type == "Split" else None
    if told is not None and told != len(node.outputs):
        raise errors.ModelInvalid(
            f"{node.label} has {len(node.outputs)} outputs, but num_outputs is {told}"
        )


def _validate_attributes(node: Node, found: Demands) -> None:
    known = found.attributes
    for name, entry in node.attributes.items():
        if name not in known:
            raise errors.ModelInvalid(
                f"{node.label} has the attribute {name!r}, which {node.op_type} at "
                f"opset {node.version} does not have{errors.near(name, known)}"
            )
        wanted = known[name]
        if wanted != entry.kind:
            raise errors.ModelInvalid(
                f"attribute {name!r} of {node.label} is a {entry.kind.name}, expected "
                f"{AttributeKind(wanted).name}"
            )
    for name in found.demanded:
        if name not in node.attributes:
            raise errors.ModelInvalid(
                f"{node.label} lacks the attribute {name!r}, which {node.op_type} "
                "requires"
            )


def _since(node: Node) -> str:
    later = versions(node.domain, node.op_type)
    if not later:
        return errors.near(node.op_type, operators(node.domain))
    return f"; it exists from opset {later[0]}"
