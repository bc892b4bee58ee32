"""Device tensors: values that stay where they are, shared by DLPack, sparse ones too.

Written for onnxruntime. Run it with ``python -m runtime.as_onnxruntime device_tensors.py``.
"""

import numpy as np
import onnxruntime as ort
from onnxruntime.datasets import get_example

array = np.linspace(-1, 1, 60, dtype=np.float32).reshape(3, 4, 5)
value = ort.OrtValue.ortvalue_from_numpy(array, "cpu", 0)
print(value.device_name(), value.data_type(), value.shape(), value.is_tensor())
print("shared", value.data_ptr() == array.ctypes.data)

session = ort.InferenceSession(
    get_example("sigmoid.onnx"), providers=["CPUExecutionProvider"]
)
(result,) = session.run_with_ort_values(["y"], {"x": value})
print("result", result.device_name(), np.round(result.numpy()[0, 0], 4).tolist())

value.update_inplace(array * 0)
(result,) = session.run_with_ort_values(["y"], {"x": value})
print("updated", result.numpy().min(), result.numpy().max())

taken = ort.OrtValue.from_dlpack(array)
print("dlpack", taken.shape(), taken.data_ptr() == array.ctypes.data)
print("dlpack device", value.__dlpack_device__())

bits = np.full((2, 2), 0x3F80, np.uint16)
half = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, 16)
print("bfloat16", half.data_type(), half.tensor_size_in_bytes())

place = ort.OrtDevice.make("cpu", 0)
sparse = ort.SparseTensor.sparse_coo_from_numpy(
    [3, 3], np.array([1, 2, 3], np.float32), np.array([0, 4, 8]), place
)
held = ort.OrtValue.ort_value_from_sparse_tensor(sparse)
print(held.data_type(), held.is_sparse_tensor(), held.as_sparse_tensor().format().name)
print(sparse.as_coo_view().indices().tolist(), sparse.dense_shape())
