"""Where Core ML or coremltools is missing: told clearly, and answered by the CPU."""

import importlib.util
import sys

import numpy as np
import pytest
import runtime as ort
from coreml_models import X, dense, expected
from runtime.explain import forget_warnings
from runtime_ep_coreml import info as described
from runtime_ep_coreml.provider import provider


def on(monkeypatch, system, version="9.0", mac="15.1"):
    """Let the probe see a system and a version of coremltools, ``""`` being none."""
    monkeypatch.setattr(described.sys, "platform", system)
    there = object() if version else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there)
    monkeypatch.setattr(described.importlib.metadata, "version", lambda name: version)
    monkeypatch.setattr(described.platform, "mac_ver", lambda: (mac, ("",) * 3, ""))
    return described.probe()


@pytest.mark.parametrize(
    ("system", "version", "mac", "reason", "remedy"),
    [
        ("linux", "9.0", "", "Core ML runs models on macOS only", "packages for Macs"),
        ("linux", "", "", "the coremltools package is not installed", "pip install"),
        ("win32", "", "", "the coremltools package is not installed", "pip install"),
        (
            "darwin",
            "",
            "15.1",
            "the coremltools package is not installed",
            "3.11 to 3.13",
        ),
        (
            "darwin",
            "8.3",
            "15.1",
            "coremltools 8.3 is installed, and 9 or newer",
            "pip",
        ),
        ("darwin", "9.0", "13.6", "this is macOS 13.6; 14.0 is needed", "update macOS"),
    ],
)
def test_what_is_missing_is_told_with_the_remedy(
    monkeypatch, system, version, mac, reason, remedy
):
    probe = on(monkeypatch, system, version, mac)
    assert not probe.usable
    assert reason in probe.reason
    assert remedy in probe.remedy


@pytest.mark.parametrize("mac", ["14.0", "15.1", "26.0"])
def test_on_a_mac_with_coremltools_it_is_usable(monkeypatch, mac):
    probe = on(monkeypatch, "darwin", "9.0", mac)
    assert probe.usable
    assert probe.details == {"coremltools": "9.0", "macOS": mac}


@pytest.mark.skipif(sys.platform == "darwin", reason="here it is usable")
def test_a_session_warns_with_the_reason_and_the_cpu_answers(registered):
    provider.info = described.info
    if "CoreMLExecutionProvider" not in ort.get_all_providers() or not _installed():
        registered(provider)
    forget_warnings()
    given = ["CoreMLExecutionProvider", "CPUExecutionProvider"]
    with pytest.warns(ort.FallbackWarning, match="CoreML.*(macOS only|not installed)"):
        session = ort.InferenceSession(dense(), providers=given)
    np.testing.assert_allclose(
        session.run(None, {"x": X})[0], expected(), rtol=1e-4, atol=1e-4
    )
    assert session.get_providers() == ["CPUExecutionProvider"]
    with pytest.raises(Exception, match="macOS only|not installed"):
        ort.InferenceSession(dense(), providers=given, strict=True)


def _installed():
    from runtime.providers import registry

    return "CoreMLExecutionProvider" in registry.all()
