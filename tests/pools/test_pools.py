"""A Predictor gives equal results in a process pool, after a fork, and in Ray Data."""

import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import runtime as ort
from doubles import Choosy
from models import dense, dense_reference

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "dense.onnx"
    path.write_bytes(dense())
    return str(path)


def batches(count):
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((5, 4)).astype(np.float32)} for _ in range(count)]


def test_a_process_pool_on_all_cores_gives_equal_results(model):
    from predict_in_pool import predict_all

    feeds = batches(24)
    predictor = ort.Predictor(model, threads=1)
    alone = [predictor(feed) for feed in feeds]
    pooled = predict_all(predictor, feeds, os.cpu_count() or 1)
    for got, want in zip(pooled, alone, strict=True):
        np.testing.assert_array_equal(got["y"], want["y"])


@FORKS
def test_a_session_made_before_a_fork_runs_in_the_child(model):
    session = ort.InferenceSession(model)
    feed = batches(1)[0]
    want = session.run(None, feed)[0]
    child = os.fork()
    if child == 0:
        same = np.array_equal(session.run(None, feed)[0], want)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


@FORKS
def test_after_probing_a_forked_child_makes_sessions_and_runs(model):
    """In a process of its own, which has probed every provider and done nothing else."""
    code = (
        "import os, sys, threading\n"
        "import numpy as np, runtime as ort\n"
        "names = ort.get_available_providers()\n"
        "assert threading.active_count() == 1\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    for name in names:\n"
        "        session = ort.InferenceSession(sys.argv[1], providers=[name])\n"
        "        assert session.get_providers()[0] == name\n"
        "        feed = {'x': np.ones((5, 4), np.float32)}\n"
        "        assert session.run(None, feed)[0].shape == (5, 3)\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, model], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@FORKS
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_while_other_threads_make_sessions_makes_its_own(model):
    stop = threading.Event()

    def work():
        while not stop.is_set():
            ort.InferenceSession(model).run(None, batches(1)[0])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        statuses = [ended(forked(model)) for _ in range(10)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert statuses == [0] * 10


def forked(model):
    child = os.fork()
    if child == 0:
        made = ort.InferenceSession(model).run(None, batches(1)[0])[0]
        os._exit(0 if made.shape == (5, 3) else 1)
    return child


def ended(child, limit=20.0):
    """Return a child's status; one that hangs is ended and has none."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


def test_a_session_pickles_with_its_options_and_providers(model, registered):
    registered(Choosy("AnyExecutionProvider", ["Relu"]))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.cost_rule", "0")
    names = ["AnyExecutionProvider", "CPUExecutionProvider"]
    with pytest.warns(ort.FallbackWarning):
        session = ort.InferenceSession(model, options, names, strict=False)
    again = pickle.loads(pickle.dumps(session))
    assert again.get_providers() == names
    assert again.explain().counts() == session.explain().counts()
    told = again.get_session_options()
    assert told.intra_op_num_threads == 1
    assert told.get_session_config_entry("session.cost_rule") == "0"


def test_ray_data_gives_equal_results(model):
    ray = pytest.importorskip("ray")
    from predict_with_ray import predict_dataset

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(EXAMPLES)}},
    )
    try:
        x = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
        items = [{"id": index, "x": row} for index, row in enumerate(x)]
        dataset = ray.data.from_items(items)
        rows = predict_dataset(model, dataset).take_all()
    finally:
        ray.shutdown()
    got = {row["id"]: row["y"] for row in rows}
    assert len(got) == 200
    for index, want in enumerate(dense_reference(x)):
        np.testing.assert_allclose(got[index], want, rtol=1e-5)
