"""On a Mac: Core ML loads, predicts, tells its plan, and runs side by side.

Everything here needs macOS 14 and coremltools; the workflow ``coreml.yml`` runs it.
"""

import sys
import threading

import numpy as np
import pytest

pytest.importorskip("coremltools")
import runtime as ort
from coreml_models import X, dense, expected
from runtime.testing.subject import Subject

from benchmarks.zoo import ZOO

pytestmark = pytest.mark.skipif(
    sys.platform != "darwin", reason="Core ML runs models on macOS only"
)

NAME = "CoreMLExecutionProvider"
LIMITS = {"FP32": 1e-3, "FP16": 3e-2}


def session(source, entries=(), **given):
    options = ort.SessionOptions()
    options.add_session_config_entry("session.cost_rule", "0")
    for key, value in dict(entries).items():
        options.add_session_config_entry(key, value)
    return ort.InferenceSession(source, options, providers=[(NAME, given)], strict=True)


def facts(opened):
    (part,) = [p for p in opened.explain().partitions if p.provider == NAME]
    return part.facts


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNTIME_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_usable_here():
    assert NAME in ort.get_available_providers()


@pytest.mark.parametrize("units", ["CPUOnly", "CPUAndGPU", "CPUAndNeuralEngine", "ALL"])
def test_every_unit_answers(units):
    opened = session(dense(), MLComputeUnits=units)
    np.testing.assert_allclose(
        opened.run(None, {"x": X})[0], expected(), rtol=2e-2, atol=2e-2
    )


def test_the_second_session_loads_what_was_compiled(folder):
    for _ in range(2):
        opened = session(dense())
        opened.run(None, {"x": X})
        assert list(folder.rglob("*.mlmodelc"))
    assert facts(opened)["source"] == "loaded from the compile cache"


def test_a_kept_model_that_does_not_load_is_compiled_anew(folder):
    session(dense()).close()
    (kept,) = folder.rglob("*.mlmodelc")
    for file in [path for path in kept.rglob("*") if path.is_file()]:
        file.write_bytes(b"damaged")
    opened = session(dense())
    np.testing.assert_allclose(
        opened.run(None, {"x": X})[0], expected(), rtol=2e-2, atol=2e-2
    )


def test_the_plan_names_devices():
    assert (
        "CPU"
        in facts(session(dense(), ProfileComputePlan=1, MLComputeUnits="CPUOnly"))[
            "plan"
        ]
    )


@pytest.mark.parametrize(
    "given",
    [
        {"SpecializationStrategy": "FastPrediction"},
        {"AllowLowPrecisionAccumulationOnGPU": 1},
    ],
    ids=str,
)
def test_hints_are_taken(given):
    opened = session(dense(), **given)
    np.testing.assert_allclose(
        opened.run(None, {"x": X})[0], expected(), rtol=2e-2, atol=2e-2
    )


def test_threads_share_a_session():
    opened, wrong = session(dense(), MLComputeUnits="CPUOnly"), []

    def work(number):
        x = X * number
        for _ in range(20):
            (y,) = opened.run(None, {"x": x})
            if not np.allclose(y, expected(x), rtol=1e-3, atol=1e-2):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize(
    "name",
    ["resnet50", "mobilenet_v2", "convnext", "vit", "bert_base", "minilm", "lstm"],
)
def test_the_zoo_is_what_the_cpu_gives(name, precision):
    entry = ZOO[name]
    source, dims = entry.build("tiny").SerializeToString(), entry.cases("tiny")[0]
    subject = Subject(
        (NAME, "cpu"), {"Precision": precision, "MLComputeUnits": "CPUOnly"}
    )
    opened = subject.open(source, dims=dims)
    feed = entry.feeds("tiny", **dims)
    for got, want in zip(opened(feed), subject.alone(source)(feed), strict=True):
        scale = np.abs(want).max(initial=0)
        assert np.abs(got - want).max(initial=0) <= LIMITS[precision] * scale
    assert not opened.faults
