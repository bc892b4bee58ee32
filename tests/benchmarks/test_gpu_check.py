"""The check for machines with a GPU does all of its parts, dry, on the host's double."""

import json
import shutil
from importlib.util import find_spec

import pytest

from benchmarks import gpu_check
from benchmarks.gpu import report
from benchmarks.gpu.duel import order
from benchmarks.gpu.here import Place
from benchmarks.gpu.subjects import MODELS

needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="g++ is missing")


def check(tmp_path, *arguments):
    """Run some parts dry; return the status, what was found, and its Markdown."""
    file = tmp_path / "gpu.json"
    common = ["--dry", "--json", str(file), "--folder", str(tmp_path / "work")]
    status = gpu_check.main([*common, *arguments])
    found = json.loads(file.read_text())["parts"]
    return status, found, file.with_suffix(".md").read_text()


@needs_compiler
@pytest.mark.parametrize("part", ["card", "points", "kernels", "mixed", "start"])
def test_a_part_finds_what_it_looks_for(tmp_path, part):
    status, found, text = check(tmp_path, "--parts", part, "--minutes", "4")
    assert status == 0, found
    assert "error" not in json.dumps(found)
    assert f"## {part}" in text


@needs_compiler
def test_models_take_turns_with_the_peers_that_are_there(tmp_path):
    pytest.importorskip("onnxruntime")
    status, found, text = check(
        tmp_path, "--parts", "speed", "--models", "bert_base", "--minutes", "4"
    )
    assert status == 0, found
    (line,) = found["speed"]["lines"].values()
    assert line["ms"].keys() == {"ours", "onnxruntime"}
    assert line["error"]["onnxruntime"] < 1e-4
    assert line["ratio"]["onnxruntime"]["pairs"] == 3
    assert line["failed"] == {}
    assert "| bert_base fp32 ×1 |" in text


@needs_compiler
@pytest.mark.slow
def test_the_kit_runs_in_parts(tmp_path):
    status, found, _ = check(tmp_path, "--parts", "kit", "--minutes", "5")
    assert status == 0, found
    assert all(
        part["tests"] for part in found["kit"].values() if isinstance(part, dict)
    )


@needs_compiler
def test_a_peer_that_is_not_there_is_told(tmp_path):
    if find_spec("torch"):
        pytest.skip("torch is installed")
    arguments = ("--parts", "torch", "--models", "bert_base", "--minutes", "4")
    status, found, text = check(tmp_path, *arguments)
    assert status == 0, found
    (line,) = found["torch"]["lines"].values()
    assert line["ms"].keys() == {"ours"}
    assert "No module named 'torch'" in line["failed"]["torch"]
    assert "No module named 'torch'" in text


def test_what_an_earlier_run_has_is_kept_and_not_measured_again(tmp_path):
    place = Place(tmp_path, lambda: 1.0)
    names = [f"{name} {precision} ×{batch}" for name, precision, batch in order(place)]
    assert len(names) == len(set(names)) == 3 * 4 * len(MODELS)
    before = {"lines": {"a": {"ms": 1}}, "seconds": 1}
    now = gpu_check.merged(before, {"lines": {"b": {"ms": 2}}})
    assert now["lines"] == {"a": {"ms": 1}, "b": {"ms": 2}}
    failed = gpu_check.merged(before, {"error": "the card fell off"})
    assert failed == {**before, "later": "the card fell off"}


def test_a_part_that_fails_is_recorded_and_the_next_goes_on(tmp_path, monkeypatch):
    parts = {"missing": ("nowhere", 1.0), "absent": ("nowhere", 1.0)}
    monkeypatch.setattr(gpu_check, "PARTS", parts)
    file = tmp_path / "gpu.json"
    options = ["--dry", "--json", str(file), "--minutes", "1", "--parts", *parts]
    assert gpu_check.main(options) == 1
    found = json.loads(file.read_text())["parts"]
    assert found.keys() == parts.keys()
    assert all("ended with status" in part["error"] for part in found.values())


def test_a_part_without_time_says_so(tmp_path):
    status, found, _ = check(tmp_path, "--parts", "card", "--minutes", "0")
    assert status == 1
    assert found["card"]["error"] == "no time was left"


def test_speeds_become_a_table_with_their_mean():
    ratio = {"middle": 2.0, "low": 1.5, "high": 2.5, "pairs": 7}
    line = {
        "ms": {"ours": 1.0, "onnxruntime": 2.0},
        "ratio": {"onnxruntime": ratio},
        "error": {"onnxruntime": 1e-3},
        "s to open": {"ours": 3.0},
        "limit": {"by": "memory", "%": 61.0},
        "failed": {},
    }
    lines = {"a": line, "b": {"error": "it broke"}}
    late = {"not run for want of time": ["c"]}
    text = report.markdown({"parts": {"speed": {"lines": lines, **late}}})
    assert "| a | 1 | 2 | 2 | 1.50–2.50 | 0.001 | 61 % of memory | 3 |" in text
    assert "| b | failed |" in text
    assert "- b: it broke" in text
    assert "Geometric mean 2.00, lowest 2.00, of 1." in text
    assert "- not run for want of time: c" in text
