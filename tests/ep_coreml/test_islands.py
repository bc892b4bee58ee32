"""Few pieces: scattered nodes that are not lowered do not cut a model into many."""

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_models import SUBJECT, model
from runtime_ep_coreml import islands
from test_zoo import errors, pieces

from benchmarks.zoo import ZOO


@pytest.fixture
def without(monkeypatch):
    """Take operators out of the table."""
    from runtime_ep_coreml.table import TABLE

    def take(*operators):
        for operator in operators:
            monkeypatch.delitem(TABLE, operator, raising=False)

    return take


def test_small_islands_are_not_worth_a_call():
    source = ZOO["minilm"].build("tiny").SerializeToString()
    dims = ZOO["minilm"].cases("tiny")[0]
    opened = SUBJECT.open(source, dims=dims, cost_rule=True, cache=False)
    assert pieces(opened) == 0
    assert any("would gain" in told for told in opened.refusals)


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("minilm", ("Gelu", "Erf", "Div")),
        ("bert_base", ("LayerNormalization", "ReduceMean", "Tanh")),
        ("mobilenet_v2", ("Clip",)),
        ("vit", ("Attention", "Softmax")),
    ],
)
def test_a_model_with_scattered_unsupported_nodes_is_five_pieces_at_most(
    name, gone, without
):
    without(*gone)
    entry = ZOO[name]
    source, dims = entry.build("tiny").SerializeToString(), entry.cases("tiny")[0]
    opened = SUBJECT.open(source, dims=dims, cache=False)
    assert 0 < pieces(opened) <= islands.MOST
    assert max(errors(opened, source, entry.feeds("tiny", **dims))) < 1e-5


def test_the_pieces_that_are_kept_are_the_largest(without):
    """Eight products, of which three are narrow, with a square root between any two."""
    without("Sqrt")
    lines, widths = [], (2, 2, 256, 256, 256, 256, 256, 256)
    weights = {}
    for i, width in enumerate(widths):
        weights[f"w{i}"] = np.ones((widths[i - 1] if i else 2, width), np.float32)
        lines.append(f"m{i} = MatMul(x{i}, w{i}) x{i + 1} = Sqrt(m{i})")
    source = model(
        f"(float[4,2] x0) => (float[4,256] x8) {{ {' '.join(lines)} }}", **weights
    )
    opened = SUBJECT.open(source, cache=False)
    assert len(opened.owned) == pieces(opened) == islands.MOST
    kept = [node.inputs[1] for node in opened.owned]
    assert kept == ["w3", "w4", "w5", "w6", "w7"]
    assert any("of which the 5 largest are kept" in told for told in opened.refusals)
