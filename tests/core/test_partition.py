"""Partitions are convex, own each node once, and compute what the CPU alone computes."""

import warnings
from collections import Counter

import numpy as np
import pytest
import runtime as ort
from doubles import Choosy, DeviceProvider
from models import random_graph
from runtime.partition import is_convex

CPU = "CPUExecutionProvider"
PLAIN = (CPU, {"native": "off"})
RNG = np.random.default_rng(7)
FEED = {
    "x0": RNG.standard_normal((2, 3)).astype(np.float32),
    "x1": RNG.standard_normal((2, 3)).astype(np.float32),
}


def providers_for(seed):
    """Return providers that like random subsets: on the host, on devices, one fused."""
    rng = np.random.default_rng(seed)
    ops = ["Relu", "Neg", "Abs", "Sigmoid", "Tanh", "Floor", "Add", "Sub", "Mul", "Max"]

    def some():
        return [op for op in ops if rng.random() < 0.4]

    return [
        Choosy("AExecutionProvider", some()),
        DeviceProvider("BExecutionProvider", some(), "simb"),
        DeviceProvider("CExecutionProvider", some(), "simc"),
        Choosy("DExecutionProvider", some()),
    ]


def check(seed, registered):
    model = random_graph(seed, 8 + seed % 25).SerializeToString()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    alone = ort.InferenceSession(model, options, providers=[PLAIN]).run(None, FEED)
    doubles = providers_for(seed)
    registered(*doubles)
    session = ort.InferenceSession(
        model, options, providers=[*(double.info.name for double in doubles), PLAIN]
    )
    nodes = [n.name for n in session.explain().nodes]
    assert Counter(nodes) == Counter(node.name for node in session.graph)
    for placed in session._runnable.section.placed:
        assert is_convex(placed.partition.nodes, session.graph)
    for got, want in zip(session.run(None, FEED), alone, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("block", range(6))
def test_random_graphs_on_random_providers_equal_the_cpu_alone(block, registered):
    for seed in range(block * 50, block * 50 + 50):
        check(seed, registered)


@pytest.mark.slow
def test_three_thousand_random_graphs_equal_the_cpu_alone(registered):
    for seed in range(3000):
        check(seed, registered)


def test_a_fused_claim_that_is_not_convex_is_refused_by_name(registered):
    from models import FLOAT, model, node

    cross = model(
        [
            node("Relu", ["x"], ["a"], name="first"),
            node("Neg", ["a"], ["b"], name="between"),
            node("Add", ["a", "b"], ["y"], name="last"),
        ],
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
    ).SerializeToString()
    greedy = Choosy("GreedyExecutionProvider", ["Relu", "Add"], fused=True)
    registered(greedy)
    with pytest.warns(ort.FallbackWarning, match=r"Greedy.*not convex"):
        session = ort.InferenceSession(cross, providers=["GreedyExecutionProvider"])
    x = np.array([-1, 2], np.float32)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], [0, 0])
    assert session.explain().counts() == {CPU: 3}


def test_two_fused_claims_that_form_a_cycle_are_resolved_loudly(registered):
    from models import FLOAT, model, node

    crossed = model(
        [
            node("Relu", ["x"], ["a"], name="a1"),
            node("Neg", ["x"], ["b"], name="b1"),
            node("Abs", ["a"], ["c"], name="b2"),
            node("Floor", ["b"], ["d"], name="a2"),
            node("Add", ["c", "d"], ["y"], name="sum"),
        ],
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
    ).SerializeToString()
    one = Choosy("OneExecutionProvider", ["Relu", "Floor"], fused=True)
    two = Choosy("TwoExecutionProvider", ["Neg", "Abs"], fused=True)
    registered(one, two)
    with pytest.warns(ort.FallbackWarning, match="cycle"):
        session = ort.InferenceSession(
            crossed, providers=["OneExecutionProvider", "TwoExecutionProvider"]
        )
    x = np.array([-1.5, 2.5], np.float32)
    want = np.abs(np.maximum(x, 0)) + np.floor(-x)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], want)


def test_a_refusal_is_recorded_with_its_reason(registered):
    registered(Choosy("PickyExecutionProvider", ["Relu"]))
    model = random_graph(3).SerializeToString()
    session = ort.InferenceSession(model, providers=["PickyExecutionProvider"])
    for record in session.explain().nodes:
        if record.op_type != "Relu":
            reason = record.refusals["PickyExecutionProvider"]
            assert reason == f"PickyExecutionProvider does not like {record.op_type}"


def test_no_warning_when_everything_is_claimed(registered):
    registered(Choosy("AllExecutionProvider", lambda node: True))
    model = random_graph(4).SerializeToString()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session = ort.InferenceSession(model, providers=["AllExecutionProvider"])
    assert set(session.explain().counts()) == {"AllExecutionProvider"}
