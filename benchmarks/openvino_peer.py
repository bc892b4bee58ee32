"""A worker that times onnxruntime's OpenVINO package, in an environment of its own.

It knows nothing of this project. Each line read is a request in JSON, each line written
an answer: ``{"model", "feeds", "threads", "precision"}`` opens a model and answers with
the outputs' file, ``{"runs": n}`` answers with the seconds of so many runs.
"""

import json
import sys
import time

import numpy as np
import onnxruntime

OPENVINO = "OpenVINOExecutionProvider"


def opened(request):
    """Open a model; return a function that runs it once, and the file of its outputs."""
    given = {
        "device_type": "CPU",
        "precision": request["precision"],
        "num_of_threads": str(request["threads"]),
    }
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        request["model"], options, [(OPENVINO, given), "CPUExecutionProvider"]
    )
    if OPENVINO not in session.get_providers():
        raise RuntimeError("the session does not use OpenVINO")
    feed = dict(np.load(request["feeds"]))
    outputs = session.run(None, feed)
    path = request["feeds"] + ".outputs.npz"
    np.savez(path, *outputs)
    return lambda: session.run(None, feed), path


def main():
    """Answer requests until there are no more."""
    run = None
    for line in sys.stdin:
        request = json.loads(line)
        if "model" in request:
            run, path = opened(request)
            answer = {"outputs": path, "version": onnxruntime.__version__}
        else:
            times = []
            for _ in range(request["runs"]):
                began = time.perf_counter()
                run()
                times.append(time.perf_counter() - began)
            answer = {"seconds": times}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
