"""optimum and transformers run on us as on onnxruntime, and answer what torch does.

The models have random weights and are exported here; one process runs everything on
onnxruntime, another on this runtime.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECTIONS = [
    "classification", "tagging", "answering", "filling", "features", "images", "sound",
    "gpt2", "llama", "t5", "pipelines", "saved", "tensors",
]  # fmt: skip

pytestmark = [
    pytest.mark.timeout(900),  # the first waits for both runtimes
    pytest.mark.skipif(
        find_spec("optimum") is None or find_spec("torch") is None,
        reason="needs optimum-onnx and torch: nox -s clients",
    ),
]


def run(*arguments):
    made = subprocess.run(
        [sys.executable, "-W", "ignore", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert made.returncode == 0, made.stderr


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Return what everything answers, on us and on onnxruntime."""
    folder = tmp_path_factory.mktemp("optimum")
    run(HERE / "export_models.py", folder)
    ours, theirs = folder / "ours.json", folder / "theirs.json"
    program = HERE / "use_optimum.py"
    run(program, folder, theirs)
    run("-m", "runtime.as_onnxruntime", program, folder, ours)
    return json.loads(ours.read_text()), json.loads(theirs.read_text())


def test_each_ran_on_its_own_runtime(answers):
    ours, theirs = answers
    assert ours["by"] == "runtime.api.session"
    assert theirs["by"].startswith("onnxruntime.capi")
    assert [*ours] == [*theirs] == ["by", *SECTIONS]


@pytest.mark.parametrize("section", SECTIONS)
def test_both_answer_the_same(section, answers):
    ours, theirs = (each[section] for each in answers)
    assert "raised" not in theirs, theirs["raised"]
    assert "raised" not in ours, ours["raised"]
    same(ours, theirs)


def same(ours, theirs):
    """Assert that two answers are alike: numbers nearly, all else exactly."""
    if isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=2e-3, abs=2e-3)
    elif isinstance(theirs, dict):
        assert [*ours] == [*theirs]
        same([*ours.values()], [*theirs.values()])
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    else:
        assert ours == theirs
