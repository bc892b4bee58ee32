"""Without the wheel, or without the device: told clearly, and answered by the CPU."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("openvino")

import runtime as ort
from small import CPU, NAME, X, dense, expected, session

WITHOUT = """
import sys, warnings
sys.modules["openvino"] = None
import numpy as np
import runtime as ort
from small import CPU, NAME, X, dense, expected
assert NAME not in ort.get_available_providers()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    opened = ort.InferenceSession(dense(), providers=[NAME, CPU])
(told,) = [str(w.message) for w in caught if w.category is ort.FallbackWarning]
print(told)
np.testing.assert_allclose(opened.run(None, {"x": X})[0], expected(X), 1e-4, 1e-4)
assert opened.get_providers() == [CPU]
try:
    ort.InferenceSession(dense(), providers=[NAME, CPU], strict=True)
except Exception as error:
    print(type(error).__name__, error)
else:
    sys.exit("strict did not raise")
"""

BROKEN = WITHOUT.replace('sys.modules["openvino"] = None', "").replace(
    "assert NAME not in ort.get_available_providers()", ""
)


def run(program, *folders):
    paths = os.pathsep.join([*map(str, folders), os.path.dirname(__file__)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_without_the_wheel_the_reason_and_the_remedy_are_told_and_the_cpu_answers():
    warned, raised = run(WITHOUT).strip().splitlines()
    for told in (warned, raised):
        assert NAME in told
        assert "the openvino package is not installed" in told
        assert 'pip install "openvino>=2026.4"' in told


def test_a_wheel_that_does_not_load_is_told_and_the_cpu_answers(tmp_path):
    folder = tmp_path / "openvino"
    folder.mkdir()
    text = 'raise ImportError("libopenvino.so.2641: cannot open shared object file")'
    (folder / "__init__.py").write_text(text)
    warned, raised = run(BROKEN, tmp_path).strip().splitlines()
    for told in (warned, raised):
        assert "libopenvino.so.2641: cannot open shared object file" in told


def test_an_old_wheel_is_told_with_the_release_that_is_needed(monkeypatch):
    from runtime_ep_openvino import info

    for version, usable in (("2025.4.0", False), ("2026.4.1", True), ("2027.0", True)):
        monkeypatch.setattr(
            info.importlib.metadata, "version", lambda name, v=version: v
        )
        probe = info.probe()
        assert probe.usable is usable
        if not usable:
            assert "openvino 2025.4.0 is installed, and 2026.4 or newer" in probe.reason


def test_a_device_that_is_not_there_is_told_and_the_cpu_answers():
    with pytest.warns(ort.FallbackWarning, match=r"no device 'GPU' on this machine"):
        opened = session(dense(), strict=False, device_type="GPU")
    (y,) = opened.run(None, {"x": X})
    np.testing.assert_allclose(y, expected(X), rtol=1e-4, atol=1e-4)
    assert {node.provider for node in opened.explain().nodes} == {CPU}


def test_a_device_that_is_not_there_is_an_error_when_strict():
    with pytest.raises(Exception, match=r"no device 'NPU'.*choose another device_type"):
        session(dense(), device_type="NPU")
