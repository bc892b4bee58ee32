"""The matcher: what each word of its vocabulary means, and what prevents a match."""

from __future__ import annotations

import numpy as np
import pytest
from models import FLOAT, model, node
from runtime.graph import Graph, Node
from runtime.match import (
    Any,
    Constant,
    Index,
    OneOf,
    Op,
    Product,
    Scalar,
    Through,
    explain,
)
from runtime.model import from_proto

X = Any("x")


def graph(*nodes, outputs=("y",), **constants) -> Graph:
    """Return a graph from x, with named arrays as initializers."""
    arrays = {name: np.float32(value) for name, value in constants.items()}
    shape = (FLOAT, [2, 3])
    proto = model(
        list(nodes), {"x": shape, "z": shape}, dict.fromkeys(outputs, shape), arrays
    )
    return from_proto(proto).graph


def names(found) -> list[list[str]]:
    """Return the operators of each match, the last node first."""
    return [[node.op_type for node in match.nodes] for match in found]


def matches(given: Graph, pattern) -> list:
    """Return all matches of a pattern."""
    return list(Index(given).find(pattern))


def last(given: Graph) -> Node:
    """Return a graph's last node."""
    return list(given)[-1]


def test_an_operator_matches_by_name_and_inputs():
    g = graph(node("Exp", ["x"], ["e"]), node("Neg", ["e"], ["y"]))
    (match,) = matches(g, Op("Neg", Op("Exp", X, name="exp")))
    assert match["x"] is g.inputs[0]
    assert match.root is last(g)
    assert match.node("exp") is next(iter(g))
    assert names([match]) == [["Neg", "Exp"]]


def test_alternatives_of_an_operator():
    g = graph(node("Exp", ["x"], ["e"]), node("Abs", ["e"], ["y"]))
    assert names(matches(g, Op(("Neg", "Abs"), X))) == [["Abs"]]


def test_a_node_of_another_domain_does_not_match():
    g = graph(node("Exp", ["x"], ["y"], domain="com.example"))
    assert not matches(g, Op("Exp", X))
    assert len(matches(g, Op("Exp", X, domain="com.example"))) == 1


@pytest.mark.parametrize("order", [["e", "x"], ["x", "e"]])
def test_commutative_inputs_match_in_either_order(order):
    g = graph(node("Exp", ["x"], ["e"]), node("Add", order, ["y"]))
    assert len(matches(g, Op("Add", Op("Exp", X), X))) == 1


def test_other_operators_keep_the_order_of_their_inputs():
    g = graph(node("Exp", ["x"], ["e"]), node("Sub", ["x", "e"], ["y"]))
    assert not matches(g, Op("Sub", Op("Exp", X), X))
    assert len(matches(g, Op("Sub", X, Op("Exp", X)))) == 1


def test_one_name_is_one_value():
    g = graph(node("Exp", ["z"], ["e"]), node("Add", ["x", "e"], ["y"]))
    assert not matches(g, Op("Add", X, Op("Exp", X)))
    assert len(matches(g, Op("Add", X, Op("Exp", Any("z"))))) == 1


def test_matching_backtracks_where_names_only_fit_in_the_second_order():
    g = graph(
        node("Exp", ["x"], ["a"]),
        node("Exp", ["z"], ["b"]),
        node("Add", ["a", "b"], ["s"]),
        node("Sub", ["s", "z"], ["y"]),
    )
    pattern = Op("Sub", Op("Add", Op("Exp", Any("p")), Op("Exp", Any("q"))), Any("p"))
    (match,) = matches(g, pattern)
    assert (match["p"].name, match["q"].name) == ("z", "x")


def test_a_value_may_be_judged():
    g = graph(node("Exp", ["x"], ["y"]))
    assert not matches(g, Op("Exp", Any("x", lambda value: value.name == "z")))


def test_constants_and_their_numbers():
    g = graph(node("Mul", ["x", "c"], ["y"]), c=0.5)
    assert len(matches(g, Op("Mul", X, Constant("c")))) == 1
    assert len(matches(g, Op("Mul", X, Scalar(0.5)))) == 1
    assert not matches(g, Op("Mul", X, Scalar(0.25)))
    assert not matches(g, Op("Mul", X, Constant("c", lambda a: a.ndim == 1)))


def test_a_constant_that_callers_may_override_is_none():
    g = graph(node("Mul", ["x", "c"], ["y"]), c=0.5)
    g.initializers["c"].overridable = True
    assert not matches(g, Op("Mul", X, Constant("c")))


