"""Measure the OpenVINO provider beside OpenVINO called directly and onnxruntime's package.

usage: python -m benchmarks.openvino [--models NAME ...] [--precision FP32|BF16]
           [--peer PYTHON] [--rounds N] [--threads N]
``--peer`` is the Python of an environment with onnxruntime-openvino; it cannot share one
with onnxruntime, and is compared in float32 only. All take turns in slices of equal
length; the ratios are those of the medians. Writes benchmarks/results/openvino.json and
prints a table.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import runtime
from runtime.explain import Placement

from benchmarks.process import Process
from benchmarks.zoo import ZOO

RESULTS = Path(__file__).parent / "results" / "openvino.json"
MODELS = ["resnet50", "mobilenet_v2", "bert_base", "minilm", "convnext"]
PROVIDER = "OpenVINOExecutionProvider"
HINTS = {"FP32": "f32", "BF16": "bf16"}
SLICE = 0.15
"""Seconds of one turn."""

Runs = Callable[[int], list[float]]
"""Runs a model so many times and returns the seconds of each."""


def timed(action: Callable[[], Any]) -> Runs:
    """Return what times an action."""

    def runs(count: int) -> list[float]:
        times = []
        for _ in range(count):
            began = time.perf_counter()
            action()
            times.append(time.perf_counter() - began)
        return times

    return runs


def pieces(placement: Placement) -> int:
    """Return the number of connected components that the providers own."""
    groups: list[tuple[str, set[str]]] = []
    for node in placement.nodes:
        names = {name for name in (*node.inputs, *node.outputs) if name}
        reads = {name for name in node.inputs if name}
        joined = [g for g in groups if g[0] == node.provider and g[1] & reads]
        groups = [g for g in groups if g not in joined]
        # A group holds what its nodes make; inputs shared by two join nothing.
        made = set(node.outputs) & names
        groups.append((node.provider, made.union(*(g[1] for g in joined))))
    return len(groups)


def direct(path: str, feed: dict[str, Any], options: argparse.Namespace) -> Any:
    """Return OpenVINO's own fastest way: inputs bound once, results where they are."""
    core = ov.Core()
    compiled = core.compile_model(
        core.read_model(path),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": HINTS[options.precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": options.threads,
        },
    )
    request = compiled.create_infer_request()
    for port in compiled.inputs:
        (array,) = (feed[name] for name in port.get_names() if name in feed)
        request.set_tensor(port, ov.Tensor(array, shared_memory=True))
    return lambda: request.infer(share_outputs=True)


class Peer(Process):
    """onnxruntime's OpenVINO package in a process of its own environment."""

    def __init__(self, python: str) -> None:
        super().__init__([python, str(Path(__file__).with_name("openvino_peer.py"))])

    def runs(self, count: int) -> list[float]:
        """Time so many runs there."""
        return list(self.ask(runs=count)["seconds"])


def in_turn(rivals: dict[str, Runs], rounds: int) -> dict[str, list[float]]:
    """Let each run a slice, again and again, each time beginning with another one."""
    counts, times = {}, {}
    for name, runs in rivals.items():
        runs(2)
        counts[name] = max(1, round(SLICE / statistics.median(runs(3))))
        times[name] = []
    names = list(rivals)
    for index in range(rounds):
        start = index % len(names)
        for name in names[start:] + names[:start]:
            times[name] += rivals[name](counts[name])
    return times


def largest_error(got: list[Any], want: list[Any]) -> float:
    """Return the largest difference, as a part of the largest value."""
    pairs = zip(got, want, strict=True)
    return max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in pairs)


def model(name: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one model of the zoo."""
    entry = ZOO[name]
    data = entry.build("full").SerializeToString()
    path, feeds = f"{folder}/model.onnx", f"{folder}/feeds.npz"
    Path(path).write_bytes(data)
    feed = entry.feeds("full", **entry.cases("full")[0])
    np.savez(feeds, **feed)
    given = {"precision": options.precision, "num_of_threads": options.threads}
    session = runtime.InferenceSession(
        data, providers=[(PROVIDER, given), "CPUExecutionProvider"]
    )
    host = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    got, want = session.run(None, feed), host.run(None, feed)
    placement = session.explain()
    rivals = {
        "ours": timed(lambda: session.run(None, feed)),
        "direct": timed(direct(path, feed, options)),
    }
    result: dict[str, Any] = {
        "nodes": placement.counts(),
        "components": pieces(placement),
        "boundary_bytes": sum(p.boundary_bytes for p in placement.partitions),
        "error": largest_error(got, want),
        "precision": placement.partitions[0].facts.get("precision", ""),
    }
    comparable = options.peer and options.precision == "FP32"
    peer = Peer(options.peer) if comparable else None
    if peer is not None:
        answer = peer.ask(
            model=path,
            feeds=feeds,
            threads=options.threads,
            precision=options.precision,
        )
        result["peer"] = answer["version"]
        rivals["peer"] = peer.runs
    times = in_turn(rivals, options.rounds)
    if peer is not None:
        peer.close()
    medians = {key: statistics.median(values) for key, values in times.items()}
    result["ms"] = {key: 1e3 * value for key, value in medians.items()}
    result["over_direct"] = medians["ours"] / medians["direct"]
    if "peer" in medians:
        result["over_peer"] = medians["ours"] / medians["peer"]
    return result


def show(name: str, found: dict[str, Any]) -> None:
    """Print one model's line."""
    times = ", ".join(f"{key} {value:.2f} ms" for key, value in found["ms"].items())
    peer = f", {found['over_peer']:.3f} x peer" if "over_peer" in found else ""
    print(
        f"{name:14} {found['precision']}: {times}; {found['over_direct']:.3f} x direct"
        f"{peer}; {found['components']} components, {found['boundary_bytes']} bytes "
        f"cross, error {found['error']:.1e}"
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--precision", choices=tuple(HINTS), default="FP32")
    parser.add_argument("--peer", default="", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    report = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    report["machine"] = platform.processor() or platform.machine()
    report["openvino"] = ov.__version__
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            found = model(name, folder, options)
        show(name, found)
        table = report.setdefault(f"{options.precision}, {options.threads} threads", {})
        table[name] = found
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
