"""Packages are made ahead of time where nothing can run them, and found by a later session."""

import sys

import numpy as np
import pytest

pytest.importorskip("coremltools")

import runtime as ort
from coreml_models import RNG, SUBJECT, model, subject
from mil_evaluator.engine import Evaluator
from runtime.cli import main
from runtime_ep_coreml.ahead import making, write_packages
from runtime_ep_coreml.info import info

BIG = (RNG.standard_normal((1024, 1024)) / 32).astype(np.float32)
SOURCE = model(
    "(float[64,1024] x) => (float[64,1024] y)"
    "{ a = MatMul(x, w) b = Relu(a) y = MatMul(b, w) }",
    w=BIG,
)
X = RNG.standard_normal((64, 1024)).astype(np.float32)


def test_each_partition_is_a_package_that_runs_by_itself(tmp_path):
    (package,) = write_packages(SOURCE, tmp_path)
    assert package == tmp_path / "partition-0.mlpackage"
    made = Evaluator(package).predict({"in_0": X})["out_0"]
    np.testing.assert_allclose(made, np.maximum(X @ BIG, 0) @ BIG, rtol=1e-3, atol=1e-3)
    usable = info.name in ort.get_available_providers()
    assert usable is (sys.platform == "darwin")


def test_options_are_those_of_a_session(tmp_path):
    (plain,) = write_packages(SOURCE, tmp_path / "plain")
    (half,) = write_packages(SOURCE, tmp_path / "half", {"Precision": "FP16"})
    weights = "Data/com.apple.CoreML/weights/weight.bin"
    assert (half / weights).stat().st_size < 0.6 * (plain / weights).stat().st_size
    with pytest.raises(Exception, match="did you mean 'Precision'"):
        write_packages(SOURCE, tmp_path / "none", {"Precison": "FP16"})


def test_nothing_is_written_for_what_is_not_worth_a_call(tmp_path):
    small = model("(float[3] x) => (float[3] y) { y = Relu(x) }")
    assert write_packages(small, tmp_path) == []


def test_a_session_finds_what_was_made_ahead(tmp_path):
    cache = {"ModelCacheDirectory": str(tmp_path / "cache")}
    write_packages(SOURCE, tmp_path / "packages", cache)
    opened = subject(**cache).open(SOURCE)
    (placed,) = opened.placed
    assert placed.executable.facts["source"] == "loaded from the compile cache"


def test_sessions_may_compile_where_they_cannot_run():
    with making():
        session = ort.InferenceSession(
            SOURCE, providers=[info.name, "CPUExecutionProvider"]
        )
        assert session.get_providers()[0] == info.name
        with pytest.warns(ort.FallbackWarning, match="made ahead of time run on a Mac"):
            (y,) = session.run(None, {"x": X})
    np.testing.assert_allclose(y, np.maximum(X @ BIG, 0) @ BIG, rtol=1e-3, atol=1e-3)


def test_the_command_writes_a_model_that_carries_its_packages(tmp_path):
    (tmp_path / "model.onnx").write_bytes(SOURCE)
    out = tmp_path / "compiled.onnx"
    asked = ["compile", str(tmp_path / "model.onnx"), "-p", "coreml", "-o", str(out)]
    assert main([*asked, "--must"]) == 0
    opened = SUBJECT.open(out.read_bytes())
    assert [node.op_type for node in opened.owned] == ["EPContext"]
    want = np.maximum(X @ BIG, 0) @ BIG
    np.testing.assert_allclose(opened({"x": X})[0], want, rtol=1e-3, atol=1e-3)
