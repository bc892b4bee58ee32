"""The conformance kit passes for the provider with the host double for a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
XFAILS = HERE / "xfails.txt"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_kit_passes_on_the_double(tmp_path):
    command = [
        sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "runtime.testing.plugin",
        "-p", "no:cacheprovider", "--pyargs", "runtime.testing",
        "--ep", "doubled:provider", "--ep", "cpu",
        "--xfails", str(XFAILS), "--capabilities", str(tmp_path / "capabilities.json"),
    ]  # fmt: skip
    environment = {**os.environ, "PYTEST_ADDOPTS": "", "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    found = json.loads((tmp_path / "capabilities.json").read_text())["summary"]
    assert found["failed"] == 0
    assert found["claimed"] >= 1_400
