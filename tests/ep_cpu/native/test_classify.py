"""Who computes a node: native code, nobody (known for given shapes), or NumPy's kernels."""

import numpy as np
import pytest
from beside_numpy import checked, opened, programs, roles
from models import BOOL, FLOAT, INT64, model, node
from onnx import TensorProto, helper

RNG = np.random.default_rng(6)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def role(session, operator):
    found = {who for name, who in roles(session) if name == operator}
    assert len(found) == 1, roles(session)
    return found.pop()


def test_shape_chains_are_known_and_cost_no_stage():
    proto = model(
        [
            node("Sigmoid", ["x"], ["h"]),
            node("Shape", ["h"], ["s"]),
            node("Gather", ["s", "zero"], ["d"], axis=0),
            node("Mul", ["d", "two"], ["e"]),
            node("Concat", ["e", "rest"], ["t"], axis=0),
            node("Reshape", ["h", "t"], ["r"]),
            node("Tanh", ["r"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 6])},
        {"y": (FLOAT, None)},
        {"zero": np.array([0]), "two": np.array([2]), "rest": np.array([3])},
    )
    session = checked(proto, {"x": floats(4, 6)}, {"x": floats(1, 6)})
    assert {who for _, who in roles(session)} <= {"native", "known"}
    (program,) = programs(session)
    assert len(program.stages) == 1


def test_contents_of_an_input_that_decide_a_shape_are_part_of_the_plan():
    proto = model(
        [node("Reshape", ["x", "shape"], ["r"]), node("Sigmoid", ["r"], ["y"])],
        {"x": (FLOAT, ["n"]), "shape": (INT64, [2])},
        {"y": (FLOAT, None)},
    )
    x = floats(12)
    feeds = [{"x": x, "shape": np.array(s)} for s in ((3, 4), (4, 3), (-1, 2), (3, 4))]
    session = checked(proto, *feeds)
    assert role(session, "Reshape") == "native"


def test_a_plan_keeps_contents_and_not_the_callers_array():
    proto = model(
        [
            node("Slice", ["shape", "zero", "one"], ["first"]),
            node("Squeeze", ["first"], ["d"]),
            node("Expand", ["x", "shape"], ["e"]),
            node("Cast", ["d"], ["f"], to=FLOAT),
            node("Mul", ["e", "f"], ["y"]),
        ],
        {"x": (FLOAT, [1, 1]), "shape": (INT64, [2])},
        {"y": (FLOAT, None)},
        {"zero": np.array([0]), "one": np.array([1])},
    )
    session = opened(proto)
    x = floats(1, 1)
    mine = np.array([3, 2])
    session.run(None, {"x": x, "shape": mine})
    mine[:] = 5, 5
    (y,) = session.run(None, {"x": x, "shape": np.array([3, 2])})
    np.testing.assert_array_equal(y, np.broadcast_to(x * 3, (3, 2)))


def test_a_computed_shape_splits_the_program_and_it_goes_on():
    proto = model(
        [
            node("ArgMax", ["x"], ["i"], axis=1, keepdims=0),
            node("Add", ["i", "one"], ["s"]),
            node("Expand", ["z", "s"], ["e"]),
            node("Sigmoid", ["e"], ["y"]),
        ],
        {"x": (FLOAT, [2, 5]), "z": (FLOAT, [1, 1])},
        {"y": (FLOAT, None)},
        {"one": np.array([1])},
    )
    feeds = [{"x": floats(2, 5), "z": floats(1, 1)} for _ in range(4)]
    session = checked(proto, *feeds)
    (program,) = programs(session)
    assert len(program.stages) == 2


def test_a_hosts_operator_in_the_middle_makes_three_parts():
    proto = model(
        [
            node("Sigmoid", ["x"], ["a"]),
            node("Det", ["a"], ["d"]),
            node("Tanh", ["d"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 3, 3])},
        {"y": (FLOAT, None)},
    )
    session = checked(proto, {"x": floats(2, 3, 3)})
    assert role(session, "Det") == "host"
    assert len(programs(session)[0].stages) == 2


def test_hosts_values_reach_later_stages_past_others():
    proto = model(
        [
            node("Sigmoid", ["x"], ["a"]),
            node("Det", ["a"], ["d"]),
            node("Tanh", ["d"], ["t"]),
            node("Unsqueeze", ["t", "axes"], ["u"]),
            node("Add", ["u", "a"], ["b"]),
            node("Det", ["b"], ["e"]),
            node("Mul", ["e", "d"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 3, 3])},
        {"y": (FLOAT, None), "a": (FLOAT, None)},
        {"axes": np.array([1, 2])},
    )
    checked(proto, {"x": floats(2, 3, 3)}, {"x": floats(4, 3, 3)}, tolerance=1e-5)


def test_known_outputs_are_delivered():
    proto = model(
        [
            node("Sigmoid", ["x"], ["y"]),
            node("Shape", ["y"], ["s"]),
            node("Size", ["y"], ["n"]),
        ],
        {"x": (FLOAT, ["n", 3])},
        {"y": (FLOAT, None), "s": (INT64, None), "n": (INT64, None)},
    )
    checked(proto, {"x": floats(2, 3)}, {"x": floats(5, 3)})


