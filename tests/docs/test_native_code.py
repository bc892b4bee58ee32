"""The page on native code shows the groups that its example really has."""

import itertools
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/explanation/native-code.md"


def blocks(language):
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.M | re.S)
    return fence.findall(PAGE.read_text(encoding="utf-8"))


def test_the_groups_of_the_example_are_those_of_the_page(tmp_path, monkeypatch):
    pytest.importorskip("llvmlite")
    from runtime_ep_cpu.codegen.target import host
    from runtime_ep_cpu.native import dump

    monkeypatch.setattr(dump, "_numbers", itertools.count(1))
    monkeypatch.setenv("RUNTIME_DUMP", "groups")
    monkeypatch.setenv("RUNTIME_DUMP_DIR", str(tmp_path))
    monkeypatch.setenv("RUNTIME_NUM_THREADS", "2")
    exec(blocks("python")[0], {})
    made = (tmp_path / "cpu-1.groups").read_text(encoding="utf-8")
    told = [line for line in made.splitlines() if not line.startswith("    ")]
    written = blocks("text")[0].replace("target avx512", f"target {host().name}")
    assert written.splitlines() == told
