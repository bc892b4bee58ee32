"""The runtime's conformance kit, as `runtime ep test acme` runs it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "runtime.cli", "ep", "test", "acme"]


def test_the_kit_passes():
    command = [*COMMAND, "--xfails", "xfails.txt"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