def test_shape_with_start_and_end_is_known():
    proto = model(
        [
            node("Shape", ["x"], ["s"], start=-2, end=-1),
            node("Concat", ["s", "rest"], ["t"], axis=0),
            node("Reshape", ["x", "t"], ["r"]),
            node("Sigmoid", ["r"], ["y"]),
        ],
        {"x": (FLOAT, ["a", "b", "c"])},
        {"y": (FLOAT, None)},
        {"rest": np.array([-1])},
        opset=19,
    )
    checked(proto, {"x": floats(2, 3, 4)}, {"x": floats(4, 5, 1)})


def _branch(name, operator, captured):
    return helper.make_graph(
        [node(operator, [captured], [f"{name}_y"])],
        name,
        [],
        [helper.make_tensor_value_info(f"{name}_y", FLOAT, None)],
    )


@pytest.mark.parametrize("taken", [True, False])
def test_a_branch_captures_what_native_code_made_and_gives_it_back(taken):
    proto = model(
        [
            node("Sigmoid", ["x"], ["h"]),
            node(
                "If", ["c"], ["i"],
                then_branch=_branch("then", "Tanh", "h"),
                else_branch=_branch("else", "Neg", "h"),
            ),
            node("Add", ["i", "h"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 3]), "c": (BOOL, [])},
        {"y": (FLOAT, ["n", 3])},
    )  # fmt: skip
    session = checked(proto, {"x": floats(2, 3), "c": np.array(taken)})
    assert role(session, "If") == "host"


def test_a_branch_may_capture_what_is_known():
    body = helper.make_graph(
        [node("Cast", ["s"], ["b"], to=FLOAT)],
        "then",
        [],
        [helper.make_tensor_value_info("b", FLOAT, None)],
    )
    other = helper.make_graph(
        [node("Cast", ["s"], ["t"], to=FLOAT), node("Neg", ["t"], ["b2"])],
        "else",
        [],
        [helper.make_tensor_value_info("b2", FLOAT, None)],
    )
    proto = model(
        [
            node("Sigmoid", ["x"], ["h"]),
            node("Shape", ["h"], ["s"]),
            node("If", ["c"], ["i"], then_branch=body, else_branch=other),
            node("Mul", ["i", "h"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 2]), "c": (BOOL, [])},
        {"y": (FLOAT, None)},
    )
    for taken in (True, False):
        checked(proto, {"x": floats(3, 2), "c": np.array(taken)})


def test_random_operators_are_never_known():
    proto = model(
        [
            node("Shape", ["x"], ["s"]),
            node("RandomNormalLike", ["x"], ["r"]),
            node("Sub", ["r", "x"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 50])},
        {"y": (FLOAT, None)},
    )
    session = opened(proto)
    x = floats(3, 50)
    one, other = (session.run(None, {"x": x})[0] for _ in range(2))
    assert not np.array_equal(one, other)


def test_types_without_a_native_form_are_the_hosts():
    proto = model(
        [node("Add", ["x", "x"], ["d"]), node("Cast", ["d"], ["c"], to=FLOAT),
         node("Sigmoid", ["c"], ["y"])],
        {"x": (TensorProto.UINT16, ["n"])},
        {"y": (FLOAT, None)},
    )  # fmt: skip
    session = checked(proto, {"x": np.arange(5, dtype=np.uint16)})
    assert role(session, "Add") == "host"
    assert role(session, "Sigmoid") == "native"


def test_without_ranks_nothing_is_native_and_the_answer_is_right():
    proto = model(
        [node("Sigmoid", ["x"], ["y"])], {"x": (FLOAT, None)}, {"y": (FLOAT, None)}
    )
    (y,) = opened(proto, native="auto").run(None, {"x": floats(2, 3)})
    assert y.shape == (2, 3)


def test_a_shape_may_depend_on_a_known_value_of_a_hosts_result():
    proto = model(
        [
            node("NonZero", ["x"], ["nz"]),
            node("Shape", ["nz"], ["s"]),
            node("Gather", ["s", "one"], ["count"], axis=0),
            node("Concat", ["count", "one"], ["t"], axis=0),
            node("Expand", ["z", "t"], ["e"]),
            node("Sigmoid", ["e"], ["y"]),
        ],
        {"x": (FLOAT, [4]), "z": (FLOAT, [1])},
        {"y": (FLOAT, None)},
        {"one": np.array([1])},
    )
    feeds = [
        {"x": np.array(x, np.float32), "z": floats(1)}
        for x in ((1, 0, 2, 0), (0, 0, 0, 3), (1, 2, 3, 4))
    ]
    session = checked(proto, *feeds)
    assert role(session, "Expand") == "native"


def test_a_long_shape_chain_is_no_trouble():
    nodes = [node("Shape", ["x"], ["s0"])]
    nodes += [
        node("Mul" if i % 2 else "Div", [f"s{i}", "two"], [f"s{i + 1}"])
        for i in range(2000)
    ]
    nodes += [node("Reshape", ["x", "s2000"], ["r"]), node("Sigmoid", ["r"], ["y"])]
    proto = model(
        nodes, {"x": (FLOAT, ["n"])}, {"y": (FLOAT, ["m"])}, {"two": np.array([2])}
    )
    feed = {"x": floats(8)}
    want = opened(proto, native="off").run(None, feed)[0]
    np.testing.assert_allclose(opened(proto).run(None, feed)[0], want, rtol=1e-6)
