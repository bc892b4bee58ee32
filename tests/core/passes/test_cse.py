"""Equal computations are made once."""

from __future__ import annotations

import numpy as np
from models import FLOAT, INT64, model, node
from onnx import TensorProto, helper
from simplified import operators, same, simplified

ONLY = ("cse", "constants")
X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


def pair(first, second, **constants):
    """Return a model that subtracts two nodes' results."""
    return model(
        [first, second, node("Sub", ["a", "b"], ["y"])],
        {"x": (FLOAT, [2, 3])},
        {"y": (FLOAT, None)},
        constants,
        opset=18,
    )


def count(proto, op):
    """Return how many nodes of an operator are left."""
    return operators(same(proto, [X], ONLY).graph)[op]


def test_equal_nodes_are_one():
    proto = pair(node("Exp", ["x"], ["a"], "one"), node("Exp", ["x"], ["b"], "two"))
    (exp, _) = same(proto, [X], ONLY).graph
    assert exp.origins == ("one", "two")


def test_attributes_count_in_any_order():
    first = node("ReduceSum", ["x", "axes"], ["a"], keepdims=1, noop_with_empty_axes=0)
    second = node("ReduceSum", ["x", "axes"], ["b"], noop_with_empty_axes=0, keepdims=1)
    assert count(pair(first, second, axes=np.array([1])), "ReduceSum") == 1
    other = node("ReduceSum", ["x", "axes"], ["b"], keepdims=0, noop_with_empty_axes=0)
    proto = model(
        [first, other],
        {"x": (FLOAT, [2, 3])},
        {"a": (FLOAT, None), "b": (FLOAT, None)},
        {"axes": np.array([1])},
        opset=18,
    )
    assert count(proto, "ReduceSum") == 2


def test_other_inputs_are_other_nodes():
    assert count(pair(node("Exp", ["x"], ["a"]), node("Exp", ["a"], ["b"])), "Exp") == 2


def test_small_constants_are_one_and_so_is_what_reads_them():
    proto = pair(
        node("Add", ["x", "c"], ["a"]),
        node("Add", ["x", "d"], ["b"]),
        c=np.float32(2),
        d=np.float32(2),
    )
    assert count(proto, "Add") == 1
    assert len(simplified(proto, ONLY).graph.initializers) == 1


def test_constants_of_other_type_or_shape_or_sign_differ():
    for other in (np.float32([2]), np.float32(-2), np.float32(3)):
        proto = pair(
            node("Add", ["x", "c"], ["a"]),
            node("Add", ["x", "d"], ["b"]),
            c=np.float32(2),
            d=other,
        )
        assert count(proto, "Add") == 2
    zeros = pair(
        node("Div", ["x", "c"], ["a"]),
        node("Div", ["x", "d"], ["b"]),
        c=np.float32(0.0),
        d=np.float32(-0.0),
    )
    assert len(simplified(zeros, ONLY).graph.initializers) == 2


def test_tensor_attributes_are_compared_by_content():
    def filled(name, number):
        value = helper.make_tensor("v", FLOAT, [1], [number])
        return node("ConstantOfShape", ["s"], [name], value=value)

    shape = np.array([2, 3])
    assert count(pair(filled("a", 1), filled("b", 1), s=shape), "ConstantOfShape") == 1
    assert count(pair(filled("a", 1), filled("b", 2), s=shape), "ConstantOfShape") == 2


def test_random_nodes_are_not_merged():
    proto = pair(
        node("RandomNormalLike", ["x"], ["a"]), node("RandomNormalLike", ["x"], ["b"])
    )
    assert operators(simplified(proto).graph)["RandomNormalLike"] == 2


def test_public_results_keep_their_nodes():
    proto = model(
        [node("Exp", ["x"], ["y"]), node("Exp", ["x"], ["z"])],
        {"x": (FLOAT, [2, 3])},
        {"y": (FLOAT, [2, 3]), "z": (FLOAT, [2, 3])},
    )
    found = same(proto, [X])
    assert [value.name for value in found.graph.outputs] == ["y", "z"]


def test_nodes_of_several_outputs():
    first = node("TopK", ["x", "k"], ["v", "a"])
    second = node("TopK", ["x", "k"], ["w", "b"])
    proto = model(
        [first, second, node("Add", ["a", "b"], ["y"]), node("Add", ["v", "w"], ["z"])],
        {"x": (FLOAT, [2, 3])},
        {"y": (INT64, [2, 2]), "z": (FLOAT, [2, 2])},
        {"k": np.array([2])},
    )
    assert operators(same(proto, [X], ONLY).graph)["TopK"] == 1


def test_a_body_does_not_borrow_from_another():
    def body(name):
        return helper.make_graph(
            [node("Exp", ["x"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, FLOAT, [2, 3])],
        )

    proto = model(
        [node("If", ["c"], ["y"], then_branch=body("a"), else_branch=body("b"))],
        {"x": (FLOAT, [2, 3]), "c": (TensorProto.BOOL, [])},
        {"y": (FLOAT, [2, 3])},
    )
    found = same(proto, [X, np.array(False)])
    assert operators(found.graph)["Exp"] == 2
