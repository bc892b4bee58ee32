"""One-node models of every operator in every element type that its newest schema admits.

They are ONNX's own node cases with one type variable changed: all inputs (and the
attribute that names an element type) of that variable are converted.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from cases import node_cases, value
from onnx import helper
from runtime.valuetypes import code_of_name, numpy_dtype
from templates import TEMPLATES, WITHOUT

TENSOR = re.compile(r"tensor\((\w+)\)")
WITHOUT_INFERENCE = {"MeanVarianceNormalization"}
"""Operators whose inference fails: a float32 constant in the standard's own body."""

TIED = {("SequenceInsert", "S"): "T"}
"""Type variables that must change together with another."""

Schema = onnx.defs.OpSchema
Key = tuple[str, str]


@dataclass(frozen=True)
class Template:
    """A call of an operator that is known to be right: its node and inputs."""

    node: onnx.NodeProto
    inputs: tuple[Any, ...]


@dataclass(frozen=True)
class Variant:
    """A call with the inputs of one type variable converted to an element type."""

    variable: str
    kind: str
    model: onnx.ModelProto
    feeds: tuple[Any, ...]
    expected: tuple[int, ...]


@functools.cache
def schemas() -> dict[Key, Schema]:
    """Return the newest schema of every operator that is not deprecated."""
    every = onnx.defs.get_all_schemas()
    return {(s.domain, s.name): s for s in every if not s.deprecated}


@functools.cache
def templates() -> dict[Key, Template]:
    """Return a call of each operator: from the node cases, or one made for it."""
    found = {key: Template(*made) for key, made in TEMPLATES.items()}
    for name, case in sorted(node_cases().items()):
        graph = case.model.graph
        if len(graph.node) != 1 or name.endswith("_expanded") or graph.initializer:
            continue
        node, feeds = graph.node[0], map(value, case.data_sets[0][0])
        by_name = dict(zip((i.name for i in graph.input), feeds, strict=False))
        inputs = tuple(by_name.get(name) for name in node.input)
        key = (node.domain, node.op_type)
        if key in schemas() and key not in found and key not in WITHOUT:
            found[key] = Template(node, inputs)
    return found


def element(kind: str) -> int:
    """Return the element type within ``tensor(…)``, ``seq(tensor(…))`` and the like."""
    name = TENSOR.search(kind)[1]
    return code_of_name(name)


def converted(item: Any, code: int) -> Any:
    """Return an array, or a list of them, in an element type, saturated."""
    if item is None or isinstance(item, list):
        return item and [converted(entry, code) for entry in item]
    array = np.asarray(item)
    if array.dtype == object or array.dtype.kind in "SU":
        if code == onnx.TensorProto.STRING:
            return array
        array = (np.arange(array.size) % 3).reshape(array.shape)
    if code == onnx.TensorProto.STRING:
        plain = array.astype(np.float64) if array.dtype.kind == "V" else array
        return plain.astype(str).astype(object)
    dtype = numpy_dtype(code)
    if array.dtype == dtype and "int" not in dtype.name:
        return array
    if array.dtype.kind == "c":
        array = array.real
    if "int" in dtype.name:
        low, high = limits(dtype)
        array = np.nan_to_num(np.rint(array.astype(np.float64)))
        return np.clip(array, low, high).astype(np.int64).astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        array = array.astype(np.float32) if dtype.kind == "V" else array
        return array.astype(dtype)


def limits(dtype: Any) -> tuple[int, int]:
    """Return what an integer type holds, but no more than small numbers."""
    info = ml_dtypes.iinfo(dtype)
    return max(int(info.min), -100), min(int(info.max), 100)


def widened(variant: Variant, wide: Variant) -> tuple[Any, ...]:
    """Return the inputs of a variant in the types of another of the same call."""
    return tuple(
        own if code_of_item(own) == code_of_item(like) else converted(own, code)
        for own, like in zip(variant.feeds, wide.feeds, strict=True)
        for code in [code_of_item(like)]
    )


