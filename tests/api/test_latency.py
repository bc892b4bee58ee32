"""How long a run of a model of one node takes, beside onnxruntime in the same process."""

import time

import numpy as np
import pytest
import runtime as ort
from models import FLOAT, model, node

pytestmark = pytest.mark.slow

MODEL = model(
    [node("Relu", ["x"], ["y"])], {"x": (FLOAT, [4])}, {"y": (FLOAT, [4])}
).SerializeToString()
X = np.ones(4, np.float32)
ROUNDS, TURNS, CALLS = 5, 20, 500


def least(*calls):
    """Return the least time of a call for each of several, which take turns."""
    times = [float("inf")] * len(calls)
    for _ in range(TURNS):
        for at, call in enumerate(calls):
            began = time.perf_counter()
            for _ in range(CALLS):
                call()
            times[at] = min(times[at], (time.perf_counter() - began) / CALLS)
    return times


def bound(session):
    binding = session.io_binding()
    binding.bind_cpu_input("x", X)
    binding.bind_output("y")
    return lambda: session.run_with_iobinding(binding)


def test_a_bound_run_takes_no_longer_than_a_run_there_and_a_run_half_again_as_long():
    peer = pytest.importorskip("onnxruntime")
    pytest.importorskip("llvmlite")
    ours, theirs = ort.InferenceSession(MODEL), peer.InferenceSession(MODEL)
    feed = {"x": X}
    for _ in range(ROUNDS):
        times = least(
            bound(ours),
            lambda: ours.run(None, feed),
            lambda: theirs.run(None, feed),
        )
        if times[0] <= times[2] and times[1] <= 1.5 * times[2]:
            return
    pytest.fail(f"seconds, bound, run, and run in onnxruntime: {times}")
