"""The parts `start` and `mixed`: first runs, memory, and thousands of runs without growth."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.duel import asked, contender
from benchmarks.gpu.here import Place, device, used
from benchmarks.process import ContenderError
from benchmarks.quiet import status

RUNS = 10_000
SHAPES = 24
"""Combinations of shapes; more than a program keeps plans for."""


def start(place: Place) -> dict[str, Any]:
    """Time the first answer of a new process with an empty cache and with a full one.

    Also the memory that the process takes on the card while it holds the model.
    """
    found: dict[str, Any] = {}
    models = place.models or (
        ("bert_base",) if place.dry else ("resnet50", "bert_base", "gpt2_decode")
    )
    for name in models:
        found[name] = {}
        for engine, cache in (
            ("ours", "cold"), ("ours", "cold"), ("onnxruntime", "cold"),
        ):  # fmt: skip
            if place.left() < 3:
                found[name]["not run for want of time"] = engine
                break
            word = (
                f"{engine}, warm"
                if f"{engine}, cold" in found[name]
                else (f"{engine}, cold" if engine == "ours" else engine)
            )
            try:
                found[name][word] = once(place, engine, name, f"{cache}-{name}")
            except ContenderError as problem:
                found[name][word] = {"error": str(problem)[:300]}
            place.save(found)
    return found


def once(place: Place, engine: str, name: str, cache: str) -> dict[str, Any]:
    """Open a model in a new process and run it once."""
    request = asked(place, engine, name, "fp16", 1)
    before = used()
    began = time.perf_counter()
    with contender(place, engine, cache) as process:
        answer = process.ask(open=request)
        whole = time.perf_counter() - began
        process.ask(run=2 if place.dry else 10)
        during = used()
    taken = None if before is None or during is None else during - before
    return {
        "s of the process until the first answer": whole,
        "s of opening and the first run": answer["seconds"],
        "MB on the card": None if taken is None else taken / 1e6,
    }


def mixed(place: Place) -> dict[str, Any]:
    """Run one session with shapes that come and go; memory must not grow.

    Shapes are drawn unevenly from more than a program keeps plans for, so that plans are
    forgotten and made anew all the while.
    """
    import runtime

    from benchmarks.gpu.engines import CPU, CUDA
    from benchmarks.zoo import ZOO

    entry, size = ZOO["minilm"], "tiny" if place.dry else "full"
    path = Path(place.folder) / f"minilm-{size}.onnx"
    path.write_bytes(entry.build(size).SerializeToString())
    settings = runtime.SessionOptions()
    if place.dry:
        settings.add_session_config_entry("session.cost_rule", "0")
    options = {"precision": "fp32"}  # by cublasLt alone, which is asked in no time
    session = runtime.InferenceSession(str(path), settings, [(CUDA, options), CPU])
    rng = np.random.default_rng(0)
    shapes = [
        {"batch": int(rng.integers(1, 5)), "sequence": int(rng.integers(1, 17)) * 8}
        for _ in range(SHAPES)
    ]
    if place.dry:
        shapes = [{"batch": 1, "sequence": 4}, {"batch": 2, "sequence": 3}]
    feeds = [entry.feeds(size, **shape) for shape in shapes]
    chances = 0.8 ** np.arange(len(feeds))
    chances /= chances.sum()
    wanted = 20 if place.dry else RUNS
    samples: list[dict[str, Any]] = []
    began, first = time.perf_counter(), [session.run(None, feed) for feed in feeds]
    ran = 0
    while ran < wanted and place.left() > 0:
        if ran % max(wanted // 20, 1) == 0:
            samples.append(_sample(ran))
            place.save({"runs": ran, "samples": samples})
        which = int(rng.choice(len(feeds), p=chances))
        found = session.run(None, feeds[which])
        ran += 1
        if ran % 50 == 0:
            _check(found, first[which])
    samples.append(_sample(ran))
    half = samples[len(samples) // 2 :]
    return {
        "runs": ran,
        "runs wanted": wanted,
        "shapes": len(feeds),
        "s": time.perf_counter() - began,
        "bytes of the card that the second half added": half[-1]["card"]
        - half[0]["card"],
        "resident bytes that it added": half[-1]["resident"] - half[0]["resident"],
        "samples": samples,
    }


def _check(found: Any, first: Any) -> None:
    for one, other in zip(found, first, strict=True):
        if not np.allclose(one, other, rtol=1e-2, atol=1e-2):
            raise RuntimeError(
                "a later run gives something else than the first one did"
            )


def _sample(ran: int) -> dict[str, Any]:
    free, total = device().memory()
    return {"run": ran, "card": total - free, "resident": status().get("rss", 0)}
