"""IO binding: inputs and outputs attached once, run many times, filled in place.

Written for onnxruntime. Run it with ``python -m runtime.as_onnxruntime io_binding.py``.
"""

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

graph = helper.make_graph(
    [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["y"]),
    ],
    "binding",
    [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", 3]) for n in "ab"],
    [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("sum", "y")],
)
model = helper.make_model(
    graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
)
session = ort.InferenceSession(
    model.SerializeToString(), providers=["CPUExecutionProvider"]
)

a = np.arange(6, dtype=np.float32).reshape(2, 3) - 3
b = np.ones((2, 3), np.float32)
y = np.empty((2, 3), np.float32)

binding = session.io_binding()
binding.bind_cpu_input("a", a)
binding.bind_input("b", "cpu", 0, np.float32, b.shape, b.ctypes.data)
binding.bind_output("sum")
binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)
session.run_with_iobinding(binding)
print("y", y.tolist())
print("sum", binding.copy_outputs_to_cpu()[0].tolist())

a += 1  # the next run sees it
session.run_with_iobinding(binding)
print("y", y.tolist())

value = ort.OrtValue.ortvalue_from_numpy(b * 10)
target = ort.OrtValue.ortvalue_from_shape_and_type([2, 3], np.float32, "cpu", 0)
binding = session.io_binding()
binding.bind_ortvalue_input("a", value)
binding.bind_ortvalue_input("b", value)
binding.bind_ortvalue_output("y", target)
session.run_with_iobinding(binding)
(made,) = binding.get_outputs()
print(made.device_name(), made.data_type(), made.shape(), made.numpy().tolist())
print("same memory", made.data_ptr() == target.data_ptr())
binding.clear_binding_inputs()
binding.clear_binding_outputs()
