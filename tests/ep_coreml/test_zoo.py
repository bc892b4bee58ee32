"""Real architectures: nearly all nodes, few pieces, and what the CPU provider gives."""

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_models import SUBJECT, subject
from runtime.cost import components
from runtime.partition import Owner

from benchmarks.zoo import ZOO
from benchmarks.zoo.convolutional import CONVOLUTIONAL

MODELS = (
    "resnet50", "mobilenet_v2", "convnext", "vit", "bert_base", "minilm",
    "whisper_encoder", "detector", "lstm",
)  # fmt: skip
FULL = (
    "resnet50", "mobilenet_v2", "convnext", "vit", "minilm", "whisper_encoder",
    "detector", "lstm",
)  # fmt: skip
HALVES = 1e-2
"""Largest error in float16, relative to the largest output."""


def pieces(opened):
    """Return how many connected components the provider owns."""
    owners = {
        node: Owner(item.partition.provider, item.partition.device, 0)
        for section in opened.runnable.section.sections()
        for item in section.placed
        for node in item.partition.nodes
    }
    graph = opened.runnable.graph
    return sum(part.provider == opened.name for part in components(graph, owners))


def errors(opened, source, feed):
    """Yield the largest error of each output, relative to its largest magnitude."""
    for got, want in zip(opened(feed), SUBJECT.alone(source)(feed), strict=True):
        assert got.shape == want.shape
        wide = np.asarray(want, np.float64)
        scale = max(np.abs(wide).max(initial=0), 1e-12)
        yield float(np.abs(np.asarray(got, np.float64) - wide).max(initial=0) / scale)
    assert not opened.faults


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("precision", "limit"), [("FP32", 1e-5), ("FP16", HALVES)])
def test_a_model_is_few_pieces_and_equal_to_the_cpu(name, precision, limit, capsys):
    entry = ZOO[name]
    source = entry.build("tiny").SerializeToString()
    dims = entry.cases("tiny")[0]
    opened = subject(Precision=precision).open(source, cache=False, dims=dims)
    share, count = len(opened.owned) / len(opened.nodes), pieces(opened)
    parts = len(opened.placed)
    error = max(errors(opened, source, entry.feeds("tiny", **dims)))
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{name} {precision}: {len(opened.owned)} of {len(opened.nodes)} nodes "
            f"({share:.1%}) in {count} components and {parts} partitions, error {error:.1e}"
        )
    assert share >= 0.95
    assert count <= 5
    assert parts <= 5
    assert error < limit


@pytest.mark.parametrize("name", [*sorted(set(ZOO) - set(MODELS)), *CONVOLUTIONAL])
def test_every_other_model_is_equal_to_the_cpu_however_it_is_divided(name):
    entry = ZOO.get(name) or CONVOLUTIONAL[name]
    source = entry.build("tiny").SerializeToString()
    dims = entry.cases("tiny")[0]
    opened = SUBJECT.open(source, cache=False, dims=dims)
    assert len(opened.owned) / len(opened.nodes) >= 0.8
    assert pieces(opened) <= 5
    assert len(opened.placed) <= 5
    assert max(errors(opened, source, entry.feeds("tiny", **dims))) < 2e-5


@pytest.mark.parametrize("name", FULL)
def test_a_model_of_full_size_is_equal_to_the_cpu(name):
    entry = ZOO[name]
    source = entry.build("full").SerializeToString()
    dims = entry.cases("full")[0]
    opened = SUBJECT.open(source, cache=False, dims=dims)
    assert len(opened.owned) / len(opened.nodes) >= 0.95
    assert pieces(opened) <= 5
    assert len(opened.placed) <= 5
    assert max(errors(opened, source, entry.feeds("full", **dims))) < 1e-5


@pytest.mark.parametrize("name", ["minilm", "bert_base", "vit", "lstm"])
def test_open_dims_within_bounds_are_one_package(name):
    entry = ZOO[name]
    source = entry.build("tiny").SerializeToString()
    bounds = "batch=1..8, sequence=1..64"
    opened = subject(DimBounds=bounds).open(source, cache=False)
    assert len(opened.owned) / len(opened.nodes) >= 0.9
    for dims in entry.cases("tiny"):
        assert max(errors(opened, source, entry.feeds("tiny", **dims))) < 1e-5