@pytest.mark.parametrize(
    ("dtype", "number"), [(np.float32, 0.7071067), (np.float16, 0.707)]
)
def test_a_number_is_as_close_as_its_type_can_say(dtype, number):
    g = graph(node("Mul", ["x", "z"], ["y"]))
    last(g).set_input(1, g.constant(np.array(number, dtype)))
    assert len(matches(g, Op("Mul", X, Scalar(0.5**0.5)))) == 1
    assert not matches(g, Op("Mul", X, Scalar(0.71)))


def test_further_inputs_prevent_a_match_unless_allowed():
    g = graph(node("Clip", ["x", "c"], ["y"]), c=0.5)
    assert not matches(g, Op("Clip", X))
    assert len(matches(g, Op("Clip", X, ...))) == 1
    assert len(matches(g, Op("Clip", X, Scalar(0.5), None))) == 1
    assert not matches(g, Op("Clip", X, None, ...))


def test_an_output_other_than_the_first():
    g = graph(
        node("Split", ["x"], ["a", "b"], axis=0),
        node("Sub", ["b", "a"], ["y"]),
    )
    first, second = Op("Split", X, ..., name="split"), Op("Split", X, ..., output=1)
    assert len(matches(g, Op("Sub", second, first))) == 1
    assert not matches(g, Op("Sub", first, second))


def test_attributes_are_judged_by_a_function():
    g = graph(node("Softmax", ["x"], ["y"], axis=1))
    assert (
        len(matches(g, Op("Softmax", X, where=lambda n: n.attribute("axis") == 1))) == 1
    )
    assert not matches(g, Op("Softmax", X, where=lambda n: n.attribute("axis") == 0))


def test_one_of_several_patterns():
    pattern = Op("Neg", OneOf(Op("Exp", X), Op("Abs", X)))
    for inner in ("Exp", "Abs"):
        g = graph(node(inner, ["x"], ["i"]), node("Neg", ["i"], ["y"]))
        assert names(matches(g, pattern)) == [["Neg", inner]]
    g = graph(node("Log", ["x"], ["i"]), node("Neg", ["i"], ["y"]))
    assert not matches(g, pattern)


def test_a_choice_may_be_the_whole_pattern():
    pattern = OneOf(Op("Neg", Op("Exp", X)), Op("Abs", Op("Exp", X)))
    g = graph(node("Exp", ["x"], ["e"]), node("Abs", ["e"], ["y"]))
    assert names(matches(g, pattern)) == [["Abs", "Exp"]]


def test_a_wrapper_may_be_there_or_not():
    pattern = Op("Neg", Through(("Cast", "Identity"), Op("Exp", X), "wrapper"))
    plain = graph(node("Exp", ["x"], ["e"]), node("Neg", ["e"], ["y"]))
    (match,) = matches(plain, pattern)
    assert match.node("wrapper") is None
    wrapped = graph(
        node("Exp", ["x"], ["e"]),
        node("Cast", ["e"], ["c"], to=1),
        node("Neg", ["c"], ["y"]),
    )
    (match,) = matches(wrapped, pattern)
    assert match.node("wrapper").op_type == "Cast"
    assert len(match.nodes) == 3


PRODUCT = Product(0.5, X, Op("Erf", X))


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Mul", ["x", "e"], ["p"]), node("Mul", ["p", "half"], ["y"])],
        [node("Mul", ["half", "x"], ["p"]), node("Mul", ["e", "p"], ["y"])],
        [node("Mul", ["e", "half"], ["p"]), node("Mul", ["x", "p"], ["y"])],
        [node("Mul", ["x", "e"], ["p"]), node("Div", ["p", "two"], ["y"])],
        [
            node("Div", ["x", "four"], ["p"]),
            node("Mul", ["p", "e"], ["q"]),
            node("Mul", ["q", "two"], ["y"]),
        ],
    ],
)
def test_a_product_is_read_as_a_bag(nodes):
    g = graph(node("Erf", ["x"], ["e"]), *nodes, half=0.5, two=2.0, four=4.0)
    (match,) = matches(g, PRODUCT)
    assert match["x"].name == "x"
    assert len(match.nodes) == len(nodes) + 1
    assert match.root is last(g)


def test_a_product_with_another_number_or_more_factors_is_another_one():
    g = graph(
        node("Erf", ["x"], ["e"]),
        node("Mul", ["x", "e"], ["p"]),
        node("Mul", ["p", "c"], ["y"]),
        c=0.25,
    )
    assert not matches(g, PRODUCT)
    assert not matches(g, Product(0.25, X, Op("Erf", X), Any("z")))
    assert len(matches(g, Product(0.25, X, Op("Erf", X)))) == 1


