"""The same model with its floats in another precision, as converters make it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def converted(array: np.ndarray, dtype: type) -> np.ndarray:
    """Return floats in another precision, clipped to its range; others as they are."""
    if array.dtype.kind != "f":
        return array
    limits = np.finfo(dtype)
    finite = np.isfinite(array)
    clipped = np.clip(array.astype(np.float64), limits.min, limits.max)
    return np.where(finite, clipped, array).astype(dtype)


def retyped(model: onnx.ModelProto, dtype: type) -> onnx.ModelProto:
    """Return the model with all of its floats, inputs and outputs too, of one dtype."""
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    other = onnx.ModelProto()
    other.CopyFrom(model)
    del other.graph.value_info[:]
    _tensors(other.graph.initializer, dtype)
    _nodes(other.graph.node, dtype, code)
    for value in (*other.graph.input, *other.graph.output):
        kind = value.type.tensor_type
        kind.elem_type = code if kind.elem_type in FLOATS else kind.elem_type
    return other


def _tensors(tensors: Iterable[onnx.TensorProto], dtype: type) -> None:
    for tensor in tensors:
        if tensor.data_type in FLOATS:
            array = converted(numpy_helper.to_array(tensor), dtype)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _nodes(nodes: Iterable[onnx.NodeProto], dtype: type, code: int) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _tensors([attribute.t], dtype)
            elif attribute.type == onnx.AttributeProto.GRAPH:
                _tensors(attribute.g.initializer, dtype)
                _nodes(attribute.g.node, dtype, code)
            elif attribute.name in ("to", "dtype") and attribute.i in FLOATS:
                attribute.i = code
