"""An If whose condition is known becomes the branch it takes."""

from __future__ import annotations

import numpy as np
import pytest
from models import BOOL, FLOAT, model, node
from onnx import helper, numpy_helper
from simplified import operators, outputs, same

X = np.float32([[1, -2, 3]])


def branch(name, *nodes, **constants):
    """Return a body whose result is called after it."""
    arrays = [numpy_helper.from_array(a, n) for n, a in constants.items()]
    result = helper.make_tensor_value_info(name, FLOAT, None)
    return helper.make_graph(list(nodes), name, [], [result], arrays)


def choosing(condition, *before, yes=None, no=None, **constants):
    """Return a model that chooses between a negated and a doubled x."""
    yes = yes or branch("yes", node("Neg", ["x"], ["yes"]))
    no = no or branch("no", node("Add", ["x", "x"], ["no"]))
    return model(
        [
            *before,
            node("If", [condition], ["y"], "if", then_branch=yes, else_branch=no),
        ],
        {"x": (FLOAT, [1, "n"])},
        {"y": (FLOAT, None)},
        constants,
    )


@pytest.mark.parametrize(("truth", "op"), [(True, "Neg"), (False, "Add")])
def test_the_branch_takes_the_place(truth, op):
    found = same(choosing("c", c=np.array(truth)), [X])
    assert operators(found.graph) == {op: 1}
    assert found.graph.outputs[0].name == "y"


def test_a_condition_on_known_dims():
    """What torch exports for squeeze(0): is the first dim 1?"""
    proto = choosing(
        "c",
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["d"]),
        node("Equal", ["d", "one"], ["c"]),
        zero=np.array(0),
        one=np.array(1),
    )
    assert operators(same(proto, [X]).graph) == {"Neg": 1}


def test_constants_of_the_branch_move_along():
    yes = branch("yes", node("Mul", ["x", "k"], ["yes"]), k=np.float32(3))
    found = same(choosing("c", yes=yes, c=np.array(True)), [X])
    assert operators(found.graph) == {"Mul": 1}
    np.testing.assert_array_equal(outputs(found, [X])[0], 3 * X)


def test_names_of_two_branches_do_not_meet():
    def part(source, result):
        yes = branch("r", node("Exp", [source], ["t"]), node("Neg", ["t"], ["r"]))
        return node("If", ["c"], [result], then_branch=yes, else_branch=yes)

    proto = model(
        [part("x", "a"), part("a", "y")],
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
        {"c": np.array(True)},
    )
    found = same(proto, [np.float32([1, 2])])
    assert operators(found.graph) == {"Exp": 2, "Neg": 2}


def test_a_branch_inside_a_branch():
    inner = node(
        "If",
        ["c"],
        ["yes"],
        then_branch=branch("a", node("Neg", ["x"], ["a"])),
        else_branch=branch("b", node("Exp", ["x"], ["b"])),
    )
    found = same(choosing("c", yes=branch("yes", inner), c=np.array(True)), [X])
    assert operators(found.graph) == {"Neg": 1}


def test_a_computed_condition_stays():
    proto = model(
        [
            node(
                "If",
                ["c"],
                ["y"],
                then_branch=branch("a", node("Neg", ["x"], ["a"])),
                else_branch=branch("b", node("Exp", ["x"], ["b"])),
            )
        ],
        {"x": (FLOAT, [3]), "c": (BOOL, [])},
        {"y": (FLOAT, [3])},
    )
    for truth in (True, False):
        found = same(proto, [X[0], np.array(truth)])
        assert operators(found.graph)["If"] == 1