def test_powers_are_factors():
    g = graph(
        node("Pow", ["x", "three"], ["p"]),
        node("Mul", ["p", "c"], ["y"]),
        three=3.0,
        c=0.1,
    )
    assert len(matches(g, Product(0.1, X, X, X))) == 1
    assert not matches(g, Product(0.1, X, X))


def test_a_division_by_a_value_is_no_product():
    g = graph(node("Erf", ["x"], ["e"]), node("Div", ["x", "e"], ["y"]))
    assert not matches(g, Product(1.0, X, Op("Erf", X)))


def test_an_interior_value_read_elsewhere_prevents_the_match():
    g = graph(
        node("Exp", ["x"], ["e"]),
        node("Neg", ["e"], ["y"]),
        node("Abs", ["e"], ["o"]),
        outputs=("y", "o"),
    )
    assert not matches(g, Op("Neg", Op("Exp", X)))
    assert len(matches(g, Op("Neg", Op("Exp", X, shared=True)))) == 1


def test_an_interior_value_that_is_an_output_prevents_the_match():
    g = graph(node("Exp", ["x"], ["e"]), node("Neg", ["e"], ["y"]), outputs=("y", "e"))
    assert not matches(g, Op("Neg", Op("Exp", X)))


def test_an_interior_value_read_twice_inside_does_not():
    g = graph(
        node("Exp", ["x"], ["e"]),
        node("Mul", ["e", "e"], ["m"]),
        node("Add", ["m", "e"], ["y"]),
    )
    e = Op("Exp", X)
    assert len(matches(g, Op("Add", Op("Mul", e, e), e))) == 1


def test_shared_nodes_are_not_covered():
    g = graph(
        node("Exp", ["x"], ["e"]),
        node("Neg", ["e"], ["y"]),
        node("Abs", ["e"], ["o"]),
        outputs=("y", "o"),
    )
    (match,) = matches(g, Op("Neg", Op("Exp", X, shared=True)))
    assert names([match]) == [["Neg"]]


def test_the_search_starts_at_the_rarest_operator():
    nodes, source = [], "x"
    for i in range(40):
        nodes.append(node("Add", [source, "z"], [f"a{i}"]))
        source = f"a{i}"
    nodes += [node("Erf", [source], ["e"]), node("Add", ["e", "z"], ["y"])]
    g = graph(*nodes)
    (match,) = matches(g, Op("Add", Op("Erf", X), Any("z")))
    assert match.root is last(g)


def test_a_graph_without_a_needed_operator_is_not_searched():
    g = graph(node("Exp", ["x"], ["e"]), node("Neg", ["e"], ["y"]))
    calls = []
    pattern = Op("Neg", Op("Log", X), where=lambda n: calls.append(n) or True)
    assert not matches(g, pattern)
    assert not calls


def test_the_graph_may_change_between_two_matches():
    g = graph(
        node("Neg", ["x"], ["a"]), node("Neg", ["a"], ["b"]), node("Neg", ["b"], ["y"])
    )
    for match in Index(g).find(Op("Neg", Op("Neg", X))):
        g.replace(match.root.outputs[0], match["x"])
        for gone in match.nodes:
            g.remove(gone)
    assert [n.op_type for n in g] == ["Neg"]
    assert last(g).inputs[0] is g.inputs[0]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (Op("Abs", X), "y is not made by Abs"),
        (Op("Neg", Op("Abs", X)), "e is not made by Abs"),
        (Op("Neg", Op("Exp", Constant())), "x is not constant"),
        (Op("Neg", Op("Exp", X)), "e is read by Abs(o) too"),
        (Op("Neg", X, where=lambda n: False), "Neg(y) has other attributes"),
        (Op("Neg", X), ""),
    ],
)
def test_a_failed_match_tells_why(pattern, reason):
    g = graph(
        node("Exp", ["x"], ["e"]),
        node("Abs", ["e"], ["o"]),
        node("Neg", ["e"], ["y"]),
        outputs=("y", "o"),
    )
    assert explain(pattern, last(g)) == reason


def test_the_reason_is_the_one_that_got_furthest():
    g = graph(
        node("Exp", ["x"], ["e"]),
        node("Mul", ["e", "c"], ["m"]),
        node("Neg", ["m"], ["y"]),
        c=2.0,
    )
    pattern = Op("Neg", Op("Mul", Op("Exp", X), Scalar(3.0)))
    assert explain(pattern, last(g)) == "constant c is another one"
