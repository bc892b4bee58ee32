"""The part `card`: which GPU, driver and libraries, and how much it can do at most."""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata
from typing import Any

from benchmarks.gpu.here import Place, device, hasten, said, with_tests
from benchmarks.gpu.timing import Bench, flops

PACKAGES = (
    "numpy", "onnx", "cupy-cuda13x", "torch", "torchvision", "onnxruntime",
    "onnxruntime-gpu", "nvidia-cudnn-cu13", "nvidia-cudnn-frontend", "nvidia-cublas",
    "nvidia-cuda-nvrtc",
)  # fmt: skip
KINDS = {
    "fp32": ("float32", False),
    "tf32": ("float32", True),
    "fp16": ("float16", False),
    "bf16": ("bfloat16", False),
}
"""Precisions as an operation's element type, and whether it may use TF32."""


def card(place: Place) -> dict[str, Any]:
    """Describe the device, keep its properties as cuDNN wants them, measure its peaks."""
    bench = Bench(device(), place.dry)
    hasten(bench.driver, 1, 1)
    told = bench.driver.properties
    found: dict[str, Any] = {
        "name": told.name,
        "capability": told.sm,
        "multiprocessors": told.multiprocessors,
        "memory": told.memory,
        "libraries": dict(told.versions),
        "nvidia-smi": said(),
        "host": f"{platform.platform()}, Python {sys.version.split()[0]}",
        "packages": {name: version(name) for name in PACKAGES},
    }
    if not place.dry:
        found["properties"] = properties(place, told.sm)
    place.save(found)
    found["bandwidth"] = bandwidth(bench, 1 << 16 if place.dry else 1 << 30)
    size = 64 if place.dry else 8192
    found["peaks"] = {name: peak(bench, name, size) for name in KINDS}
    return found


def version(name: str) -> str:
    """Return the version of an installed distribution, or ``"-"``."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "-"


def properties(place: Place, sm: int) -> dict[str, Any]:
    """Return the device as cuDNN describes it; the file is a fixture for the tests."""
    import cudnn

    text = cudnn.create_device_properties(0).serialize()
    if not isinstance(text, str):
        text = bytes(text).decode()
    described = dict(json.loads(text))
    file = place.folder / f"sm_{sm}.json"
    file.write_text(json.dumps(described, indent=2) + "\n")
    return described


def bandwidth(bench: Bench, size: int) -> float:
    """Return the bytes a second that a copy within the device reads and writes."""
    with bench.memory():
        source, target = bench.take(size), bench.take(size)
        run = bench.driver.copy
        seconds = bench.seconds(lambda: run(target, source, size, bench.stream))
    return 2 * size / seconds


def peak(bench: Bench, precision: str, size: int) -> dict[str, Any]:
    """Return the operations a second of a large product, by its best candidate."""
    with_tests()
    from library.specs import product

    dtype, tf32 = KINDS[precision]
    size = size if precision != "fp32" else size // 2
    operation = product((1, size, size), (1, size, size), dtype=dtype, tf32=tf32)
    best: dict[str, Any] = {"flops": 0.0, "by": ""}
    with bench.memory():
        for candidate in bench.driver.candidates(operation, 1 << 28)[:4]:
            seconds = bench.seconds(bench.calling(operation, candidate))
            if flops(operation) / seconds > best["flops"]:
                best = {"flops": flops(operation) / seconds, "by": candidate.name}
    return best
