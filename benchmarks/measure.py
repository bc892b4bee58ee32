"""Measures one subject: speed in turns, session creation, memory, error."""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine, ratios
from benchmarks.process import ContenderError, Process, contender
from benchmarks.quiet import Gate
from benchmarks.reference import error
from benchmarks.slices import Turns, take_turns
from benchmarks.subjects import Subject

Report = dict[str, Any]
OURS = "ours"
REFERENCE_SECONDS = 120
"""The float64 reference may take so long, else onnxruntime's outputs are it."""


def environment(cache: Path) -> dict[str, str]:
    """Return what a contender's environment has beside ours: a cache of its own."""
    return {"RUNTIME_CACHE_DIR": str(cache)}


@contextlib.contextmanager
def holding(
    engine: str, subject: Subject, threads: int, cache: Path
) -> Iterator[Process]:
    """Start a contender that holds the model and its inputs."""
    with contender(engine, environment(cache)) as process:
        process.ask(**{"import": True})
        process.ask(open=str(subject.model), threads=threads)
        process.ask(feed=str(subject.feed))
        yield process


def saved(subject: Subject, engine: str, threads: int) -> Path:
    """Return the file of an engine's outputs."""
    return subject.feed.with_name(f"{subject.feed.stem}-{engine}-{threads}.npz")


def speed(
    subject: Subject,
    threads: int,
    engines: Sequence[str],
    gate: Gate,
    cache: Path,
    *,
    seconds: float,
    length: float,
) -> Report:
    """Let the engines take turns; return times, ratios, and why slices were lost.

    The outputs are saved, and what our session tells about itself is in ``facts``.
    """
    failed: dict[str, str] = {}
    facts: Report = {}
    with contextlib.ExitStack() as stack:
        rivals: dict[str, Process] = {}
        for engine in engines:
            try:
                process = stack.enter_context(holding(engine, subject, threads, cache))
                target = str(saved(subject, engine, threads))
                facts = process.ask(save=target)["facts"] or facts
                process.park()
                rivals[engine] = process
            except ContenderError as problem:
                failed[engine] = str(problem)
        if OURS in failed:
            raise ContenderError(failed[OURS])
        turns = take_turns(rivals, gate, seconds, length=length, seed=threads)
    report = compared(turns, [name for name in rivals if name != OURS])
    return {**report, "failed": failed, "facts": facts}


def compared(turns: Turns, peers: Sequence[str]) -> Report:
    """Turn rounds into medians and ratios of the peers' times over ours.

    Where too few slices were undisturbed, all count and the report says ``noisy``.
    """
    found = {peer: ratios.ratio(turns.rounds, OURS, peer) for peer in peers}
    lost = ratios.median(turns.rounds, OURS) is None
    noisy = lost or any(value is None for value in found.values())
    rounds = turns.noisy if noisy else turns.rounds
    if noisy:
        found = {peer: ratios.ratio(rounds, OURS, peer) for peer in peers}
    times = {name: ratios.median(rounds, name) for name in (OURS, *peers)}
    return {
        "ms": {k: None if v is None else 1e3 * v for k, v in times.items()},
        "ratios": {k: None if v is None else asdict(v) for k, v in found.items()},
        "best": ratios.best(found),
        "noisy": noisy,
        "rounds": len(turns.rounds),
        "slices": turns.taken,
        "thrown": dict(turns.thrown),
    }


def once(
    engine: str, subject: Subject, threads: int, cache: Path, runs: int = 5
) -> Report:
    """Open and run a model in a fresh process; return seconds, and bytes above imports."""
    with contender(engine, environment(cache)) as process:
        start = process.ask(**{"import": True})
        made = process.ask(open=str(subject.model), threads=threads)
        fed = process.ask(feed=str(subject.feed))
        ran = process.ask(run=runs)
    late = made["import_bytes"]
    base = {
        key: start["memory"].get(size, 0) + late.get(size, 0)
        for key, size in (("rss", "rss"), ("peak", "rss"), ("anonymous", "anonymous"))
    }

    def above(answer: Report, key: str) -> int:
        return int(answer["memory"].get(key, 0)) - base[key]

    return {
        "creation": made["seconds"],
        "imports": start["seconds"] + made["imports"],
        "first_run": fed["seconds"],
        "created": above(made, "rss"),
        "created_peak": above(made, "peak"),
        "ran": above(ran, "rss"),
        "ran_peak": above(ran, "peak"),
        "ran_anonymous": above(ran, "anonymous"),
        "imported": base["rss"],
    }


