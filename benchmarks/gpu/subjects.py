"""The models of the check, with their inputs by batch, in files for the contenders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.gpu.here import Place
from benchmarks.zoo import ZOO
from benchmarks.zoo.precision import converted, retyped

MODELS: dict[str, tuple[str, dict[str, int]]] = {
    "resnet50": ("resnet50", {}),
    "mobilenet_v2": ("mobilenet_v2", {}),
    "convnext": ("convnext", {}),
    "vit": ("vit", {}),
    "bert_base": ("bert_base", {"sequence": 128}),
    "gpt2_decode": ("gpt2", {"sequence": 1, "past": 128}),
    "detector": ("detector", {"height": 640, "width": 640}),
}
"""Names of the check: the zoo's model, and the symbolic dims beside the batch."""

TINY: dict[str, dict[str, int]] = {
    "resnet50": {"height": 64, "width": 64},
    "mobilenet_v2": {"height": 64, "width": 64},
    "convnext": {"height": 64, "width": 64},
    "bert_base": {"sequence": 8},
    "gpt2_decode": {"sequence": 1, "past": 7},
    "detector": {"height": 64, "width": 64},
}
BATCHES = (1, 8, 32)
PRECISIONS = ("fp16", "tf32", "fp32", "bf16")


@dataclass(frozen=True)
class Files:
    """A model's file, its twin in halves, and inputs for both."""

    model: Path
    feed: Path
    half: Path
    half_feed: Path


def build(name: str, folder: Path, dry: bool) -> tuple[Path, Path]:
    """Write a model in float32 and in float16, once."""
    stem, _ = MODELS[name]
    size = "tiny" if dry else "full"
    paths = folder / f"{stem}-{size}.onnx", folder / f"{stem}-{size}-half.onnx"
    if not paths[1].exists():
        model = ZOO[stem].build(size)
        onnx.save(model, paths[0])
        onnx.save(retyped(model, np.float16), paths[1])
    return paths


def models(place: Place) -> dict[str, Any]:
    """Write the models that are asked for, the first part of `benchmarks.gpu_check`."""
    for name in chosen(place):
        build(name, place.folder, place.dry)
    return {}


def chosen(place: Place) -> tuple[str, ...]:
    """Return the models that are asked for."""
    return place.models or (("resnet50", "bert_base") if place.dry else tuple(MODELS))


def files(name: str, batch: int, folder: Path, dry: bool) -> Files:
    """Return a model with inputs for a batch."""
    whole, half = build(name, folder, dry)
    stem, dims = MODELS[name]
    dims = {**(TINY.get(name, {}) if dry else dims), "batch": batch}
    feed = folder / f"{name}-{batch}.npz"
    half_feed = folder / f"{name}-{batch}-half.npz"
    arrays = ZOO[stem].feeds("tiny" if dry else "full", **dims)
    np.savez(feed, **arrays)
    np.savez(half_feed, **{k: converted(v, np.float16) for k, v in arrays.items()})
    return Files(whole, feed, half, half_feed)
