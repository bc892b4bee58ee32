"""A Predictor gives equal results in a process pool, after a fork, and in Ray Data."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import runtime as ort
from models import dense, dense_reference

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_session_made_before_a_fork_runs_in_the_child(model):
    session = ort.InferenceSession(model)
    feed = batches(1)[0]
    want = session.run(None, feed)[0]
    child = os.fork()
    if child == 0:
        same = np.array_equal(session.run(None, feed)[0], want)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


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
