"""What nobody reads goes."""

from __future__ import annotations

import numpy as np
from models import BOOL, FLOAT, INT64, model, node
from onnx import helper
from simplified import operators, same, simplified

ONLY = "deadcode"
X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


def with_dead(*nodes, results=None, **constants):
    """Return a model that negates x, among other things."""
    return model(
        [*nodes, node("Neg", ["x"], ["y"])],
        {"x": (FLOAT, [2, 3])},
        {"y": (FLOAT, [2, 3]), **(results or {})},
        constants,
    )


def test_a_chain_that_nobody_reads():
    proto = with_dead(
        node("Add", ["x", "w"], ["a"]), node("Exp", ["a"], ["b"]), w=np.float32(1)
    )
    graph = same(proto, [X], ONLY).graph
    assert operators(graph) == {"Neg": 1}
    assert not graph.initializers


def test_a_node_with_bodies_has_no_effects_either():
    body = helper.make_graph(
        [node("Exp", ["x"], ["r"])],
        "body",
        [],
        [helper.make_tensor_value_info("r", FLOAT, [2, 3])],
    )
    proto = with_dead(
        node("If", ["c"], ["i"], then_branch=body, else_branch=body), c=np.array(True)
    )
    graph = same(proto, [X], ONLY).graph
    assert operators(graph) == {"Neg": 1}
    assert {user.op_type for user in graph.inputs[0].users} == {"Neg"}


def test_a_weight_that_only_a_body_reads_stays():
    body = helper.make_graph(
        [node("Add", ["x", "w"], ["r"])],
        "body",
        [],
        [helper.make_tensor_value_info("r", FLOAT, [2, 3])],
    )
    proto = model(
        [node("If", ["c"], ["y"], then_branch=body, else_branch=body)],
        {"x": (FLOAT, [2, 3]), "c": (BOOL, [])},
        {"y": (FLOAT, [2, 3])},
        {"w": np.float32(1)},
    )
    assert "w" in same(proto, [X, np.array(True)], ONLY).graph.initializers


def test_unread_optional_outputs_become_absent():
    proto = with_dead(
        node("LayerNormalization", ["x", "s"], ["a", "mean", "deviation"]),
        results={"a": (FLOAT, None), "deviation": (FLOAT, None)},
        s=np.ones(3, np.float32),
    )
    (norm, _) = same(proto, [X], ONLY).graph
    assert [value.name for value in norm.outputs] == ["a", "", "deviation"]


def test_trailing_ones_vanish():
    proto = with_dead(
        node("LayerNormalization", ["x", "s"], ["a", "mean", "deviation"]),
        results={"a": (FLOAT, None)},
        s=np.ones(3, np.float32),
    )
    (norm, _) = same(proto, [X], ONLY).graph
    assert len(norm.outputs) == 1


def test_outputs_that_are_not_optional_stay():
    proto = with_dead(
        node("TopK", ["x", "k"], ["values", "places"]),
        node("Split", ["x"], ["p", "q"], axis=0),
        results={"places": (INT64, None), "p": (FLOAT, None)},
        k=np.array([1]),
    )
    top, split, _ = same(proto, [X], ONLY).graph
    assert [value.name for value in top.outputs] == ["values", "places"]
    assert len(split.outputs) == 2


def test_inputs_and_overridable_weights_stay():
    proto = with_dead(w=np.float32(1))
    proto.graph.input.append(helper.make_tensor_value_info("w", FLOAT, []))
    graph = simplified(proto).graph
    assert [value.name for value in graph.inputs] == ["x", "w"]
    assert "w" in graph.initializers
