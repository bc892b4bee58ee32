"""Model-local functions are inlined."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import FLOAT, model, node
from onnx import helper
from runtime.errors import ModelInvalid
from runtime.passes import simplify
from runtime.settings import Settings
from simplified import evaluate, loaded, operators, outputs, same, simplified

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


def function(name, inputs, results, nodes, attributes=(), defaults=(), **fields):
    """Return a function of domain "local"."""
    fields.setdefault("opsets", {"": 18, "local": 1})
    return helper.make_function(
        "local",
        name,
        inputs,
        results,
        nodes,
        [helper.make_opsetid(d, v) for d, v in fields["opsets"].items()],
        list(attributes),
        [helper.make_attribute(k, v) for k, v in defaults],
        overload=fields.get("overload"),
    )


def calling(functions, *nodes, results=("y",)):
    """Return a model of x that calls functions."""
    return model(
        list(nodes),
        {"x": (FLOAT, [2, 3])},
        dict.fromkeys(results, (FLOAT, [2, 3])),
        opset=18,
        functions=list(functions),
        domains={"local": 1},
    )


def call(name, inputs=("x",), results=("y",), label="call", **attributes):
    """Return a node that calls a function."""
    return node(name, list(inputs), list(results), label, domain="local", **attributes)


def reference(op, inputs, results, **names):
    """Return a node whose attributes refer to the function's."""
    made = node(op, inputs, results)
    for name, (kind, source) in names.items():
        entry = made.attribute.add(name=name, type=kind)
        entry.ref_attr_name = source
    return made


TWICE = function("Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"], "sum")])
FLOATS = onnx.AttributeProto.FLOAT


def run(proto, **settings):
    """Inline, and return the model."""
    found = loaded(proto)
    simplify(found, Settings(passes="none", **settings), evaluate)
    return found


def test_a_call_becomes_the_functions_nodes():
    proto = calling([TWICE], call("Twice"))
    found = run(proto)
    assert not found.functions
    (add,) = found.graph
    assert (add.op_type, add.version, add.origins) == ("Add", 18, ("call",))
    assert add.name == "call/sum"
    np.testing.assert_array_equal(outputs(found, [X])[0], 2 * X)
    assert found.graph.outputs[0].name == "y"


def test_inner_values_get_types():
    inner = function(
        "Both",
        ["a"],
        ["c"],
        [node("Relu", ["a"], ["b"]), node("Neg", ["b"], ["c"])],
    )
    found = run(calling([inner], call("Both")))
    for node_ in found.graph:
        assert node_.outputs[0].shape == (2, 3)


def test_functions_may_call_functions():
    four = function(
        "Four",
        ["a"],
        ["c"],
        [call("Twice", ["a"], ["b"], "1"), call("Twice", ["b"], ["c"], "2")],
    )
    found = run(calling([four, TWICE], call("Four")))
    assert operators(found.graph) == {"Add": 2}
    assert {n.origins for n in found.graph} == {("call",)}
    np.testing.assert_array_equal(outputs(found, [X])[0], 4 * X)


def test_two_calls_do_not_share_names():
    inner = function(
        "Inner", ["a"], ["c"], [node("Relu", ["a"], ["b"]), node("Neg", ["b"], ["c"])]
    )
    proto = calling(
        [inner],
        call("Inner", ["x"], ["m"], "first"),
        call("Inner", ["m"], ["y"], "second"),
    )
    same(proto, [X])
    names = [v.name for n in run(proto).graph for v in n.outputs]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("given", "slope"), [({"alpha": 0.5}, 0.5), ({}, 0.25)])
def test_attributes_come_from_the_call_or_from_the_default(given, slope):
    leaky = function(
        "Leaky",
        ["a"],
        ["b"],
        [reference("LeakyRelu", ["a"], ["b"], alpha=(FLOATS, "alpha"))],
        defaults=[("alpha", 0.25)],
    )
    found = run(calling([leaky], call("Leaky", **given)))
    expected = np.where(X > 0, X, X * np.float32(slope))
    np.testing.assert_array_equal(outputs(found, [X])[0], expected)


def test_an_attribute_that_was_not_given_is_absent():
    leaky = function(
        "Leaky",
        ["a"],
        ["b"],
        [reference("LeakyRelu", ["a"], ["b"], alpha=(FLOATS, "alpha"))],
        attributes=["alpha"],
    )
    (leaky_relu,) = run(calling([leaky], call("Leaky"))).graph
    assert not leaky_relu.attributes


def test_references_inside_bodies():
    branch = helper.make_graph(
        [reference("LeakyRelu", ["a"], ["r"], alpha=(FLOATS, "alpha"))],
        "branch",
        [],
        [helper.make_tensor_value_info("r", FLOAT, None)],
    )
    chosen = function(
        "Chosen",
        ["a"],
        ["b"],
        [
            node("Constant", [], ["yes"], value=_truth()),
            node("If", ["yes"], ["b"], then_branch=branch, else_branch=branch),
        ],
        defaults=[("alpha", 0.5)],
    )
    proto = calling([chosen], call("Chosen"))
    found = run(proto)
    expected = np.where(X > 0, X, X * np.float32(0.5))
    np.testing.assert_array_equal(outputs(found, [X])[0], expected)
    assert operators(same(proto, [X]).graph) == {"LeakyRelu": 1}


