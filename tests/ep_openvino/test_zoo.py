"""Real architectures: at most two connected pieces, and what the CPU provider gives."""

import numpy as np
import pytest

pytest.importorskip("openvino")

import runtime as ort
from small import CPU, NAME, session

from benchmarks.openvino import MODELS, pieces
from benchmarks.zoo import ZOO


def run_both(name, size, **given):
    entry = ZOO[name]
    source = entry.build(size).SerializeToString()
    ours, host = session(source, **given), ort.InferenceSession(source, providers=[CPU])
    for dims in entry.cases(size):
        feed = entry.feeds(size, **dims)
        for got, want in zip(ours.run(None, feed), host.run(None, feed), strict=True):
            yield ours, got, want


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_one_piece_and_equal_to_the_cpu(name):
    for ours, got, want in run_both(name, "tiny"):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
        assert pieces(ours.explain()) <= 2
        assert ours.explain().share(NAME) > 0.99


@pytest.mark.parametrize("name", ["vit", "gpt2", "llama", "unet", "detector", "lstm"])
def test_other_models_are_equal_to_the_cpu_however_they_are_divided(name):
    for _, got, want in run_both(name, "tiny"):
        if want.dtype.kind in "biu":
            np.testing.assert_array_equal(got, want)
        else:
            scale = np.abs(want).max(initial=0)
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * scale)


def test_pieces_are_counted_by_what_flows_between_nodes():
    source = ZOO["mlp"].build("tiny").SerializeToString()
    placement = session(source).explain()
    assert pieces(placement) == 1
    names = [node.provider for node in placement.nodes]
    assert set(names) == {NAME}
