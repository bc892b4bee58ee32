"""Without TensorRT: told clearly, with the remedy, and answered by the next provider."""

import json

import numpy as np
import pytest
import runtime as ort
from runtime.explain import forget_warnings
from runtime.providers import registry
from runtime_ep_tensorrt.info import NAME, info
from runtime_ep_tensorrt.provider import provider
from trt_models import RNG, model

W = RNG.standard_normal((4, 4)).astype(np.float32)
SOURCE = model("(float[2,4] x) => (float[2,4] y) { y = MatMul(x, w) }", w=W)

pytestmark = pytest.mark.skipif(info.probe().usable, reason="here it is usable")


@pytest.fixture(autouse=True)
def here():
    """Have the provider registered, installed or not."""
    installed = NAME in registry.all()
    if not installed:
        registry.register(provider, info, NAME)
    yield
    if not installed:
        registry.unregister(NAME)


def test_a_session_warns_with_the_reason_and_the_cpu_answers():
    forget_warnings()
    with pytest.warns(
        ort.FallbackWarning, match=f"{NAME}.*the tensorrt package is not installed"
    ) as told:
        session = ort.InferenceSession(
            SOURCE.SerializeToString(), providers=[NAME, "CPUExecutionProvider"]
        )
    assert any('pip install "tensorrt-cu13' in str(each.message) for each in told)
    x = RNG.standard_normal((2, 4)).astype(np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ W, rtol=1e-5)
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_strict_refuses_to_go_on_without_it():
    with pytest.raises(Exception, match="the tensorrt package is not installed"):
        ort.InferenceSession(SOURCE.SerializeToString(), providers=[NAME], strict=True)


def test_doctor_says_what_is_missing_and_how_to_get_it(capsys):
    from runtime.cli import main

    main(["doctor", "--json"])
    told = json.dumps(json.loads(capsys.readouterr().out))
    assert "the tensorrt package is not installed" in told
    assert "pip install" in told
