"""An operator's standard body, ready to take its place for a provider that lacks it.

Cases:

1. An operator whose schema has a function body, or one that depends on attributes and
   input types, as Gelu, LayerNormalization and Attention have.
2. Whatever the body computes from constants and known shapes is computed, so that, say, a
   Gelu is Div, Erf, Add and Mul and nothing else.

Operators without a body, and nodes whose input types are unknown, are not lowered.
"""

from __future__ import annotations

import logging
from typing import Any

import onnx

from runtime.errors import ModelInvalid
from runtime.export import partition_proto, write_type
from runtime.graph import Function, Graph, Model, Node, Value, release
from runtime.infer import infer
from runtime.model import read_function
from runtime.passes import (
    constants,
    cse,
    deadcode,
    fold,
    identities,
    modernize,
    shapes,
)
from runtime.passes.edit import is_public, substitute
from runtime.passes.functions import instantiate
from runtime.passes.scope import Evaluate, Scope
from runtime.plugin import HOST, Partition
from runtime.schema import schema
from runtime.settings import Settings

logger = logging.getLogger("runtime")

_TIDYING = (shapes, fold, identities, cse, deadcode)
_ROUNDS = 4


class Lowered:
    """A node's standard body, in no graph yet, reading the node's inputs.

    ``nodes`` are in order; ``outputs`` are in the order of the node's, ``None`` where
    nobody reads the node's. Either `apply` or `discard` must follow.
    """

    def __init__(self, node: Node, body: Graph, outputs: list[Value | None]) -> None:
        self.node = node
        self.nodes = tuple(body)
        self.outputs = tuple(outputs)
        self.constants = tuple(body.initializers.values())
        for inner in self.nodes:
            inner.graph = None

    def apply(self) -> None:
        """Put the body in the node's place, under the names of its outputs."""
        graph = self.node.graph
        if graph is None:
            raise ValueError(f"{self.node!r} is in no graph")
        stem = self.node.name or self.node.outputs[0].name or self.node.op_type
        for value in self.constants:
            value.name = graph.fresh_name(f"{stem}/{value.name}")
            graph.add_initializer(value)
        for node in self.nodes:
            node.name = f"{stem}/{node.name or node.op_type}"
            for value in node.outputs:
                if value.name:
                    value.name = graph.fresh_name(f"{stem}/{value.name}")
        graph.insert_before(self.node, self.nodes)
        for old, new in zip(self.node.outputs, self.outputs, strict=True):
            if new is None:
                continue
            if new.producer in self.nodes and self.outputs.count(new) == 1:
                old.type = old.type or new.type
                graph.adopt(old, new)
                continue
            new.type = old.type or new.type
            _take_name(new, old)
            substitute(old, new)
        weights = self.node.inputs
        graph.remove(self.node)
        for weight in weights:
            _drop_unread(graph, weight)

    def discard(self) -> None:
        """Forget the body: values no longer know it reads them."""
        for node in self.nodes:
            release(node)


def _drop_unread(graph: Graph, value: Value | None) -> None:
    """Let go of a weight that the body has another form of."""
    if value is None or value.uses or graph.initializers.get(value.name) is not value:
        return
    if value not in graph.inputs and value not in graph.outputs:
        del graph.initializers[value.name]


def _take_name(new: Value, old: Value) -> None:
    """Let a body's result have the name of the output it replaces."""
    if new.producer is not None and new.producer.graph is not None and old.name:
        fresh = new.const is None and not is_public(new) and not is_public(old)
        if fresh and not any(user.graph is None for user in new.users):
            new.name = ""


