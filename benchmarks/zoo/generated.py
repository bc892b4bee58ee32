"""Twenty transformer-like models that nobody published, drawn from a fixed seed.

Widths, depths, heads, lengths (mostly odd), opsets 11 to 22 and both exporters' spellings
vary; each runs in a fraction of a second and is built in one. The drawing uses
``random.Random``, whose sequence Python keeps, so that every checkout has the same twenty.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from . import ZOO, Entry

SEED = 64
COUNT = 20
FAMILIES = (
    "bert_base",
    "minilm",
    "distilbert",
    "gpt2",
    "llama",
    "vit",
    "whisper_encoder",
    "whisper_decoder",
)
OPSETS = {
    ("torchscript", "llama"): (14, 20),  # Trilu is of opset 14
    ("torchscript", ""): (11, 20),
    ("dynamo", ""): (18, 22),
}
HEAD_SIZES = (16, 24, 32, 40, 48, 64, 80, 96)
VOCABULARY = 1999


def _lengths(family: str, rng: random.Random) -> dict[str, int]:
    """Draw the symbolic dims of a run."""
    batch = rng.choice((1, 1, 1, 2, 3))
    if family in ("vit", "whisper_encoder"):
        return {"batch": batch}
    if family in ("bert_base", "minilm", "distilbert"):
        return {"batch": batch, "sequence": rng.choice((7, 33, 77, 101, 128, 199, 255))}
    if rng.random() < 0.5:
        return {"batch": batch, "sequence": rng.choice((19, 45, 96, 131)), "past": 0}
    return {"batch": batch, "sequence": 1, "past": rng.choice((15, 63, 127, 301))}


def _config(family: str, rng: random.Random) -> dict[str, int]:
    """Draw widths, depths and heads."""
    size, heads = rng.choice(HEAD_SIZES), rng.choice((2, 3, 4, 6, 8, 12))
    width = size * heads
    config = {"width": width, "layers": rng.randint(1, 6), "heads": heads}
    if family == "vit":
        patch = rng.choice((8, 14, 16))
        config |= {"patch": patch, "image": patch * rng.randint(6, 13), "classes": 101}
    elif family == "llama":
        shared = rng.choice([n for n in (1, 2, 3, 4, 6) if heads % n == 0])
        config |= {"shared": shared, "inner": width * rng.choice((5, 7, 8, 9)) // 3}
    elif family.startswith("whisper"):
        config |= {"mels": rng.choice((40, 80)), "frames": 2 * rng.randint(60, 260)}
    if family not in ("vit", "whisper_encoder"):
        config["vocabulary"] = VOCABULARY
    return config


def _entry(family: str, rng: random.Random) -> Entry:
    config, dims = _config(family, rng), _lengths(family, rng)
    spelling = rng.choice(("torchscript", "dynamo"))
    bounds = OPSETS.get((spelling, family)) or OPSETS[spelling, ""]
    opset = rng.randint(*bounds)
    case = {name: (value,) for name, value in dims.items()}
    words = ", ".join(f"{key} {value}" for key, value in (config | dims).items())
    chosen = ZOO[family].spelled(spelling, opset).configured(**config)
    return replace(
        chosen,
        description=f"{family}, {spelling}, opset {opset}: {words}",
        dims={"tiny": case, "full": case},
    )


def _draw() -> Mapping[str, Entry]:
    rng = random.Random(SEED)
    order = [FAMILIES[i % len(FAMILIES)] for i in range(COUNT)]
    return {f"generated{i:02}": _entry(f, rng) for i, f in enumerate(order)}


GENERATED = _draw()
