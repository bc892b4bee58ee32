"""Custom initializers: weights given by the program, and dims fixed, before a model loads.

Written for onnxruntime. Run it with ``python -m runtime.as_onnxruntime initializers.py``.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

weights = np.arange(12, dtype=np.float32).reshape(4, 3)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "weights",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
    [numpy_helper.from_array(weights, "w")],
)
model = helper.make_model(
    graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
)
x = np.ones((2, 4), np.float32)
providers = ["CPUExecutionProvider"]

session = ort.InferenceSession(model.SerializeToString(), providers=providers)
print("its own", session.run(None, {"x": x})[0].tolist())

given = ort.OrtValue.ortvalue_from_numpy(np.ones((4, 3), np.float32))
options = ort.SessionOptions()
options.add_initializer("w", given)
session = ort.InferenceSession(model.SerializeToString(), options, providers=providers)
print("given", session.run(None, {"x": x})[0].tolist())

outside = onnx.ModelProto.FromString(model.SerializeToString())
onnx.save_model(
    outside,
    "outside.onnx",
    save_as_external_data=True,
    location="weights.bin",
    size_threshold=0,
)
print("files", Path("weights.bin").stat().st_size)
session = ort.InferenceSession("outside.onnx", providers=providers)
print("from a file", session.run(None, {"x": x})[0].tolist())

Path("weights.bin").unlink()
options = ort.SessionOptions()
options.add_external_initializers(["w"], [given])
session = ort.InferenceSession("outside.onnx", options, providers=providers)
print("in place of a file", session.run(None, {"x": x})[0].tolist())

options = ort.SessionOptions()
options.add_free_dimension_override_by_name("batch", 2)
session = ort.InferenceSession(model.SerializeToString(), options, providers=providers)
print("fixed", session.get_inputs()[0].shape)
