"""The conformance kit passes for OpenVINO, with the CPU provider behind it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino")

from small import NAME

XFAILS = Path(__file__).with_name("xfails.txt")

PEERS_CLAIMS = 898
"""Cases of onnx 1.23.2 that onnxruntime-openvino 1.24.1 runs on OpenVINO, wholly or partly.

Counted by the provider its profile names for each node, with all optimizations on; without
them it is 877. Of the 898, 864 are right.
"""


@pytest.mark.timeout(900)
def test_the_kit_passes_and_claims_more_than_onnxruntimes_package(tmp_path):
    command = [
        sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "runtime.testing.plugin",
        "-p", "no:cacheprovider", "--pyargs", "runtime.testing", "--ep", NAME, "--ep", "cpu",
        "--xfails", str(XFAILS), "--capabilities", str(tmp_path / "capabilities.json"),
    ]  # fmt: skip
    environment = {**os.environ, "PYTEST_ADDOPTS": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    found = json.loads((tmp_path / "capabilities.json").read_text())["summary"]
    assert found["failed"] == 0
    assert found["xfailed"] <= 3
    assert found["claimed"] >= max(1_300, PEERS_CLAIMS)
