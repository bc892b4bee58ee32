"""Runs the conformance kit in a process of its own, from a folder that knows nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from xml.etree import ElementTree

HOSTILE = "runtime.testing.hostile"
PROVIDERS = "runtime.testing.providers"


@dataclass(frozen=True)
class Run:
    """What a run of the kit came to: tests by outcome, ``function[case]`` each."""

    code: int
    text: str
    passed: frozenset[str]
    failed: frozenset[str]
    skipped: frozenset[str]

    @property
    def broken(self) -> set[str]:
        """The functions of which a case failed."""
        return {re.sub(r"\[.*", "", name) for name in self.failed}


def run_kit(folder, *arguments, modules=("",), limit=60):
    """Run some of the kit's modules; the whole of it by default."""
    results = folder / "results.xml"
    names = [f"runtime.testing.{m}" if m else "runtime.testing" for m in modules]
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "runtime.testing.plugin",
        "-p", "no:cacheprovider", "-p", "no:xdist", "--pyargs", *names,
        "--ep-limit", str(limit), f"--junit-xml={results}", *arguments,
    ]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1700,
        env={**os.environ, "PYTEST_ADDOPTS": "", "PYTEST_XDIST_WORKER": ""},
    )
    outcomes = {"passed": set(), "failed": set(), "skipped": set()}
    if results.exists():
        for case in ElementTree.parse(results).iter("testcase"):
            bad = case.find("failure") is not None or case.find("error") is not None
            left = case.find("skipped") is not None
            outcome = "failed" if bad else "skipped" if left else "passed"
            outcomes[outcome].add(case.get("name"))
    text = done.stdout + done.stderr
    return Run(done.returncode, text, *map(frozenset, outcomes.values()))
