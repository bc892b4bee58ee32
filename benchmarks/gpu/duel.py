"""The parts `speed` and `torch`: models beside the peers on the same card, in turns."""

from __future__ import annotations

import contextlib
import math
import random
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ratios
from benchmarks.gpu.here import Place, environment
from benchmarks.gpu.subjects import BATCHES, PRECISIONS, Files, chosen, files
from benchmarks.process import ContenderError, Process

OURS = "ours"
IMAGES = ("resnet50", "mobilenet_v2", "convnext", "vit", "detector")
LOOSE = ("detector",)
"""Models whose outputs' shapes depend on what is computed; nothing can be bound."""

SLICE = 0.15
"""Seconds of one contender's turn."""

ROUNDS = 7


def speed(place: Place) -> dict[str, Any]:
    """Hold ours beside onnxruntime, model by model, as far as the time goes."""
    return duels(place, (OURS, "onnxruntime"))


def torch(place: Place) -> dict[str, Any]:
    """Hold ours beside torch.compile(max-autotune), which takes a minute to compile."""
    return duels(place, (OURS, "torch"))


def order(place: Place) -> list[tuple[str, str, int]]:
    """Return what is measured, the most telling first, and all models before a second."""
    precisions = place.precisions or (("fp32",) if place.dry else PRECISIONS)
    batches = place.batches or ((1,) if place.dry else BATCHES)
    return [
        (name, precision, batch)
        for precision, batch, name in product(precisions, batches, chosen(place))
    ]


def duels(place: Place, engines: Sequence[str]) -> dict[str, Any]:
    """Measure line after line; what there was no time for is named."""
    lines: dict[str, Any] = {}
    missing: list[str] = []
    for name, precision, batch in order(place):
        key = f"{name} {precision} ×{batch}"
        if key in place.known:
            continue
        if place.left() < 5:
            missing.append(key)
            continue
        try:
            line = duel(place, name, precision, batch, engines)
            lines[key] = {**line, "limit": limit(line, precision, place.card)}
        except Exception as error:
            lines[key] = {"error": f"{type(error).__name__}: {error}"[:500]}
        place.save({"lines": lines})
    return {"lines": lines, "not run for want of time": missing}


@contextlib.contextmanager
def contender(place: Place, engine: str, cache: str = "cache") -> Iterator[Process]:
    """Start a contender in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gpu.contender", engine]
    added = environment(place.folder)
    added["RUNTIME_CACHE_DIR"] = str(place.folder / cache)
    added["TORCHINDUCTOR_CACHE_DIR"] = str(place.folder / "inductor")
    with Process([*command, *(["--dry"] if place.dry else [])], added) as process:
        yield process


def asked(
    place: Place, engine: str, name: str, precision: str, batch: int
) -> dict[str, Any]:
    """Return the request by which an engine opens a model.

    For fp16 both get the model in halves; onnxruntime gets it for bf16 as well, as it has
    few kernels for that.
    """
    written: Files = files(name, batch, place.folder, place.dry)
    half = precision == "fp16" or (precision == "bf16" and engine == "onnxruntime")
    return {
        "model": str(written.half if half else written.model),
        "feed": str(written.half_feed if half else written.feed),
        "name": name, "batch": batch, "precision": precision, "search": place.search,
        "loose": name in LOOSE, "images": name in IMAGES,
    }  # fmt: skip


def duel(
    place: Place, name: str, precision: str, batch: int, engines: Sequence[str]
) -> dict[str, Any]:
    """Open a model with every engine, let them take turns, compare outputs."""
    failed: dict[str, str] = {}
    facts: dict[str, Any] = {}
    opened: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        rivals: dict[str, Process] = {}
        for engine in engines:
            process = stack.enter_context(contender(place, engine))
            try:
                answer = process.ask(open=asked(place, engine, name, precision, batch))
                process.ask(save=str(_saved(place, engine)))
            except ContenderError as problem:
                failed[engine] = str(problem)
                continue
            rivals[engine] = process
            facts[engine], opened[engine] = answer["facts"], answer["seconds"]
        if OURS not in rivals:
            raise ContenderError(failed[OURS])
        rounds = turns(rivals, ratios.FEWEST if place.dry else ROUNDS)
    peers = [engine for engine in rivals if engine != OURS]
    found = {peer: ratios.ratio(rounds, OURS, peer) for peer in peers}
    return {
        "ms": {
            each: 1e3 * (ratios.median(rounds, each) or math.nan) for each in rivals
        },
        "ratio": {peer: each and asdict(each) for peer, each in found.items()},
        "error": {peer: error(place, peer) for peer in peers if peer != "torch"},
        "s to open": opened,
        "facts": facts,
        "failed": failed,
    }


def _saved(place: Place, engine: str) -> Path:
    return place.folder / f"outputs-{engine}.npz"


def error(place: Place, peer: str) -> float | str:
    """Return ours' largest difference from a peer's outputs, relative to the largest."""
    with np.load(_saved(place, OURS)) as got, np.load(_saved(place, peer)) as want:
        worst = 0.0
        for name in got.files:
            a, b = got[name].astype(np.float64), want[name].astype(np.float64)
            if a.shape != b.shape:
                return f"shapes differ: {a.shape} and {b.shape}"
            scale = np.abs(b).max(initial=1e-30)
            worst = max(worst, float(np.abs(a - b).max(initial=0) / scale))
    return worst


def turns(rivals: dict[str, Process], rounds: int) -> list[ratios.Round]:
    """Let each run a slice a round, in shuffled order; return medians in seconds."""
    counts = {}
    for name, process in rivals.items():
        once = statistics.median(process.ask(run=5, warm=3)["ns"]) / 1e9
        counts[name] = max(3, min(2000, round(SLICE / once)))
    shuffled, found = random.Random(0), []
    for _ in range(rounds):
        names = list(rivals)
        shuffled.shuffle(names)
        found.append(
            {
                name: statistics.median(
                    rivals[name].ask(run=counts[name], warm=max(2, counts[name] // 10))[
                        "ns"
                    ]
                )
                / 1e9
                for name in names
            }
        )
    return found


def limit(
    line: dict[str, Any], precision: str, card: Mapping[str, Any]
) -> dict[str, Any]:
    """Return how near ours comes to what the card can do at most.

    Arithmetic is that of the libraries' work; bytes are those of the weights, each read
    once a run, tables that are looked up left out.
    """
    facts = line["facts"].get(OURS, {})
    if "peaks" not in card or "flops" not in facts:
        return {}
    rate = card["peaks"][precision]["flops"]
    arithmetic = facts["flops"] / rate if rate else 0.0
    memory = facts["read"] / card["bandwidth"]
    seconds = line["ms"][OURS] / 1e3
    return {
        "by": "arithmetic" if arithmetic > memory else "memory",
        "%": 100 * max(arithmetic, memory) / seconds,
    }
