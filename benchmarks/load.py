"""Measure throughput under load beside onnxruntime, every answer checked.

usage: python -m benchmarks.load [--models NAME ...] [--seconds S] [--threads N]
           [--size full|tiny] [--peers NAME ...] [--json FILE] [--markdown FILE]
Sixteen threads on one session, four sessions at once, four processes at once, and one
thread beside a process that keeps a core busy; each back to back and with gaps of 10 ms.
The exit status is 1 if one of our answers was wrong or one of our runs failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure, subjects
from benchmarks.engines import installed
from benchmarks.process import contender

RESULTS = Path(__file__).parent / "results"
FEEDS = 4
"""Different inputs, so that answers given to the wrong thread are seen."""


@dataclass(frozen=True)
class Scenario:
    """How many processes, sessions of each, threads of each, and what runs beside."""

    processes: int = 1
    sessions: int = 1
    callers: int = 1
    busy: bool = False


SCENARIOS = {
    "one thread": Scenario(),
    "16 threads, one session": Scenario(callers=16),
    "four sessions": Scenario(sessions=4, callers=4),
    "four processes": Scenario(processes=4),
    "a busy core": Scenario(busy=True),
}
GAPS = {"back to back": 0.0, "gaps of 10 ms": 0.01}


@contextlib.contextmanager
def background(wanted: bool) -> Iterator[None]:
    """Keep one core busy, if wanted, meanwhile."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Job:
    """What every scenario runs."""

    model: Path
    feeds: list[str]
    threads: int
    seconds: float
    cache: Path

    def run(self, engine: str, scenario: Scenario, gap: float) -> dict[str, Any]:
        """Run one scenario with one engine; return the sums over its processes."""
        request = {
            "sessions": scenario.sessions,
            "threads": scenario.callers,
            "seconds": self.seconds,
            "gap": gap,
            "feeds": self.feeds,
        }
        with contextlib.ExitStack() as stack:
            crew = [
                stack.enter_context(contender(engine, measure.environment(self.cache)))
                for _ in range(scenario.processes)
            ]
            for process in crew:
                process.ask(**{"import": True})
            stack.enter_context(background(scenario.busy))
            for process in crew:
                process.send(load=request, model=str(self.model), threads=self.threads)
            return summed([process.receive() for process in crew])


def summed(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what all processes did together."""
    return {
        "runs_per_second": sum(each["runs"] / each["seconds"] for each in answers),
        "fewest": min(each["fewest"] for each in answers),
        "median_ms": max(each["median_ms"] for each in answers),
        "worst_ms": max(each["worst_ms"] for each in answers),
        "wrong": sum(each["wrong"] for each in answers),
        "failures": [text for each in answers for text in each["failures"]],
    }


def job(name: str, options: argparse.Namespace, folder: Path) -> Job:
    """Write a model and several inputs of it."""
    subject = subjects.subject(name, options.size, folder)
    feeds = []
    for seed in range(FEEDS):
        path = folder / f"{subject.feed.stem}-{seed}.npz"
        np.savez(path, **subjects.feeds(name, options.size, seed))
        feeds.append(str(path))
    return Job(subject.model, feeds, options.threads, options.seconds, folder / "cache")


def scenarios(work: Job, engines: list[str]) -> dict[str, Any]:
    """Run every scenario with every engine, one engine after the other."""
    return {
        f"{name}, {pace}": {
            engine: work.run(engine, scenario, gap) for engine in engines
        }
        for name, scenario in SCENARIOS.items()
        for pace, gap in GAPS.items()
    }


def rows(name: str, found: dict[str, Any]) -> list[str]:
    """Return a model's lines of the table."""
    lines = []
    for scenario, engines in found.items():
        ours = engines[measure.OURS]
        state = "right" if right(ours) else f"{ours['wrong']} wrong, {ours['failures']}"
        cells = [
            f"{each['runs_per_second']:.1f} ({each['median_ms']:.1f}, "
            f"{each['worst_ms']:.0f})"
            for each in engines.values()
        ]
        ratios = [
            f"{ours['runs_per_second'] / each['runs_per_second']:.2f}"
            for engine, each in engines.items()
            if engine != measure.OURS
        ]
        lines.append("| " + " | ".join([name, scenario, *cells, *ratios, state]) + " |")
    return lines


def right(found: dict[str, Any]) -> bool:
    """Say whether every run answered, and answered right."""
    return not found["wrong"] and not found["failures"] and found["fewest"] > 0


def table(report: dict[str, Any], engines: list[str]) -> str:
    """Return the Markdown table."""
    head = ["model", "load", *(f"{e}: runs/s (median, worst ms)" for e in engines)]
    head += [f"ours / {e}" for e in engines if e != measure.OURS] + ["our answers"]
    rule = ["---"] * 2 + ["--:"] * (len(head) - 3) + ["---"]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, rule)]
    for name, found in report.items():
        lines += rows(name, found)
    return "\n".join(lines) + "\n"


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--models", nargs="+", default=["minilm"], metavar="NAME")
    add("--seconds", type=float, default=4.0, help="of one scenario and engine")
    add("--threads", type=int, default=2, help="of a session")
    add("--size", choices=("tiny", "full"), default="full")
    add("--peers", nargs="*", choices=("onnxruntime",), default=["onnxruntime"])
    add("--json", type=Path, default=RESULTS / "load.json")
    add("--markdown", type=Path, default=None)
    return parser.parse_args()


def main() -> int:
    """Measure, print and write; return the exit status."""
    options = parsed()
    engines = [measure.OURS, *(e for e in options.peers if installed(e))]
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in subjects.names(options.models):
            report[name] = scenarios(job(name, options, Path(folder)), engines)
    text = table(report, engines)
    markdown = options.markdown or options.json.with_suffix(".md")
    for path in (options.json, markdown):
        path.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    markdown.write_text(text)
    print(text)
    found = [each[measure.OURS] for model in report.values() for each in model.values()]
    return 0 if all(map(right, found)) else 1


if __name__ == "__main__":
    sys.exit(main())
