"""Threads of a process that a control group limits: onnxruntime counts processors alone.

Needs groups that may be made: Linux, and root as in a container of one's own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from models import dense

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="control groups are Linux's"
)

ROOTS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))

COUNT = """
import os, sys
import numpy as np
with open(sys.argv[3], "w") as group:
    group.write(str(os.getpid()))
ort = __import__(sys.argv[1])
before = len(os.listdir("/proc/self/task"))
with open(sys.argv[2], "rb") as file:
    session = ort.InferenceSession(file.read(), providers=["CPUExecutionProvider"])
for _ in range(3):
    session.run(None, {"x": np.ones((4096, 4), np.float32)})
if ort.__name__ == "runtime":
    from runtime_ep_cpu.threads import granted
    print(granted())
else:
    print(1 + len(os.listdir("/proc/self/task")) - before)
"""


@pytest.fixture
def half():
    """Make a group that may use half a processor; yield the file that takes processes."""
    name = f"runtime-test-{os.getpid()}"
    for root in ROOTS:
        group = root / name
        try:
            group.mkdir()
            if (group / "cpu.max").exists():
                (group / "cpu.max").write_text("50000 100000")
            else:
                (group / "cpu.cfs_quota_us").write_text("50000")
        except OSError:
            if group.exists():
                group.rmdir()
            continue
        yield group / "cgroup.procs"
        group.rmdir()
        return
    pytest.skip("no control group with a quota can be made here")


def threads(module, group, tmp_path):
    """Return how many threads a session uses in a group."""
    path = tmp_path / "dense.onnx"
    path.write_bytes(dense())
    command = [sys.executable, "-c", COUNT, module, str(path), str(group)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def test_a_session_has_no_more_threads_than_its_group_grants(half, tmp_path):
    assert threads("runtime", half, tmp_path) == 1


def test_onnxruntime_has_as_many_as_there_are_processors(half, tmp_path):
    pytest.importorskip("onnxruntime")
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two processors")
    assert threads("onnxruntime", half, tmp_path) > 1