def lowered(node: Node, evaluate: Evaluate | None = None) -> Lowered | None:
    """Return a node's standard body, or ``None`` where it has none.

    With ``evaluate``, constants in the body are computed.
    """
    found = _function(node)
    if found is None:
        return None
    function, places = found
    nodes, results = instantiate(function, node)
    outputs = [results[i] if i is not None else None for i in places]
    body = Graph(node.label)
    for inner in nodes:
        body.append(inner)
    wanted = [
        new if old.uses or is_public(old) else None
        for old, new in zip(node.outputs, outputs, strict=False)
    ]
    body.outputs = [value for value in wanted if value is not None]
    model = Model(body, onnx.IR_VERSION, dict(function.opsets))
    _infer(model, node)
    public = body.outputs
    _tidy(model, evaluate or _nothing)
    final = dict(zip(public, body.outputs, strict=True))
    return Lowered(node, body, [None if v is None else final[v] for v in wanted])


def _nothing(node: Node, inputs: Any) -> None:
    return None


def _infer(model: Model, node: Node) -> None:
    """Give the body's values types; the node's inputs stand in as the graph's."""
    graph = model.graph
    given = list(dict.fromkeys(value for value in node.inputs if value is not None))
    graph.inputs = [value for value in given if not value.is_constant]
    graph.initializers = {v.name: v for v in given if v.is_constant}
    try:
        infer(model, Settings())
    except (ModelInvalid, ValueError) as error:
        logger.info("types of the body of %s stay unknown: %s", node.label, error)
    graph.inputs, graph.initializers = [], {}


def _tidy(model: Model, evaluate: Evaluate) -> None:
    scope = Scope(model, Settings(), evaluate)
    constants.run(model.graph, scope)
    modernize.run(model.graph, scope)
    for _ in range(_ROUNDS):
        if not sum([module.run(model.graph, scope) for module in _TIDYING]):
            return


def _function(node: Node) -> tuple[Function, list[int | None]] | None:
    """Return the schema's body, and which of its results is which of the outputs."""
    found = schema(node.domain, node.op_type, node.version)
    if found is None:
        return None
    proto = onnx.FunctionProto()
    if found.has_function:
        version = _newest(found.function_opset_versions, node.version)
        if version is None:
            return None
        proto.ParseFromString(found.get_function_with_opset_version(version))
    elif found.has_context_dependent_function:
        text = _body_of(found, node)
        if not text:
            return None
        proto.ParseFromString(text)
    else:
        return None
    _add_defaults(proto, found)
    if not any(entry.domain in ("", "ai.onnx") for entry in proto.opset_import):
        proto.opset_import.add(domain="", version=onnx.defs.onnx_opset_version())
    made = {name for inner in proto.node for name in inner.output} | set(proto.input)
    kept = [name for name in proto.output if name in made]
    places = [kept.index(name) if name in made else None for name in proto.output]
    del proto.output[:]
    proto.output.extend(kept)
    return read_function(proto), places


def _newest(versions: list[int], limit: int) -> int | None:
    return max((version for version in versions if version <= limit), default=None)


def _body_of(found: Any, node: Node) -> bytes:
    """Return the body a schema builds for a node's attributes and input types."""
    versions = found.context_dependent_function_opset_versions
    version = _newest(versions, node.version)
    if version is None or any(v is not None and v.type is None for v in node.inputs):
        return b""
    values = tuple(dict.fromkeys(value for value in node.inputs if value is not None))
    part = Partition("", HOST, Graph(), (node,), values, node.outputs)
    proto = partition_proto(part, "types").graph.node[0]
    types = [write_type(v.type if v is not None else None) for v in node.inputs]
    try:
        made = found.get_context_dependent_function_with_opset_version(
            version, proto.SerializeToString(), [t.SerializeToString() for t in types]
        )
    except (RuntimeError, ValueError, onnx.defs.SchemaError) as error:
        logger.info("the body of %s cannot be built: %s", node.label, error)
        return b""
    return bytes(made)


def _add_defaults(proto: onnx.FunctionProto, found: Any) -> None:
    """Let references to attributes find the schema's defaults."""
    for name, entry in found.attributes.items():
        if entry.default_value.name:
            default = proto.attribute_proto.add()
            default.CopyFrom(entry.default_value)
            default.name = name
