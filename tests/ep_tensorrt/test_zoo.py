"""Real architectures through TensorRT, CUDA and CPU, on doubles: few engines, right answers."""

import numpy as np
import pytest
from trt_models import distance
from trt_sessions import CUDA, NAME, alone, opened, placed, share

from benchmarks.zoo import ZOO

QUICK = ("resnet18", "detector", "bert_base", "llama", "lstm_small", "unet_dynamo23")
ALL = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in sorted(ZOO)
]
LIMIT = 2e-5
HALVES = 2e-3


def run(name, session, case=0):
    """Run a model of the zoo; return the largest error, relative to the CPU provider."""
    entry = ZOO[name]
    feed = entry.feeds("tiny", **entry.cases("tiny")[case])
    want = alone(entry.build("tiny")).run(None, feed)
    got = session.run(None, feed)
    return max(distance(*pair) for pair in zip(got, want, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_nearly_all_nodes_are_in_at_most_two_engines(trt, name):
    session = opened(ZOO[name].build("tiny"), CUDA)
    assert share(session) >= 0.98, session.explain()
    assert len(placed(session)) <= 2, session.explain()
    assert run(name, session) < LIMIT
    engines = len(placed(session))
    assert trt.counts["builds"] == engines
    second = opened(ZOO[name].build("tiny"), CUDA)
    assert run(name, second) < LIMIT
    assert trt.counts["builds"] == engines, "a second session builds nothing"
    assert {item.partition.provider for item in placed(second)} == {NAME}


@pytest.mark.parametrize("name", ["resnet18", "vit", "bert_base", "gpt2", "lstm_small"])
def test_halves_are_within_tolerance(trt, name):
    session = opened(ZOO[name].build("tiny"), CUDA, trt_fp16_enable=1)
    assert all(i.executable.facts["precision"] == "fp16" for i in placed(session))
    assert run(name, session) < HALVES


@pytest.mark.parametrize("name", ["bert_base", "gpt2", "llama", "vit"])
def test_other_sizes_grow_the_range(trt, name):
    session = opened(ZOO[name].build("tiny"), CUDA)
    for case, _ in enumerate(ZOO[name].cases("tiny")):
        assert run(name, session, case) < LIMIT
    before = trt.counts["builds"]
    for case, _ in enumerate(ZOO[name].cases("tiny")):
        assert run(name, session, case) < LIMIT
    assert trt.counts["builds"] == before


def test_the_answers_are_numbers():
    entry = ZOO["resnet18"]
    feed = entry.feeds("tiny", **entry.cases("tiny")[0])
    assert np.isfinite(alone(entry.build("tiny")).run(None, feed)[0]).all()
