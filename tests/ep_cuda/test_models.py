"""Real architectures run through the whole provider, on the double, as on the CPU."""

import numpy as np
import pytest
from on_the_double import alone, error, opened, programs, share

from benchmarks.zoo import ZOO
from benchmarks.zoo.convolutional import CONVOLUTIONAL

MODELS = (
    "resnet50", "mobilenet_v2", "convnext", "vit", "bert_base", "gpt2", "llama",
    "whisper_encoder", "unet", "detector", "lstm", "gru", "audio", "video",
)  # fmt: skip
WHOLE = dict.fromkeys(MODELS, 1.0) | {"detector": 0.98}
"""Which part of the nodes is the device's; the detector's suppression is the host's."""

HALVES = {"float16": 5e-3, "bfloat16": 4e-2}
"""Largest errors by type of storage, relative to the largest output."""

OTHERS = sorted({*ZOO, *CONVOLUTIONAL} - {*MODELS})


def case(name):
    """Return a model's bytes, and inputs for it."""
    entry = ZOO.get(name) or CONVOLUTIONAL[name]
    source = entry.build("tiny").SerializeToString()
    return source, entry.feeds("tiny", **entry.cases("tiny")[0])


def errors(session, source, feed):
    """Return the largest error of a third run, which is a replay."""
    for _ in range(2):
        session.run(None, feed)
    got, want = session.run(None, feed), alone(source).run(None, feed)
    return max(error(g, w) for g, w in zip(got, want, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_one_partition_and_what_the_cpu_computes(cuda, name):
    source, feed = case(name)
    session = opened(source)
    assert errors(session, source, feed) < 2e-6
    assert share(session) >= WHOLE[name]
    assert len(programs(session)) == 1 + (name == "detector")


@pytest.mark.parametrize("name", ["resnet50", "convnext", "bert_base", "gpt2", "unet"])
@pytest.mark.parametrize(
    ("precision", "kind"), [("fp16", "float16"), ("bf16", "bfloat16")]
)
def test_a_model_in_halves_is_near_what_the_cpu_computes(cuda, name, precision, kind):
    source, feed = case(name)
    session = opened(source, precision=precision)
    assert errors(session, source, feed) < HALVES[kind]
    stored = {
        tensor.dtype.name
        for program in programs(session)
        for plan in program._plans.values()
        for action in plan.actions
        for tensor in action.work.tensors
    }
    assert kind in stored


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_other_model_is_what_the_cpu_computes(cuda, name):
    source, feed = case(name)
    session = opened(source)
    assert errors(session, source, feed) < 5e-6
    assert share(session) >= 0.98


def test_another_batch_is_another_plan_of_the_same_program(cuda):
    entry = ZOO["resnet50"]
    source = entry.build("tiny").SerializeToString()
    session = opened(source)
    (program,) = programs(session)
    for batch in (1, 3):
        feed = entry.feeds("tiny", batch=batch)
        want = alone(source).run(None, feed)[0]
        assert error(session.run(None, feed)[0], want) < 2e-6
    assert len(program._plans) == 2
    assert np.isfinite(want).all()
