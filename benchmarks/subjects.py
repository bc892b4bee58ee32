"""What is measured: a model of the zoo at one case, written to files for the contenders."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.zoo import ZOO, Entry
from benchmarks.zoo.generated import GENERATED

TRANSFORMERS = [
    "bert_base",
    "minilm",
    "distilbert",
    "vit",
    "gpt2",
    "gpt2:1",
    "llama",
    "llama:1",
    "whisper_encoder",
    "mlp",
]
VISION = ["resnet50", "resnet18", "mobilenet_v2", "convnext", "unet", "detector"]
SUITES = {
    "transformers": TRANSFORMERS,
    "vision": VISION,
    "generated": list(GENERATED),
}


@dataclass(frozen=True)
class Subject:
    """A model's name, its files and the symbolic dims that it runs with."""

    name: str
    description: str
    dims: dict[str, int]
    model: Path
    feed: Path


def names(wanted: list[str]) -> list[str]:
    """Return the models asked for, suites taken apart; raises as `entry` does."""
    found = [name for each in wanted for name in SUITES.get(each, [each])]
    for name in found:
        entry(name.partition(":")[0])
    return found


def entry(name: str) -> Entry:
    """Return a model by name; raises ``ValueError`` with the names there are."""
    known = {**ZOO, **GENERATED}
    if name not in known:
        raise ValueError(
            f"no model is named {name!r}; there are {', '.join(SUITES)} (suites) and "
            f"{', '.join(known)}"
        )
    return known[name]


def subject(name: str, size: str, folder: Path) -> Subject:
    """Write a model and its inputs; ``NAME:1`` is the second case of its dims."""
    stem, _, index = name.partition(":")
    chosen = entry(stem)
    dims = chosen.cases(size)[int(index or 0)]
    model = folder / f"{stem}-{size}.onnx"
    if not model.exists():
        model.write_bytes(chosen.build(size).SerializeToString())
    feed = folder / f"{stem}-{size}-{index or 0}.npz"
    np.savez(feed, **chosen.feeds(size, **dims))
    return Subject(name, chosen.description, dims, model, feed)


def digest(path: Path) -> str:
    """Return a short hash of a file."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
