"""Measure models with code for a lesser target beside code for the best, interleaved.

usage: python -m benchmarks.targets [--models NAME|SUITE ...] [--target NAME]
           [--threads N] [--seconds S] [--slice S] [--size full|tiny] [--least RATIO]
           [--json FILE] [--merge]
A ratio is the speed under the lesser target as a part of the speed under the best. Where
one is below ``--least`` (half a register's width, and a little) the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import machine, measure, subjects
from benchmarks.__main__ import RESULTS, processor
from benchmarks.process import ContenderError
from benchmarks.quiet import Gate
from benchmarks.ratios import geometric_mean
from benchmarks.reference import error


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--models", nargs="+", default=["transformers", "vision"], metavar="NAME")
    add("--target", default="avx2")
    add("--threads", type=int, default=2)
    add("--seconds", type=float, default=4.0, help="of turns, a model")
    add("--slice", type=float, default=0.2, help="seconds of one contender's turn")
    add("--size", choices=("tiny", "full"), default="full")
    add("--least", type=float, default=0.45)
    add("--json", type=Path, default=RESULTS / "targets.json")
    add("--merge", action="store_true", help="keep the file's other models")
    options = parser.parse_args()
    try:
        options.models = subjects.names(options.models)
    except ValueError as problem:
        parser.error(str(problem))
    return options


def compared(name: str, options: argparse.Namespace, folder: Path, gate: Gate) -> Any:
    """Return one model's times and ratio, and how far the outputs are apart."""
    lesser = f"{measure.OURS}@{options.target}"
    engines = [measure.OURS, lesser]
    subject = subjects.subject(name, options.size, folder)
    found = measure.speed(
        subject,
        options.threads,
        engines,
        gate,
        folder / "cache",
        seconds=options.seconds,
        length=options.slice,
    )
    if lesser in found["failed"]:
        raise ContenderError(found["failed"][lesser])
    outputs = [
        measure.load(measure.saved(subject, engine, options.threads))
        for engine in engines
    ]
    slower = found["ratios"][lesser]
    return {
        "ms": {"best": found["ms"][measure.OURS], options.target: found["ms"][lesser]},
        "ratio": 1 / slower["middle"],
        "interval": [1 / slower["high"], 1 / slower["low"]],
        "noisy": found["noisy"],
        "difference": error(outputs[1], outputs[0]),
    }


def told(name: str, found: dict[str, Any], target: str) -> str:
    """Return a model's line."""
    low, high = found["interval"]
    times = found["ms"]
    noisy = "  noisy" if found["noisy"] else ""
    return (
        f"{name:22} {times['best']:9.3f} ms  {target} {times[target]:9.3f} ms  "
        f"ratio {found['ratio']:.2f} ({low:.2f}–{high:.2f}){noisy}"
    )


def main() -> int:
    """Measure, print and write, after every model."""
    options = parsed()
    report: dict[str, Any] = {"processor": processor(), "threads": options.threads}
    report["target"], report["models"] = options.target, {}
    if options.merge and options.json.exists():
        report["models"] = json.loads(options.json.read_text())["models"]
    gate = machine.gate(options.threads)
    for _ in range(50):
        gate.reading()
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            try:
                found = compared(name, options, Path(folder), gate)
            except ContenderError as problem:
                print(f"{name} is left out: {problem}", file=sys.stderr)
                continue
            report["models"][name] = found
            print(told(name, found, options.target), flush=True)
            options.json.write_text(json.dumps(report, indent=2) + "\n")
    rates = [found["ratio"] for found in report["models"].values()]
    if rates:
        print(f"geometric mean {geometric_mean(rates):.3f}, least {min(rates):.2f}")
    return int(any(rate < options.least for rate in rates))


if __name__ == "__main__":
    sys.exit(main())