def creation(
    subject: Subject, threads: int, engines: Sequence[str], rounds: int
) -> Report:
    """Open the model in fresh processes, in shuffled order; medians of every figure.

    ``cold`` begins with an empty compile cache, ``warm`` with what the cold one left.
    """
    found: dict[tuple[str, str], list[Report]] = {}
    rng = random.Random(0)
    for _ in range(rounds):
        for engine in rng.sample(list(engines), len(engines)):
            with tempfile.TemporaryDirectory() as cache:
                for state in ("cold", "warm"):
                    figures = once(engine, subject, threads, Path(cache))
                    found.setdefault((engine, state), []).append(figures)
    return {
        engine: {
            state: {
                key: statistics.median(each[key] for each in found[engine, state])
                for key in found[engine, state][0]
            }
            for state in ("cold", "warm")
        }
        for engine in engines
    }


def load(path: Path) -> list[np.ndarray]:
    """Return the outputs saved in a file, in order."""
    with np.load(path) as arrays:
        return list(arrays.values())


def reference(subject: Subject) -> list[np.ndarray] | None:
    """Return the float64 outputs, None where they take too long or cannot be had."""
    target = subject.feed.with_name(f"{subject.feed.stem}-float64.npz")
    command = [sys.executable, "-m", "benchmarks.reference"]
    files = [str(subject.model), str(subject.feed), str(target)]
    try:
        subprocess.run(
            command + files, check=True, timeout=REFERENCE_SECONDS, capture_output=True
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return None
    return load(target)


def errors(
    subject: Subject, threads: Sequence[int], engines: Sequence[str], wide: bool
) -> Report:
    """Return each engine's largest error as a part of the largest output magnitude.

    The outputs are those that `speed` saved; ``wide`` asks for the float64 reference.
    ``same`` says whether ours are bitwise equal for all numbers of threads.
    """
    files = {name: saved(subject, name, threads[-1]) for name in engines}
    got = {name: load(path) for name, path in files.items() if path.exists()}
    want = reference(subject) if wide else None
    against = "float64"
    if want is None:
        want = got.get("onnxruntime")
        against = "onnxruntime" if want is not None else "nothing"
    ours = [load(saved(subject, OURS, count)) for count in threads]
    same = all(
        one.tobytes() == other.tobytes()
        for each in ours
        for one, other in zip(each, ours[0], strict=True)
    )
    found = {} if want is None else {k: error(v, want) for k, v in got.items()}
    return {"against": against, "error": found, "same": same}


def work(subject: Subject) -> Report:
    """Return what `benchmarks.work` counts; nothing without onnxruntime."""
    command = [sys.executable, "-m", "benchmarks.work"]
    files = [str(subject.model), str(subject.feed)]
    result = subprocess.run(command + files, capture_output=True, text=True)
    return dict(json.loads(result.stdout)) if result.returncode == 0 else {}


def floor(counted: Report, threads: int) -> Report:
    """Return the milliseconds that arithmetic alone, and weights alone, take now."""
    peak = machine.peak(threads)
    if not counted or peak is None:
        return {}
    size = counted["weight_bytes"]
    bandwidth = machine.bandwidth(threads, size)
    assert bandwidth is not None
    return {
        "arithmetic_ms": 1e3 * counted["flops"] / peak,
        "bandwidth_ms": 1e3 * size / bandwidth,
        "peak_gflops": peak / 1e9,
        "bandwidth_gb_s": bandwidth / 1e9,
    }
