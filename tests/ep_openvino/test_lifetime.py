"""Cancel, close, trim, memory, the interpreter's lock, fork, and a hundred sessions."""

import gc
import os
import subprocess
import sys
import threading
import time
import timeit

import numpy as np
import pytest

pytest.importorskip("openvino")

from runtime.abilities import Context
from small import X, dense, expected, model, program, session
from stopping import least_seconds_to_stop

HEAVY = np.random.default_rng(3).standard_normal((1024, 1024)).astype(np.float32) / 32


def heavy(layers=60):
    """Return a model that runs for a good while: many large products in a row."""
    lines = [f"x{i + 1} = MatMul(x{i}, w)" for i in range(layers)]
    text = f"(float[n,1024] x0) => (float[n,1024] x{layers}) {{ {' '.join(lines)} }}"
    return model(text, w=HEAVY)


def ones(rows):
    return np.ones((rows, 1024), np.float32)


def test_a_run_in_progress_can_be_stopped():
    opened = session(heavy(), entries={"session.cache": "0"})
    feed = {"x0": ones(2048)}
    whole = opened.run(None, feed)[0]
    alone = min(timeit.repeat(lambda: opened.run(None, feed), repeat=2, number=1))
    assert least_seconds_to_stop(opened, feed, alone / 8, tries=3) < alone * 0.6
    np.testing.assert_array_equal(opened.run(None, feed)[0], whole)


def test_the_interpreter_runs_on_while_openvino_works():
    opened = session(heavy(), num_of_threads=1, entries={"session.cache": "0"})
    feed = {"x0": ones(1024)}
    opened.run(None, feed)
    counted, done = [0], threading.Event()

    def spin():
        while not done.is_set():
            counted[0] += 1

    spinner = threading.Thread(target=spin)
    spinner.start()
    began = time.perf_counter()
    while counted[0] == 0:
        time.sleep(0.001)
    before = counted[0]
    opened.run(None, feed)
    during, seconds = counted[0] - before, time.perf_counter() - began
    done.set()
    spinner.join()
    assert seconds > 0.05
    assert during > 10_000 * seconds


def test_memory_is_told_and_given_back_by_close():
    text = "(float[1024,1024] x) => (float[1024,1024] y) { y = Add(x, w) }"
    opened = session(model(text, w=HEAVY), entries={"session.cache": "0"})
    told = [held for parts in opened.memory().values() for held in parts.values()]
    assert {"weights": HEAVY.nbytes} in told
    opened.close()
    with pytest.raises(Exception, match="closed"):
        opened.run(None, {"x": HEAVY})


def test_a_program_runs_on_after_trim():
    made, _ = program(dense())
    made.run([X], (None,), Context())
    made.trim()
    (compiled,) = made._compiled.values()
    assert not compiled._idle
    (y,) = made.run([X], (None,), Context())
    np.testing.assert_allclose(y, expected(X), rtol=1e-4, atol=1e-4)


def test_a_session_is_a_context_and_survives_pickling():
    import pickle

    with session(dense()) as opened:
        again = pickle.loads(pickle.dumps(opened))
    np.testing.assert_allclose(
        again.run(None, {"x": X})[0], expected(X), rtol=1e-4, atol=1e-4
    )


FORK = """
import os, sys
import numpy as np
import runtime as ort
from runtime.providers import registry
assert "OpenVINOExecutionProvider" in ort.get_available_providers()
assert "openvino" not in sys.modules
child = os.fork()
if child == 0:
    from small import X, dense, expected, session
    (y,) = session(dense()).run(None, {"x": X})
    os._exit(0 if np.allclose(y, expected(X), rtol=1e-4, atol=1e-4) else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_probe_then_fork_then_run_in_the_child():
    folder = os.path.dirname(__file__)
    environment = {**os.environ, "PYTHONPATH": folder}
    done = subprocess.run(
        [sys.executable, "-c", FORK], env=environment, timeout=120, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
@pytest.mark.parametrize("cache", ["0", "1"], ids=["compiled", "from the cache"])
def test_a_hundred_sessions_give_their_memory_back(cache):
    """The slope over sessions is far below what one session holds, 4 MB of weights."""
    text = "(float[n,1024] x) => (float[n,1024] y) { m = MatMul(x, w) y = Relu(m) }"
    source = model(text, w=HEAVY)
    feed, sizes = {"x": ones(2)}, []
    for index in range(100):
        with session(source, entries={"session.cache": cache}) as opened:
            opened.run(None, feed)
        del opened
        gc.collect()
        if index >= 20:
            sizes.append(resident())
    slope = np.polyfit(np.arange(len(sizes)), sizes, 1)[0]
    assert slope < HEAVY.nbytes / 20, f"{slope:.0f} bytes a session"
