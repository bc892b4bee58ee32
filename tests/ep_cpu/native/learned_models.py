"""One node of ai.onnx.ml as a model, for native code beside NumPy."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

ML = "ai.onnx.ml"
CODES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.int32): TensorProto.INT32,
}


def node_model(op_type, x, attributes, outputs=1, version=3, more=()):
    """Return a model of one node over rows ``x``; ``more`` are constants it reads too."""
    names = [f"y{i}" for i in range(outputs)]
    constants = [onnx.numpy_helper.from_array(a, f"c{i}") for i, a in enumerate(more)]
    node = helper.make_node(
        op_type, ["x", *(c.name for c in constants)], names, domain=ML, **attributes
    )
    shape = [None, *x.shape[1:]] if x.ndim > 1 else [None]
    graph = helper.make_graph(
        [node],
        op_type,
        [helper.make_tensor_value_info("x", CODES[x.dtype], shape)],
        [onnx.ValueInfoProto(name=name) for name in names],
        constants,
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(ML, version)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)