def code_of_item(item: Any) -> int:
    """Return the element type of an array or of a list of them."""
    return code_of(item[0] if isinstance(item, list) else item)


def wide_kind(kind: str) -> str:
    """Return the type with the wide element type that a narrow one is compared with."""
    name = TENSOR.search(kind)[1]
    wide = "int64" if "int" in name else "float"
    return kind.replace(f"({name})", f"({wide})")


def model_of(
    node: onnx.NodeProto, inputs: tuple[Any, ...], schema: Schema
) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """Return a model of one typed node, and its outputs' types by the standard."""
    infos = [
        declared(name, item)
        for name, item in zip(node.input, inputs, strict=True)
        if name and item is not None
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "retyped", infos, outputs)
    imports = [helper.make_opsetid("", onnx.defs.onnx_opset_version())]
    if schema.domain:
        imports.append(helper.make_opsetid(schema.domain, schema.since_version))
    model = helper.make_model(graph, opset_imports=imports)
    if schema.name not in WITHOUT_INFERENCE:
        model_types = onnx.shape_inference.infer_shapes(model, True, True)
    else:
        model_types = model
    return model, tuple(output.type for output in model_types.graph.output)


def declared(name: str, item: Any) -> onnx.ValueInfoProto:
    """Return the declaration of a tensor or of a sequence of tensors."""
    if isinstance(item, list):
        inner = helper.make_tensor_type_proto(code_of(item[0]), None)
        return helper.make_value_info(name, helper.make_sequence_type_proto(inner))
    return helper.make_tensor_value_info(name, code_of(item), np.shape(item))


def code_of(item: Any) -> int:
    """Return an array's element type."""
    array = np.asarray(item)
    if array.dtype == object or array.dtype.kind in "SU":
        return onnx.TensorProto.STRING
    return helper.np_dtype_to_tensor_dtype(array.dtype)


def variants(key: Key) -> Iterator[Variant]:
    """Yield an operator's calls, each type variable in each of its types."""
    schema, template = schemas()[key], templates()[key]
    for constraint in schema.type_constraints:
        variable = constraint.type_param_str
        for kind in sorted(constraint.allowed_type_strs):
            if not TENSOR.search(kind):
                continue
            node, inputs = retyped(template, schema, variable, kind)
            if node is None:
                continue
            try:
                model, expected = model_of(node, inputs, schema)
            except onnx.shape_inference.InferenceError:
                continue
            feeds = tuple(item for item in inputs if item is not None)
            yield Variant(variable, kind, model, feeds, expected)


def retyped(
    template: Template, schema: Schema, variable: str, kind: str
) -> tuple[onnx.NodeProto | None, tuple[Any, ...]]:
    """Convert a template's inputs of one variable; ``None`` where none is there."""
    code, node, inputs, touched = element(kind), onnx.NodeProto(), [], False
    tied = TIED.get((schema.name, variable))
    node.CopyFrom(template.node)
    for place, item in enumerate(template.inputs):
        formal = schema.inputs[min(place, len(schema.inputs) - 1)]
        mine = item is not None and formal.type_str == variable
        fits = isinstance(item, list) == ("seq(" in kind)
        mine = mine and fits
        also = tied is not None and formal.type_str == tied
        inputs.append(converted(item, code) if mine or also else item)
        touched |= mine
    produced = any(output.type_str == variable for output in schema.outputs)
    if not touched and produced:
        for name in ("to", "dtype", "output_dtype"):
            if name in schema.attributes:
                kept = [a for a in node.attribute if a.name != name]
                del node.attribute[:]
                node.attribute.extend([*kept, helper.make_attribute(name, code)])
                touched = True
        for attribute in node.attribute:
            if attribute.name == "value":
                held = converted(onnx.numpy_helper.to_array(attribute.t), code)
                attribute.t.CopyFrom(onnx.numpy_helper.from_array(held))
                touched = True
    return (node, tuple(inputs)) if touched else (None, ())
