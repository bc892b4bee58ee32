"""Measure models beside onnxruntime and OpenVINO, interleaved, as ratios.

usage: python -m benchmarks [--models NAME|SUITE ...] [--threads N ...] [--seconds S]
           [--slice S] [--size full|tiny] [--peers NAME ...] [--creations N] [--merge]
           [--json FILE] [--markdown FILE] [--quick]
See benchmarks/README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import machine, measure, subjects, tables
from benchmarks.engines import MODULES, installed
from benchmarks.process import ContenderError, contender

RESULTS = Path(__file__).parent / "results"
PEERS = [engine for engine in MODULES if engine != measure.OURS]


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--models", nargs="+", default=["transformers"], metavar="NAME")
    add("--threads", nargs="+", type=int, default=[1, 2])
    add("--seconds", type=float, default=15.0, help="of turns, a model and threads")
    add("--slice", type=float, default=0.2, help="seconds of one contender's turn")
    add("--size", choices=("tiny", "full"), default="full")
    add("--peers", nargs="*", choices=PEERS, default=PEERS)
    add("--creations", type=int, default=3, help="fresh processes an engine; 0: none")
    add("--json", type=Path, default=None)
    add("--markdown", type=Path, default=None)
    add("--merge", action="store_true", help="keep the file's other models")
    add("--quick", action="store_true", help="speed alone, 2 threads, 8 seconds")
    options = parser.parse_args()
    try:
        options.models = subjects.names(options.models)
    except ValueError as problem:
        parser.error(str(problem))
    if options.quick:
        options.threads, options.seconds, options.creations = [2], 8.0, 0
    options.json = options.json or RESULTS / f"{options.size}.json"
    options.markdown = options.markdown or options.json.with_suffix(".md")
    return options


def versions(engines: list[str]) -> dict[str, str]:
    """Return the engines' versions, each asked in a process of its own."""
    found = {}
    for engine in engines:
        with contender(engine) as process:
            found[engine] = str(process.ask(**{"import": True})["version"])
    return found


def present(wanted: list[str]) -> list[str]:
    """Return the peers that are installed; say which are not."""
    for name in wanted:
        if not installed(name):
            print(f"{name} is not installed and left out", file=sys.stderr)
    return [name for name in wanted if installed(name)]


class Harness:
    """What all models share: engines, gates, a folder."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.peers = present(options.peers)
        self.engines = [measure.OURS, *self.peers]
        self.gates = {count: machine.gate(count) for count in options.threads}

    def report(self) -> dict[str, Any]:
        """Return the report's head."""
        return {
            "machine": {
                "processor": processor(),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            },
            "versions": versions(self.engines),
            "size": self.options.size,
            "peers": self.peers,
            "models": {},
        }

    def model(self, name: str) -> dict[str, Any]:
        """Measure one model."""
        options = self.options
        subject = subjects.subject(name, options.size, self.folder)
        cache = self.folder / "cache"
        entry: dict[str, Any] = {
            "description": subject.description,
            "dims": subject.dims,
            "work": measure.work(subject),
            "threads": {},
        }
        for threads in options.threads:
            found = measure.speed(
                subject,
                threads,
                self.engines,
                self.gates[threads],
                cache,
                seconds=options.seconds,
                length=options.slice,
            )
            found["floor"] = measure.floor(entry["work"], threads)
            entry["threads"][str(threads)] = found
        entry["errors"] = measure.errors(
            subject, options.threads, self.engines, not options.quick
        )
        if options.creations:
            entry["creation"] = measure.creation(
                subject, options.threads[-1], self.engines, options.creations
            )
        return entry


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def write(report: dict[str, Any], options: argparse.Namespace) -> None:
    """Write both files."""
    for path in (options.json, options.markdown):
        path.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    options.markdown.write_text(tables.markdown(report))


def main() -> None:
    """Measure, print and write, after every model."""
    options = parsed()
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(options, Path(folder))
        report = harness.report()
        if options.merge and options.json.exists():
            report["models"] = json.loads(options.json.read_text())["models"]
        for name in options.models:
            try:
                report["models"][name] = harness.model(name)
            except ContenderError as problem:
                print(f"{name} is left out: {problem}", file=sys.stderr)
                continue
            measured = {**report, "models": {name: report["models"][name]}}
            print("\n".join(tables.speeds(measured)[2:-1]), flush=True)
            write(report, options)
    print()
    print(tables.markdown(report))


if __name__ == "__main__":
    main()
