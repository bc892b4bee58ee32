"""Check everything that needs an NVIDIA GPU, in under ten minutes.

usage: python -m benchmarks.gpu_check [--parts NAME ...] [--minutes M] [--models NAME ...]
           [--batches N ...] [--precisions NAME ...] [--search EXHAUSTIVE|HEURISTIC]
           [--folder FOLDER] [--json FILE] [--merge] [--dry]
Each part runs in a process of its own within a slice of the time; one that fails or hangs is
recorded, and the next goes on. What there was no time for is named, and ``--merge`` measures
it next. With ``--dry`` all runs at tiny size on the tests' host double instead of a GPU.
See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.gpu import report
from benchmarks.gpu.here import ROOT, Place, environment, provider
from benchmarks.gpu.subjects import MODELS, PRECISIONS

RESULTS = Path(__file__).parent / "results"

PARTS: dict[str, tuple[str, float]] = {
    "card": ("card", 30),
    "points": ("points", 75),
    "kernels": ("correct", 75),
    "kit": ("correct", 60),
    "start": ("lasting", 60),
    "mixed": ("lasting", 30),
    "speed": ("duel", 180),
    "torch": ("duel", 60),
}
"""Modules of `benchmarks.gpu` with a function of that name, and seconds of ten minutes."""

MODULES = {name: module for name, (module, _) in PARTS.items()} | {"models": "subjects"}

HOLDING = ("start", "speed", "torch")
"""Parts that need models, which are written beside the parts before them."""

GRACE = 20.0
"""Seconds that a part may take longer than its slice before it is ended."""


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME")
    add("--minutes", type=float, default=9.5, help="for all parts that are asked for")
    add("--models", nargs="+", choices=MODELS, default=[], metavar="NAME")
    add("--batches", nargs="+", type=int, default=[], metavar="N")
    add("--precisions", nargs="+", choices=PRECISIONS, default=[], metavar="NAME")
    add("--search", choices=("EXHAUSTIVE", "HEURISTIC"), default="EXHAUSTIVE")
    add("--folder", type=Path, default=None, help="for models and caches; kept")
    add("--json", type=Path, default=RESULTS / "gpu.json")
    add("--merge", action="store_true", help="keep what the file has, measure the rest")
    add("--dry", action="store_true", help="on the host's double, numbers mean nothing")
    add("--run", default="", help=argparse.SUPPRESS)
    add("--seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def place_of(options: argparse.Namespace, before: dict[str, Any]) -> Place:
    """Return what a part is told."""
    until = time.monotonic() + options.seconds
    lines = before.get(options.run, {}).get("lines", {})
    known = frozenset(key for key, line in lines.items() if "ms" in line)
    file = _file(options.folder, options.run)
    return Place(
        options.folder,
        lambda: until - time.monotonic(),
        options.dry,
        tuple(options.models),
        tuple(options.batches),
        tuple(options.precisions),
        options.search,
        known,
        lambda found: write(file, {**found, "unfinished": True}),
        read(_file(options.folder, "card")) or before.get("card", {}),
    )


def write(path: Path, found: dict[str, Any]) -> None:
    """Write what was found, whole or not at all."""
    other = path.with_suffix(".new")
    other.write_text(json.dumps(found, default=str))
    other.replace(path)


def one(options: argparse.Namespace) -> None:
    """Run one part in this process, and write what it found."""
    name = options.run
    before = read(options.json).get("parts", {}) if options.merge else {}
    module = import_module(f"benchmarks.gpu.{MODULES[name]}")
    part: Callable[[Place], dict[str, Any]] = getattr(module, name)
    began = time.perf_counter()
    try:
        with provider(options.dry):
            found = part(place_of(options, before))
    except Exception:
        found = {"error": traceback.format_exc()[-1500:]}
    found["seconds"] = time.perf_counter() - began
    write(_file(options.folder, name), found)


def _file(folder: Path, name: str) -> Path:
    return folder / f"part-{name}.json"


def begun(
    options: argparse.Namespace, name: str, seconds: float
) -> subprocess.Popen[bytes]:
    """Begin one part in a process of its own; its words go to a file."""
    command = [
        sys.executable, "-m", "benchmarks.gpu_check", "--run", name,
        "--seconds", seconds, "--folder", options.folder, "--search", options.search,
        "--json", options.json,
    ]  # fmt: skip
    for word in ("models", "batches", "precisions"):
        values = getattr(options, word)
        command += [f"--{word}", *values] if values else []
    command += [f"--{word}" for word in ("dry", "merge") if getattr(options, word)]
    added = environment(options.folder)
    with _log(options.folder, name).open("wb") as output:
        return subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env={**os.environ, **added},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _log(folder: Path, name: str) -> Path:
    return folder / f"part-{name}.log"


def ended(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Wait for a part, and end it with what it has started when its time is up."""
    try:
        return process.wait(max(seconds, 0.0))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def started(options: argparse.Namespace, name: str, seconds: float) -> dict[str, Any]:
    """Run one part; return what it found, or why nothing."""
    file = _file(options.folder, name)
    file.unlink(missing_ok=True)
    code = ended(begun(options, name, seconds), seconds + GRACE)
    found = read(file)
    if found and not found.get("unfinished"):
        return found
    why = "ended, as its time was up" if code is None else f"ended with status {code}"
    return {**found, "error": f"{why}: {_log(options.folder, name).read_text()[-800:]}"}


def read(path: Path) -> dict[str, Any]:
    """Return a report that is there, or an empty one."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def merged(before: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return a part with the lines of an earlier run beside its own."""
    lines = {**before.get("lines", {}), **found.get("lines", {})}
    if "error" in found and "error" not in before and before:
        kept = {**before, "later": found["error"]}
        return {**kept, "lines": lines} if lines else kept
    return {**found, "lines": lines} if lines else found


def main(arguments: list[str] | None = None) -> int:
    """Run the parts, write after each one; the status is 1 where one failed."""
    options = parsed(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        options.folder = (options.folder or Path(temporary)).absolute()
        options.json = options.json.absolute()
        options.folder.mkdir(parents=True, exist_ok=True)
        if options.run:
            one(options)
            return 0
        return whole(options)


def whole(options: argparse.Namespace) -> int:
    """Run all parts that are asked for."""
    before = read(options.json) if options.merge else {}
    parts: dict[str, Any] = dict(before.get("parts", {}))
    end = time.monotonic() + 60 * options.minutes
    asked = [name for name in PARTS if name in options.parts]
    failed = False
    models = begun(options, "models", 0) if set(HOLDING) & {*asked} else None
    for place, name in enumerate(asked):
        if models is not None and name in HOLDING:
            ended(models, end - time.monotonic())
            models = None
        rest = sum(PARTS[each][1] for each in asked[place:])
        left = end - time.monotonic()
        seconds = left * PARTS[name][1] / rest
        found = started(options, name, seconds) if left > 0 else _late()
        failed |= "error" in found
        print(f"{name}: {found.get('error', 'done')[:300]}", file=sys.stderr)
        parts[name] = merged(parts.get(name, {}), found)
        result = {"dry": options.dry, "search": options.search, "parts": parts}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")
        options.json.with_suffix(".md").write_text(report.markdown(result))
    print(report.markdown(read(options.json)))
    return int(failed)


def _late() -> dict[str, Any]:
    return {"error": "no time was left"}


if __name__ == "__main__":
    sys.exit(main())
