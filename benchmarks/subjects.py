"""What is measured: a model of the zoo at one case, written to files for the contenders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.zoo import ZOO, Entry
from benchmarks.zoo.classical import CLASSICAL
from benchmarks.zoo.convolutional import CONVOLUTIONAL
from benchmarks.zoo.generated import GENERATED
from benchmarks.zoo.precision import converted, retyped

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
VISION = [
    "resnet50",
    "resnet18",
    "mobilenet_v2",
    "mobilenet_v3",
    "efficientnet",
    "convnext",
    "unet",
    "detector",
    "video",
    "audio",
]
FORESTS = ("random_forest", "gradient_boosting")
SUITES = {
    "transformers": TRANSFORMERS,
    "vision": VISION,
    "vision_of_eight": [f"{name}:2" for name in VISION if name != "resnet18"],
    "generated": list(GENERATED),
    "convolutional": list(CONVOLUTIONAL),
    "classical": [
        *(f"{name}{case}" for name in FORESTS for case in ("", ":1")),
        *(name for name in CLASSICAL if name not in FORESTS),
    ],
}
PRECISIONS: dict[str, type] = {"float32": np.float32, "float16": np.float16}


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
        model, precision, case = parts(name)
        if precision not in PRECISIONS or case >= len(entry(model).cases("full")):
            raise ValueError(
                f"{name!r} is not a precision of {', '.join(PRECISIONS)} or a case below "
                f"{len(entry(model).cases('full'))}"
            )
    return found


def parts(name: str) -> tuple[str, str, int]:
    """Take ``NAME@PRECISION:CASE`` apart; float32 and the first case if not told."""
    stem, _, case = name.partition(":")
    model, _, precision = stem.partition("@")
    return model, precision or "float32", int(case or 0)


def entry(name: str) -> Entry:
    """Return a model by name; raises ``ValueError`` with the names there are."""
    known = {**ZOO, **GENERATED, **CONVOLUTIONAL, **CLASSICAL}
    if name not in known:
        raise ValueError(
            f"no model is named {name!r}; there are {', '.join(SUITES)} (suites) and "
            f"{', '.join(known)}"
        )
    return known[name]


def feeds(name: str, size: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Return inputs of a subject, in its precision."""
    model, precision, case = parts(name)
    chosen, dtype = entry(model), PRECISIONS[precision]
    arrays = chosen.feeds(size, seed=seed, **chosen.cases(size)[case])
    return {key: converted(array, dtype) for key, array in arrays.items()}


def subject(name: str, size: str, folder: Path) -> Subject:
    """Write a model and its inputs, ``NAME:1`` with the second case of its dims."""
    model, precision, case = parts(name)
    chosen = entry(model)
    path = folder / f"{model}-{precision}-{size}.onnx"
    if not path.exists():
        proto = chosen.build(size)
        if precision != "float32":
            proto = retyped(proto, PRECISIONS[precision])
        path.write_bytes(proto.SerializeToString())
    feed = path.with_name(f"{path.stem}-{case}.npz")
    np.savez(feed, **feeds(name, size))
    dims = chosen.cases(size)[case]
    return Subject(name, chosen.description, dims, path, feed)
