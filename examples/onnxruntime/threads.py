"""Threading: pools of a session's own and of the process, runs side by side, and later.

Written for onnxruntime. Run it with ``python -m runtime.as_onnxruntime threads.py``.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
from onnxruntime.datasets import get_example

model = get_example("sigmoid.onnx")
x = np.linspace(-2, 2, 60, dtype=np.float32).reshape(3, 4, 5)
expected = 1 / (1 + np.exp(-x))

options = ort.SessionOptions()
options.intra_op_num_threads = 2
options.inter_op_num_threads = 1
options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

with ThreadPoolExecutor(4) as pool:
    runs = [pool.submit(session.run, None, {"x": x + i}) for i in range(8)]
    results = [run.result()[0] for run in runs]
wanted = [1 / (1 + np.exp(-(x + i))) for i in range(8)]
print("side by side", np.allclose(results, wanted, atol=1e-6))

done, told = threading.Event(), []


def finished(results, user_data, error):
    """Keep what the run came to, and let the program go on."""
    told.extend([np.allclose(results[0], expected, atol=1e-6), user_data, error])
    done.set()


session.run_async(None, {"x": x}, finished, "my data")
print("called back", done.wait(10), told)

shared = ort.SessionOptions()
shared.use_per_session_threads = True
print("of its own", ort.InferenceSession(model, shared).run(None, {"x": x})[0].shape)

stop = ort.RunOptions()
stop.terminate = True
try:
    session.run(None, {"x": x}, stop)
except Exception as error:
    print("stopped", type(error).__name__)