def _truth():
    return onnx.numpy_helper.from_array(np.array(True))


def test_calls_inside_bodies():
    branch = helper.make_graph(
        [call("Twice", ["x"], ["t"], "inner")],
        "branch",
        [],
        [helper.make_tensor_value_info("t", FLOAT, [2, 3])],
    )
    proto = calling(
        [TWICE],
        node("Constant", [], ["yes"], value=_truth()),
        node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch),
    )
    found = run(proto)
    assert operators(found.graph)["Add"] == 2
    np.testing.assert_array_equal(outputs(found, [X])[0], 2 * X)


def test_a_body_in_a_function_is_a_body_in_the_graph():
    body = helper.make_graph(
        [node("Relu", ["row"], ["made"])],
        "body",
        [helper.make_tensor_value_info("row", FLOAT, [3])],
        [helper.make_tensor_value_info("made", FLOAT, [3])],
    )
    scan = node("Scan", ["a"], ["b"], body=body, num_scan_inputs=1)
    found = run(calling([function("Rows", ["a"], ["b"], [scan])], call("Rows")))
    assert [graph.is_body for graph in found.graph.all_graphs()] == [False, True]


def test_overloads_are_told_apart():
    third = function(
        "Twice",
        ["a"],
        ["b"],
        [node("Mul", ["a", "a"], ["b"])],
        overload="square",
    )
    square = call("Twice")
    square.overload = "square"
    found = run(calling([TWICE, third], square))
    assert operators(found.graph) == {"Mul": 1}


def test_absent_inputs_stay_absent():
    clip = function("Clipped", ["a", "low"], ["b"], [node("Clip", ["a", "low"], ["b"])])
    found = run(calling([clip], call("Clipped")))
    (node_,) = found.graph
    assert node_.input(1) is None


def test_an_input_may_be_an_output():
    same_ = function("Same", ["a"], ["a2"], [node("Identity", ["a"], ["a2"])])
    np.testing.assert_array_equal(
        outputs(run(calling([same_], call("Same"))), [X])[0], X
    )


def test_the_body_keeps_the_opset_it_imports():
    old = function(
        "Old",
        ["a"],
        ["b"],
        [node("ReduceMean", ["a"], ["b"], axes=[1], keepdims=1)],
        opsets={"": 13},
    )
    proto = model(
        [call("Old")],
        {"x": (FLOAT, [2, 3])},
        {"y": (FLOAT, [2, 1])},
        opset=18,
        functions=[old],
        domains={"local": 1},
    )
    (mean,) = run(proto).graph
    assert mean.version == 13
    (mean,) = same(proto, [X]).graph
    assert len(mean.inputs) == 2


def test_functions_that_call_themselves_are_an_error():
    loop = function("Loop", ["a"], ["b"], [call("Loop", ["a"], ["b"])])
    with pytest.raises(ModelInvalid, match="local:Loop.*call themselves"):
        run(calling([loop], call("Loop")))


def test_functions_that_call_each_other_in_a_body_are_an_error():
    branch = helper.make_graph(
        [call("Outer", ["a"], ["r"])],
        "branch",
        [],
        [helper.make_tensor_value_info("r", FLOAT, None)],
    )
    outer = function(
        "Outer",
        ["a"],
        ["b"],
        [
            node("Constant", [], ["yes"], value=_truth()),
            node("If", ["yes"], ["b"], then_branch=branch, else_branch=branch),
        ],
    )
    with pytest.raises(ModelInvalid, match="call themselves"):
        run(calling([outer], call("Outer")))


def test_growing_beyond_the_limit_is_an_error():
    """Each level calls the one below twice: 2**30 nodes."""
    levels = [TWICE]
    for level in range(30):
        below = "Twice" if not level else f"Level{level - 1}"
        levels.append(
            function(
                f"Level{level}",
                ["a"],
                ["c"],
                [call(below, ["a"], ["b"]), call(below, ["b"], ["c"])],
            )
        )
    proto = calling(levels, call("Level29"))
    with pytest.raises(ModelInvalid, match="more than 1000 nodes"):
        run(proto, function_node_limit=1000)


def test_too_many_inputs_are_an_error():
    proto = calling([TWICE], call("Twice", ["x", "x"]))
    with pytest.raises(
        ModelInvalid, match="has 2 inputs; the function 'Twice' takes 1"
    ):
        run(proto)


def test_everything_else_follows_inlining():
    assert operators(simplified(calling([TWICE], call("Twice"))).graph) == {"Add": 1}
