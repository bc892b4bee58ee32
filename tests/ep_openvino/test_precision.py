"""Float32 unless asked otherwise, and explain() says which."""

import numpy as np
import pytest

pytest.importorskip("openvino")

import openvino
from small import RNG, dense, facts, session

WEIGHT = RNG.standard_normal((64, 64)).astype(np.float32)
X = RNG.standard_normal((256, 64)).astype(np.float32)
WIDE = np.maximum(X.astype(np.float64) @ WEIGHT.astype(np.float64), 0)


def error(opened):
    (y,) = opened.run(None, {"x": X})
    return float(np.max(np.abs(y - WIDE)) / np.max(WIDE))


def has_bfloat16():
    core = openvino.Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_float32_is_the_default_whatever_the_machine_prefers():
    opened = session(dense(weight=WEIGHT))
    assert facts(opened)["precision"] == "fp32"
    assert error(opened) < 1e-6


@pytest.mark.skipif(not has_bfloat16(), reason="the processor has no bfloat16")
def test_bfloat16_is_used_when_asked_for_and_told():
    opened = session(dense(weight=WEIGHT), precision="BF16")
    assert facts(opened)["precision"] == "bf16"
    assert "precision: bf16" in str(opened.explain())
    assert 1e-4 < error(opened) < 2e-2


def test_accuracy_is_the_models_own_types():
    opened = session(dense(weight=WEIGHT), precision="ACCURACY")
    assert facts(opened)["precision"] in ("fp32", "the model's own types")
    assert error(opened) < 1e-6
