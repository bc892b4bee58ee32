"""Groups: element-wise work is done where its operands are at hand."""

import numpy as np
from models import FLOAT, INT64, model, node
from on_the_double import opened, programs

RNG = np.random.default_rng(0)


def labels(session):
    """Return the groups of the only program, in order."""
    (program,) = programs(session)
    return [group.label for group, _ in program._walk]


def image(nodes, initializers=(), outputs=("y",)):
    made = model(
        nodes,
        {"x": (FLOAT, [1, 4, 6, 6])},
        dict.fromkeys(outputs, (FLOAT, None)),
        {
            name: RNG.standard_normal(shape).astype(np.float32)
            for name, shape in initializers
        },
    )
    return opened(made, simplified=False)


def test_bias_residual_and_activation_follow_a_convolution(cuda):
    session = image(
        [
            node("Conv", ["x", "w"], ["c"]),
            node("Add", ["c", "b"], ["d"]),
            node("Add", ["d", "x"], ["e"]),
            node("Relu", ["e"], ["y"]),
        ],
        [("w", (4, 4, 1, 1)), ("b", (4, 1, 1))],
    )
    assert labels(session) == ["Conv+Add+Add+Relu"]


def test_what_others_read_ends_a_group(cuda):
    session = image(
        [
            node("Conv", ["x", "w"], ["c"]),
            node("Relu", ["c"], ["r"]),
            node("Sigmoid", ["r"], ["y"]),
            node("Tanh", ["r"], ["z"]),
        ],
        [("w", (4, 4, 1, 1))],
        ("y", "z"),
    )
    assert labels(session) == ["Conv+Relu", "Sigmoid", "Tanh"]


def test_a_chain_of_elementwise_nodes_is_one_kernel(cuda):
    session = image(
        [
            node("Neg", ["x"], ["a"]),
            node("Exp", ["a"], ["b"]),
            node("Mul", ["b", "x"], ["c"]),
            node("Tanh", ["c"], ["y"]),
        ]
    )
    assert labels(session) == ["Neg+Exp+Mul+Tanh"]


def test_softmax_reads_its_input_through_scale_and_mask(cuda):
    made = model(
        [
            node("Mul", ["x", "k"], ["a"]),
            node("Add", ["a", "m"], ["b"]),
            node("Softmax", ["b"], ["y"]),
        ],
        {"x": (FLOAT, [2, 4, 8]), "m": (FLOAT, [2, 1, 8])},
        {"y": (FLOAT, [2, 4, 8])},
        {"k": np.float32(0.5)},
    )
    session = opened(made)
    assert labels(session) == ["Mul+Add+Softmax"]
    x = RNG.standard_normal((2, 4, 8)).astype(np.float32)
    m = RNG.standard_normal((2, 1, 8)).astype(np.float32)
    wide = np.exp(x.astype(np.float64) * 0.5 + m)
    got = session.run(None, {"x": x, "m": m})[0]
    np.testing.assert_allclose(got, wide / wide.sum(-1, keepdims=True), rtol=1e-5)


def test_an_operand_that_widens_the_result_is_no_epilogue(cuda):
    made = model(
        [node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "z"], ["y"])],
        {"x": (FLOAT, [3, 4]), "z": (FLOAT, [2, 3, 5])},
        {"y": (FLOAT, [2, 3, 5])},
        {"w": RNG.standard_normal((4, 5)).astype(np.float32)},
    )
    session = opened(made)
    assert labels(session) == ["MatMul", "Add"]


def test_shapes_of_what_is_never_written_are_known_all_the_same(cuda):
    made = model(
        [
            node("Neg", ["x"], ["a"]),
            node("Exp", ["a"], ["b"]),
            node("Shape", ["a"], ["s"]),
            node("Reshape", ["z", "s"], ["r"]),
            node("Add", ["b", "r"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 3]), "z": (FLOAT, ["m"])},
        {"y": (FLOAT, None)},
    )
    session = opened(made, simplified=False)
    x, z = RNG.standard_normal((2, 3)).astype(np.float32), np.ones(6, np.float32)
    got = session.run(None, {"x": x, "z": z})[0]
    np.testing.assert_allclose(got, np.exp(-x) + 1, rtol=1e-6)
    assert not any("Shape" in label.split("+") for label in labels(session))


def test_a_sum_that_broadcasts_differently_for_other_shapes_is_still_right(cuda):
    made = model(
        [node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "z"], ["y"])],
        {"x": (FLOAT, ["n", 4]), "z": (FLOAT, ["m", 5])},
        {"y": (FLOAT, None)},
        {"w": RNG.standard_normal((4, 5)).astype(np.float32)},
    )
    session = opened(made)
    weights = RNG.standard_normal((4, 5))
    del weights
    x = RNG.standard_normal((1, 4)).astype(np.float32)
    few = session.run(None, {"x": x, "z": np.zeros((1, 5), np.float32)})[0]
    many = session.run(None, {"x": x, "z": np.zeros((3, 5), np.float32)})[0]
    np.testing.assert_allclose(many, np.repeat(few, 3, 0), rtol=1e-6)


def test_indices_that_are_fed_do_not_decide_what_is_planned(cuda):
    made = model(
        [node("Gather", ["x", "i"], ["g"]), node("Relu", ["g"], ["y"])],
        {"x": (FLOAT, [5, 2]), "i": (INT64, [3])},
        {"y": (FLOAT, [3, 2])},
    )
    session = opened(made)
    x = RNG.standard_normal((5, 2)).astype(np.float32)
    for i in ([0, 1, 2], [4, 4, -1]):
        got = session.run(None, {"x": x, "i": np.array(i)})[0]
        np.testing.assert_array_equal(got, np.maximum(x[i], 0))
    (program,) = programs(session)
    assert len(program._plans) == 1
