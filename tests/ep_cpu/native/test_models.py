"""Transformers of random widths, heads, lengths, opsets: native results are NumPy's."""

import random

import pytest
from beside_numpy import checked, programs

from benchmarks.zoo import ZOO

FAMILIES = ("bert_base", "minilm", "distilbert", "gpt2", "llama", "vit")
FAMILIES += ("whisper_encoder", "whisper_decoder")


def drawn(family, seed):
    """Return a small model of a family, and assignments of its symbolic dims."""
    rng = random.Random(f"{family} {seed}")
    heads = rng.choice((1, 2, 3, 4, 6))
    config = {
        "width": rng.choice((4, 8, 16, 20, 32)) * heads,
        "layers": rng.randint(1, 2),
        "heads": heads,
    }
    if family == "vit":
        patch = rng.choice((4, 7, 8))
        config |= {"patch": patch, "image": patch * rng.randint(1, 5), "classes": 11}
    elif family == "llama":
        shared = rng.choice([n for n in (1, 2, 3) if heads % n == 0])
        config |= {"shared": shared, "inner": 2 * config["width"] + 1}
    elif family.startswith("whisper"):
        config |= {"mels": rng.choice((8, 13)), "frames": 2 * rng.randint(4, 30)}
    if family not in ("vit", "whisper_encoder"):
        config["vocabulary"] = 53
    spelling = rng.choice(("torchscript", "dynamo"))
    least, most = (18, 22) if spelling == "dynamo" else (14, 20)
    entry = ZOO[family].spelled(spelling, rng.randint(least, most))
    dims = [
        {
            name: 0
            if name == "past" and i == 2
            else rng.randint(1, 3 if name == "batch" else 30)
            for name in entry.dims["tiny"]
        }
        for i in range(3)
    ]
    return entry.configured(**config), dims


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_a_small_transformer_gives_numpys_results(family, seed):
    entry, dims = drawn(family, seed)
    feeds = [entry.feeds("tiny", **d) for d in dims]
    session = checked(
        entry.build("tiny"), *feeds[:2], tolerance=2e-5, threads=1 + seed % 2
    )
    checked(entry.build("tiny"), feeds[2], tolerance=2e-5, moves=None)
    for program in programs(session):
        native, _, whole = program.facts["native"].partition(" of ")
        assert int(native) >= 0.75 * int(whole.split()[0]), program.facts
