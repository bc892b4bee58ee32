"""Groups: element-wise work is done where its operands are at hand."""

import numpy as np
import pytest
from models import FLOAT, INT64, model, node
from on_the_double import alone, driver, error, opened, programs
from onnx import TensorProto

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


def work(session, given):
    """Return how many kernels and calls of libraries a run is."""
    counts = driver().counts
    session.run(None, given)
    before = counts["launches"], counts["calls"]
    session.run(None, given)
    return counts["launches"] - before[0], counts["calls"] - before[1]


def convolved(dtype=FLOAT, *, normalized=True, bias=False, large=1.0, group=1):
    """Return a model of a convolution, a BatchNormalization and a Relu, and its inputs."""
    rng = np.random.default_rng(3)
    arrays = {
        "w": rng.standard_normal((8, 4 // group, 3, 3)) * large,
        "c": rng.standard_normal(8),
        **{name: rng.random(8) + 0.5 for name in "sbmv"},
    }
    kind = np.float16 if dtype == TensorProto.FLOAT16 else np.float32
    last = node("BatchNormalization", ["a", "s", "b", "m", "v"], ["n"])
    made = model(
        [
            node("Conv", ["x", "w", "c"][: 2 + bias], ["a"], group=group),
            *([last] if normalized else []),
            node("Relu", ["n" if normalized else "a"], ["y"]),
        ],
        {"x": (dtype, [2, 4, 6, 6])},
        {"y": (dtype, None)},
        {name: array.astype(kind) for name, array in arrays.items()},
    )
    return made, {"x": rng.standard_normal((2, 4, 6, 6)).astype(kind)}


@pytest.mark.parametrize("dtype", [FLOAT, TensorProto.FLOAT16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_a_normalization_is_in_the_weights_of_the_convolution_before_it(
    cuda, dtype, bias, group
):
    source, given = convolved(dtype, bias=bias, group=group)
    session = opened(source, simplified=False)
    assert labels(session) == ["Conv+BatchNormalization+Relu"]
    (got,), (want,) = session.run(None, given), alone(source).run(None, given)
    assert error(got, want) <= (3e-3 if dtype == TensorProto.FLOAT16 else 2e-6)
    bare, _ = convolved(dtype, normalized=False, bias=True, group=group)
    assert work(session, given) == work(opened(bare), given)


def test_weights_that_would_be_too_large_for_halves_are_scaled_behind(cuda):
    source, given = convolved(large=1e5)
    session = opened(source, simplified=False)
    assert labels(session) == ["Conv", "BatchNormalization+Relu"]
    (got,), (want,) = session.run(None, given), alone(source).run(None, given)
    assert error(got, want) <= 2e-6


def test_what_others_read_unscaled_is_not_in_the_weights(cuda):
    session = image(
        [
            node("Conv", ["x", "w"], ["c"]),
            node("BatchNormalization", ["c", "s", "s", "s", "v"], ["y"]),
            node("Relu", ["c"], ["z"]),
        ],
        [("w", (4, 4, 1, 1)), ("s", (4,)), ("v", (4,))],
        ("y", "z"),
    )
    assert sorted(labels(session)) == ["BatchNormalization", "Conv", "Relu"]
