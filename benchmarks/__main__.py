"""Measure imports, session creation and runs beside onnxruntime, interleaved, as ratios.

usage: python -m benchmarks [--size tiny|full] [--models NAME ...] [--rounds N]
Writes benchmarks/results/<size>.json and prints a table. Absolute times of shared
machines mean little; the ratios are medians of pairs taken one after the other.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.zoo import ZOO

RESULTS = Path(__file__).parent / "results"
DEFAULT = [
    "resnet50",
    "mobilenet_v2",
    "bert_base",
    "minilm",
    "vit",
    "gpt2",
    "llama",
    "unet",
]


def seconds(action: Callable[[], Any]) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def paired(
    ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int
) -> dict[str, float]:
    """Time two actions in turn; return medians and the median of the pairs' ratios."""
    mine, peer = [], []
    for index in range(rounds):
        order = [(mine, ours), (peer, theirs)]
        for times, action in order if index % 2 else reversed(order):
            times.append(seconds(action))
    ratios = [b / a for a, b in zip(mine, peer, strict=True)]
    return {
        "ours_ms": 1e3 * statistics.median(mine),
        "onnxruntime_ms": 1e3 * statistics.median(peer),
        "ratio": statistics.median(ratios),
    }


def imports(rounds: int) -> dict[str, dict[str, float]]:
    """Time fresh interpreters that import one package or the other."""

    def starting(statement: str) -> Callable[[], Any]:
        return lambda: subprocess.run([sys.executable, "-c", statement], check=True)

    theirs = starting("import onnxruntime")
    return {
        "import": paired(starting("import runtime"), theirs, rounds),
        "import the session class": paired(
            starting("from runtime import InferenceSession"), theirs, rounds
        ),
    }


def creation(data: bytes, rounds: int) -> dict[str, Any]:
    """Time session creation, and our stages before compiling on a line of their own."""
    import onnxruntime
    import runtime

    found: list[dict[str, float]] = []

    def ours() -> None:
        began = time.perf_counter()
        placement = runtime.InferenceSession(data).explain()
        whole = time.perf_counter() - began
        found.append({"whole": whole, **placement.seconds})

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3

    def theirs() -> None:
        onnxruntime.InferenceSession(data, options)

    figures = paired(ours, theirs, rounds)
    stages = [s["whole"] - s.get("compile", 0.0) for s in found]
    before = 1e3 * statistics.median(stages)
    figures["load_passes_partition_ms"] = before
    figures["load_passes_partition_over_onnxruntime"] = (
        before / figures["onnxruntime_ms"]
    )
    return figures


def model(name: str, size: str, rounds: int, threads: int) -> dict[str, Any]:
    """Measure one model of the zoo."""
    import numpy as np
    import onnxruntime
    import runtime

    entry = ZOO[name]
    proto = entry.build(size)
    data = proto.SerializeToString()
    feed = entry.feeds(size, **entry.cases(size)[0])
    result: dict[str, Any] = {"nodes": len(proto.graph.node)}
    result["creation"] = creation(data, max(3, rounds // 3))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    peer = onnxruntime.InferenceSession(data, options)
    own_options = runtime.SessionOptions()
    own_options.intra_op_num_threads = threads
    session = runtime.InferenceSession(data, own_options)
    got, want = session.run(None, feed), peer.run(None, feed)
    result["max_error"] = max(
        float(np.max(np.abs(a.astype(np.float64) - b), initial=0))
        for a, b in zip(got, want, strict=True)
    )
    result["run"] = paired(
        lambda: session.run(None, feed), lambda: peer.run(None, feed), rounds
    )
    result["placement"] = session.explain().counts()
    return result


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    for name, figures in report["imports"].items():
        peer = figures["onnxruntime_ms"]
        print(f"{name:28} {figures['ours_ms']:9.1f} ms, onnxruntime {peer:.1f} ms")
    print(
        f"{'model':20} {'nodes':>5} {'run ms':>9} {'peer ms':>9} {'ratio':>6}  "
        "creation ms (peer); load+passes+partition"
    )
    for name, entry in report["models"].items():
        run, made = entry["run"], entry["creation"]
        print(
            f"{name:20} {entry['nodes']:5} {run['ours_ms']:9.2f} "
            f"{run['onnxruntime_ms']:9.2f} {run['ratio']:6.2f}  {made['ours_ms']:.0f} "
            f"({made['onnxruntime_ms']:.0f}); {made['load_passes_partition_ms']:.0f} = "
            f"{made['load_passes_partition_over_onnxruntime']:.2f} x the peer's creation"
        )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("tiny", "full"), default="full")
    parser.add_argument("--models", nargs="*", default=DEFAULT)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    report = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "size": options.size,
        "threads": options.threads,
        "imports": imports(options.rounds),
        "models": {
            name: model(name, options.size, options.rounds, options.threads)
            for name in options.models
        },
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{options.size}.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    show(report)


if __name__ == "__main__":
    main()
