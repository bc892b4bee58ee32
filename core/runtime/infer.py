"""Gives every value a type and shape, by ONNX's own inference on a weightless copy."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import onnx

from runtime import ml_shapes
from runtime.errors import ModelInvalid, ModelUnreadable
from runtime.export import to_proto
from runtime.graph import Graph, Model, Value
from runtime.model import read_type
from runtime.settings import Settings
from runtime.valuetypes import Dim, TensorType, Type

logger = logging.getLogger("runtime")


def infer(model: Model, settings: Settings) -> None:
    """Fill in the types of every value, in place.

    Sizes given for symbolic dims replace the symbols first. A model with functions gets
    types once they are inlined: before, each call would be gone through, which a small
    file can make endless. Raises `ModelInvalid` for element types that contradict each
    other.
    """
    _name_values(model.graph)
    for value in model.graph.outputs:
        if value.type is not None and _told(value.type):
            model.declared.setdefault(value.name, value.type)
    if settings.dims or settings.denoted_dims:
        for graph in model.graph.all_graphs():
            _override(graph, settings)
    if model.functions:
        return
    try:
        proto = to_proto(model, "types")
    except UnicodeError as error:
        raise ModelUnreadable(
            f"the model holds text that is not UTF-8: {error}"
        ) from error
    _distrust(proto.graph)
    for info in proto.graph.output:
        info.ClearField("type")
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, True, False, True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelInvalid(
            f"the model's types contradict each other: {error}"
        ) from error
    except (RuntimeError, ValueError) as error:
        logger.info("shape inference gave up: %s", error)
        return
    _read_back(model.graph, _completed(inferred).graph)
    _compare(model)


def _completed(inferred: onnx.ModelProto) -> onnx.ModelProto:
    """Return types with the shapes that ONNX's inference leaves out, and what follows."""
    for _ in range(_ROUNDS):
        if not ml_shapes.complete(inferred.graph):
            break
        try:
            inferred = onnx.shape_inference.infer_shapes(inferred, False, False, True)
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
            logger.info("shape inference gave up: %s", error)
            break
    return inferred


_ROUNDS = 20
"""Operators of ai.onnx.ml behind each other, for which shapes are completed."""


def _compare(model: Model) -> None:
    """Refuse a declared output whose element type is not the one computed."""
    for value in model.graph.outputs:
        declared = model.declared.get(value.name)
        if not isinstance(declared, TensorType) or not value.dtype:
            continue
        if declared.dtype and declared.dtype != value.dtype:
            raise ModelInvalid(
                f"Type Error: output {value.name!r} is declared {declared}, but the "
                f"model computes {value.type}"
            )


Place = tuple[int, int]


def twins(inputs: Sequence[Value]) -> list[tuple[Place, Place]]:
    """Return the (input, axis) pairs that carry one symbol, each with its first place."""
    first: dict[str, Place] = {}
    pairs = []
    for index, value in enumerate(inputs):
        for axis, dim in enumerate(value.shape or ()):
            if isinstance(dim, str):
                place = first.setdefault(dim, (index, axis))
                if place != (index, axis):
                    pairs.append((place, (index, axis)))
    return pairs


def separate(inputs: Sequence[Value]) -> None:
    """Give every symbolic dim a name of its own."""
    for index, value in enumerate(inputs):
        if isinstance(value.type, TensorType) and value.type.shape is not None:
            shape = tuple(
                f"{dim}.{index}.{axis}" if isinstance(dim, str) else dim
                for axis, dim in enumerate(value.type.shape)
            )
            value.type = replace(value.type, shape=shape)


def _distrust(graph: onnx.GraphProto) -> None:
    """Drop what a file says of the dims of results; what inference finds holds.

    Exporters reuse symbols for sizes that differ, and who gives a model another batch
    size leaves the old one in its results.
    """
    for info in (*graph.value_info, *graph.output):
        if info.type.HasField("tensor_type"):
            for dim in info.type.tensor_type.shape.dim:
                dim.Clear()
    for node in graph.node:
        for entry in node.attribute:
            if entry.HasField("g"):
                _distrust(entry.g)


def _told(kind: Type) -> bool:
    """Whether a declared type says more than that there is a tensor of some shape."""
    return not isinstance(kind, TensorType) or kind.shape is not None


def _name_values(graph: Graph) -> None:
    """Name what is used but unnamed, or has the name of a value of another graph.

    ONNX's inference follows the contents of shapes by name, and would take those of one
    branch of an If for the other's.
    """
    first: dict[str, Value | None] = {"": None}
    for inner in graph.all_graphs():
        for node in inner:
            for value in node.outputs:
                used = value.name or value.uses or value in inner.outputs
                if used and first.setdefault(value.name, value) is not value:
                    value.name = graph.fresh_name(value.name or node.op_type)


def _override(graph: Graph, settings: Settings) -> None:
    values = [*graph.inputs, *graph.outputs, *(v for n in graph for v in n.outputs)]
    for value in values:
        if isinstance(value.type, TensorType) and value.type.shape is not None:
            value.type = _overridden(value.type, settings)


def _overridden(kind: TensorType, settings: Settings) -> TensorType:
    notes = kind.denotations or ("",) * len(kind.shape or ())
    shape = tuple(
        settings.denoted_dims.get(note, settings.dims.get(dim, dim))
        if isinstance(dim, str)
        else settings.denoted_dims.get(note, dim)
        if dim is None
        else dim
        for dim, note in zip(kind.shape or (), notes, strict=True)
    )
    return TensorType(kind.dtype, shape, kind.sparse, kind.denotations, kind.denotation)


def _read_back(graph: Graph, proto: onnx.GraphProto) -> None:
    types = {info.name: info.type for info in (*proto.value_info, *proto.output)}
    for node, item in zip(graph, proto.node, strict=True):
        for value in node.outputs:
            found = types.get(value.name)
            if found is not None:
                value.type = _known(read_type(found), value.type)
        if bodies := dict(node.bodies):
            for entry in item.attribute:
                if entry.HasField("g") and entry.name in bodies:
                    _read_back(bodies[entry.name], entry.g)


def _known(found: Type | None, declared: Type | None) -> Type | None:
    """Prefer what was inferred, but keep declared sizes that inference lost."""
    if found is None:
        return declared
    if not isinstance(found, TensorType) or not isinstance(declared, TensorType):
        return found
    if declared.shape is None or declared.dtype != found.dtype:
        return found
    if found.shape is None:
        return declared
    if len(found.shape) != len(declared.shape):
        return found
    dims = zip(found.shape, declared.shape, strict=True)
    shape = tuple([_known_dim(*pair) for pair in dims])
    return found if shape == found.shape else replace(found, shape=shape)


def _known_dim(found: Dim, declared: Dim) -> Dim:
    lost = found is None or (isinstance(found, str) and found.startswith(_MADE_UP))
    return declared if lost and isinstance(declared, int) else found


_MADE_UP = "unk__"
"""How the symbols begin that ONNX's inference makes up."""


def public(found: Type | None, declared: Type | None) -> Type | None:
    """Return a result's type as callers are to read it: what is known, in their symbols."""
    known = _known(found, declared)
    if not isinstance(known, TensorType) or not isinstance(declared, TensorType):
        return known
    if known.shape is None or len(known.shape) != len(declared.shape or ()):
        return known
    dims = zip(known.shape, declared.shape or (), strict=True)
    shape = tuple(
        theirs if isinstance(theirs, str) and not isinstance(ours, int) else ours
        for ours, theirs in dims
    )
    return replace(declared, shape=shape)
