"""What a model means to TensorRT: which tensors are shapes, and what is mixed in it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto
from runtime_ep_tensorrt.capability import SHAPES
from runtime_ep_tensorrt.facts import element_types
from runtime_ep_tensorrt.operators import OPERATORS
from typed import mixtures

DTYPES = {
    1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF",
    16: "BF16", 17: "FP8", 22: "INT4", 23: "FP4",
}  # fmt: skip
WHOLE = frozenset((6, 7))
STRICT_OPSETS = range(9, 25)


def faults(model: ModelProto, refuses: set[str]) -> list[tuple[str, str, str]]:
    """Return what stands against parsing a model: operator, node, and what is wrong."""
    found = []
    for entry in model.opset_import:
        if not entry.domain and entry.version not in STRICT_OPSETS:
            found.append(("", "", f"opset {entry.version} is not supported"))
    for node in model.graph.node:
        reason = _against(node, refuses)
        if reason:
            found.append((node.op_type, node.name, reason))
    if not found:
        found += [("", "", f"mixed types: {told}") for told in mixtures(model)]
        types = element_types(model)
        for name, code in types.items():
            if code not in DTYPES:
                found.append(("", name, f"the element type {code} is not supported"))
    return found


def _against(node: onnx.NodeProto, refuses: set[str]) -> str:
    if node.domain or node.op_type not in OPERATORS:
        return f"No importer registered for op: {node.op_type}"
    if node.op_type in refuses:
        return "it is not supported as it is"
    return ""


def shape_tensors(model: ModelProto) -> tuple[set[str], set[str]]:
    """Return the inputs, and the outputs, that hold shapes and are read on the host."""
    types = element_types(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    inputs = {value.name for value in model.graph.input}
    wanted, seen = [], set()
    for node in model.graph.node:
        for place in SHAPES.get(node.op_type, ()):
            if place < len(node.input) and types.get(node.input[place]) in WHOLE:
                wanted.append(node.input[place])
    while wanted:
        name = wanted.pop()
        if name in seen or name in constants or types.get(name) not in WHOLE:
            continue
        seen.add(name)
        maker = makers.get(name)
        if maker is not None and maker.op_type not in ("Shape", "Size"):
            wanted += maker.input
    counted = set(seen & inputs)
    for node in model.graph.node:
        whole = all(types.get(name) in WHOLE for name in node.output)
        known = counted | constants
        sized = node.op_type in ("Shape", "Size")
        if whole and (
            sized or (node.input and all(n in known for n in node.input if n))
        ):
            counted.update(node.output)
    outputs = {value.name for value in model.graph.output}
    return seen & inputs, counted & outputs


def dims_of(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Return a shape as TensorRT has it: open dims are -1."""
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else -1 for d in dims)


def inferred(
    model: ModelProto,
    shapes: dict[str, tuple[int, ...]],
    values: dict[str, np.ndarray],
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of outputs as far as shapes and sizes of inputs tell them."""
    copy = ModelProto.FromString(model.SerializeToString())
    for value in list(copy.graph.input):
        if value.name in values:
            tensor = onnx.numpy_helper.from_array(values[value.name], value.name)
            copy.graph.initializer.append(tensor)
            copy.graph.input.remove(value)
        else:
            _fix(value, shapes[value.name])
    outputs = {value.name: value for value in copy.graph.output}
    for value in outputs.values():
        value.type.tensor_type.ClearField("shape")
    done = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    return {
        value.name: dims_of(value)
        if value.type.tensor_type.HasField("shape")
        else (-1,)
        for value in done.output
    }


def _fix(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    dims = value.type.tensor_type.shape
    for dim, size in zip(dims.dim, shape, strict=True):
        dim.Clear()
        dim.dim_value = size
