"""The parts `kernels` and `kit`: what is computed is right, on this device."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.gpu.here import ROOT, TESTS, Place, device, environment, with_tests

OF_A_FAMILY = 2
"""Examples of a family in a dry run."""

MOST_TOLD = 40
"""Failures that are told in full."""


def kernels(place: Place) -> dict[str, Any]:
    """Run the tests' examples of every family, with other numbers, against float64.

    Each is loaded from a cubin that NVRTC compiles here.
    """
    with_tests()
    from codegen.examples import check, collected

    driver = device()
    examples = _few(collected()) if place.dry else collected()
    began = time.perf_counter()
    every = {kernel.name: kernel for each in examples for kernel in each.kernels}
    driver.load(every.values(), None)
    loaded = time.perf_counter() - began
    passed: Counter[str] = Counter()
    failed: dict[str, str] = {}
    families: Counter[str] = Counter()
    left = 0
    for number, example in enumerate(examples):
        if place.left() < 0:
            left = len(examples) - number
            break
        family = _family(example)
        families[family] += 1
        try:
            check(_shuffled(example, number), driver)
            passed[family] += 1
        except Exception as error:
            failed[f"{family}: {example.name}"] = _told(error)
            place.save({"passed so far": passed.total(), "failed": failed})
    return {
        "kernels": len(every),
        "s to compile and load": loaded,
        "examples": families.total(),
        "passed": passed.total(),
        "by family": {name: f"{passed[name]} of {n}" for name, n in families.items()},
        "not run for want of time": left,
        "failed": dict(list(failed.items())[:MOST_TOLD]),
    }


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _family(example: Any) -> str:
    return str(example.make.__module__).rpartition("test_")[2].rpartition(".")[2]


def _few(examples: list[Any]) -> list[Any]:
    seen: Counter[str] = Counter()
    found = []
    for example in examples:
        family = _family(example)
        seen[family] += 1
        if seen[family] <= OF_A_FAMILY:
            found.append(example)
    return found


def _shuffled(example: Any, seed: int) -> Any:
    """Return an example with its floats in another order: fresh, and as valid as before."""
    from codegen.examples import is_float

    rng = np.random.default_rng([seed, time.time_ns() & 0xFFFF])
    inputs = [
        (tensor, rng.permutation(array.reshape(-1)).reshape(array.shape))
        if is_float(array.dtype)
        else (tensor, array)
        for tensor, array in example.inputs
    ]
    return replace(example, inputs=inputs)


KIT = {
    "contract": "contract or abilities or executables or devices",
    "models": "models",
    "nodes": "nodes",
    "rest": "mixed or process",
}
"""Parts of the kit by what their tests are called, the most telling first."""


def kit(place: Place) -> dict[str, Any]:
    """Run the conformance kit, part by part, as far as the time goes."""
    found: dict[str, Any] = {}
    for name, expression in KIT.items():
        if place.left() < 5:
            found[name] = {"error": "no time was left"}
            continue
        found[name] = _kit(place, name, expression)
        place.save(found)
    return found


def _kit(place: Place, name: str, expression: str) -> dict[str, Any]:
    report = place.folder / f"kit-{name}.xml"
    report.unlink(missing_ok=True)
    chosen = f"({expression})" + (" and (add or relu)" if place.dry else "")
    provider = "doubled:provider" if place.dry else "CUDAExecutionProvider"
    command = [
        sys.executable, "-m", "pytest", "-q", "-x" if place.dry else "--maxfail=50",
        "-p", "no:cacheprovider", "-p", "runtime.testing.plugin",
        "--pyargs", "runtime.testing", "--ep", provider, "--ep-limit", "60",
        "-k", chosen, f"--junit-xml={report}", "--tb=line",
        "--ep-option", "precision=fp32", "--ep-option", "cudnn_conv_algo_search=HEURISTIC",
    ]  # fmt: skip
    if find_spec("pytest_timeout"):
        command.append(f"--session-timeout={max(place.left() - 5, 5):.0f}")
    added = environment(place.folder)
    if place.dry:
        added["PYTHONPATH"] = os.pathsep.join((str(TESTS), added["PYTHONPATH"]))
    began = time.perf_counter()
    try:
        ran = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **added},
            capture_output=True,
            text=True,
            timeout=max(place.left(), 5),
        )
        tail = ran.stdout[-1500:] + ran.stderr[-500:]
    except subprocess.TimeoutExpired as error:
        out = error.stdout or b""
        tail = (
            "stopped, as its time was up: "
            + (out.decode(errors="replace") if isinstance(out, bytes) else out)[-400:]
        )
    return {
        **_counted(report),
        "s": time.perf_counter() - began,
        "end of output": tail.splitlines()[-12:],
    }


def _counted(report: Any) -> dict[str, Any]:
    """Return how many tests ended how, from a JUnit file."""
    if not report.exists():
        return {"error": "no report was written"}
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    failed = [
        f"{case.get('classname')}::{case.get('name')}: {(bad.get('message') or '')[:200]}"
        for case in suite.iter("testcase")
        for bad in (*case.iter("failure"), *case.iter("error"))
    ]
    return {
        "tests": int(suite.get("tests", 0)),
        "skipped": int(suite.get("skipped", 0)),
        "failed": failed[:MOST_TOLD],
    }
