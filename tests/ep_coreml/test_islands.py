"""Few pieces: scattered nodes that are not lowered do not cut a model into many."""

import random

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_models import RNG, SUBJECT, model
from runtime.graph import Graph, Node, Value
from runtime.partition import Owner, cut
from runtime.plugin import HOST
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
    assert len(opened.placed) <= islands.MOST
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


def blocks(count, text, width=16):
    """Return a model that repeats a block, of which ``{i}`` is the number."""
    lines = " ".join(text.format(i=i, j=i + 1) for i in range(count))
    weights = {
        f"w{i}": (RNG.standard_normal((width, width)) / width).astype(np.float32)
        for i in range(count)
    }
    ends = f"(float[4,{width}] x0) => (float[4,{width}] x{count})"
    return model(f"{ends} {{ {lines} }}", **weights)


RESIDUAL = "m{i} = MatMul(x{i}, w{i}) d{i} = Sqrt(m{i}) x{j} = Add(x{i}, d{i})"


def close(opened, source):
    feed = {"x0": RNG.uniform(0, 1, (4, 16)).astype(np.float32)}
    (want,), (got,) = SUBJECT.alone(source)(feed), opened(feed)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert not opened.faults


def test_what_hangs_together_is_cut_into_few_partitions_too(without):
    """A path around each square root makes one piece of all, and 25 partitions."""
    without("Sqrt")
    source = blocks(24, RESIDUAL)
    opened = SUBJECT.open(source, cache=False)
    assert 0 < len(opened.placed) <= islands.MOST
    assert pieces(opened) <= islands.MOST
    assert any("one of 25 partitions" in told for told in opened.refusals)
    close(opened, source)


def test_separate_pieces_of_one_stage_are_still_separate(without):
    """Eight branches from one input are one partition, of which five are kept."""
    without("Sqrt")
    lines = [f"m{i} = MatMul(x0, w{i}) d{i} = Sqrt(m{i})" for i in range(8)]
    total = ", ".join(f"d{i}" for i in range(8))
    source = model(
        f"(float[4,16] x0) => (float[4,16] y) {{ {' '.join(lines)} y = Max({total}) }}",
        **{f"w{i}": np.full((16, 16), i / 64, np.float32) for i in range(8)},
    )
    opened = SUBJECT.open(source, cache=False)
    assert 0 < pieces(opened) <= islands.MOST
    assert len(opened.placed) <= 2
    close(opened, source)


def test_the_body_of_an_operator_is_no_way_around_the_limit(without):
    """Gelu in what is left is shown once more as Div, Erf, Add and Mul."""
    without("Sqrt")
    source = blocks(
        24,
        "m{i} = MatMul(x{i}, w{i}) g{i} = Gelu(m{i}) s{i} = Mul(g{i}, g{i})"
        " x{j} = Sqrt(s{i})",
    )
    opened = SUBJECT.open(source, cache=False)
    assert 0 < pieces(opened) <= islands.MOST
    assert 0 < len(opened.placed) <= islands.MOST
    assert {node.op_type for node in opened.owned} == {"MatMul", "Gelu", "Mul"}
    close(opened, source)


def test_an_operator_that_is_taken_by_its_body_is_counted(without):
    without("Sqrt", "Gelu")
    source = blocks(24, "g{i} = Gelu(x{i}) s{i} = Mul(g{i}, g{i}) x{j} = Sqrt(s{i})")
    opened = SUBJECT.open(source, cache=False)
    assert 0 < pieces(opened) <= islands.MOST
    assert 0 < len(opened.placed) <= islands.MOST
    close(opened, source)


@pytest.mark.parametrize("seed", range(20))
def test_partitions_are_those_that_the_runtime_cuts(seed):
    rng = random.Random(seed)
    graph, values = Graph(), [Value("x")]
    for index in range(60):
        reads = rng.sample(values[-8:], min(2, len(values)))
        node = graph.append(Node("Add", reads, [Value(f"v{index}")]))
        values += node.outputs
    nodes = list(graph)
    offered = [node for node in nodes if rng.random() < 0.9]
    mine = [node for node in offered if rng.random() < 0.8]
    names = dict.fromkeys(nodes, "before") | dict.fromkeys(offered, "next")
    names |= dict.fromkeys(mine, "mine")
    owners = {
        node: Owner(names[node], HOST, number) for number, node in enumerate(nodes)
    }
    want = [p.nodes for p in cut(nodes, graph, owners) if p.provider == "mine"]
    found = islands.partitions(islands.sources(nodes), offered, mine)
    assert [tuple(part) for part in found] == want
