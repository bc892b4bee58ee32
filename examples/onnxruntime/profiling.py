"""Profiling: what each node took, read from the trace of a session.

Written for onnxruntime. Run it with ``python -m runtime.as_onnxruntime profiling.py``.
"""

import json

import numpy as np
import onnxruntime as ort
from onnxruntime.datasets import get_example

options = ort.SessionOptions()
options.enable_profiling = True
options.profile_file_prefix = "example"
session = ort.InferenceSession(
    get_example("sigmoid.onnx"), options, providers=["CPUExecutionProvider"]
)
for _ in range(3):
    session.run(None, {"x": np.zeros((3, 4, 5), np.float32)})
print("began", session.get_profiling_start_time_ns() > 0)

path = session.end_profiling()
with open(path, encoding="utf-8") as file:
    events = json.load(file)
print("named", path.startswith("example_"), path.endswith(".json"))
nodes = [e for e in events if e["cat"] == "Node" and "kernel_time" in e["name"]]
print("operators", sorted({event["args"]["op_name"] for event in nodes}))
print("providers", sorted({event["args"]["provider"] for event in nodes}))
print("complete events", all(e["ph"] == "X" and e["dur"] >= 0 for e in nodes))
print("runs", len(nodes))
print("shapes", nodes[0]["args"]["input_type_shape"])
