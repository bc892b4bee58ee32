"""What is claimed, what is refused and why, and what stays on the host."""

import numpy as np
import pytest
from models import BOOL, FLOAT, INT64, model, node
from on_the_double import CPU, NAME, driver, opened, programs
from onnx import TensorProto

STRING, DOUBLE = TensorProto.STRING, TensorProto.DOUBLE


def refusals(session):
    """Return the reasons by operator."""
    return {
        record.op_type: record.refusals[NAME]
        for record in session.explain().nodes
        if record.provider != NAME
    }


@pytest.mark.parametrize(
    ("nodes", "inputs", "initializers", "reason"),
    [
        (
            [node("StringNormalizer", ["s"], ["y"])],
            {"s": (STRING, [2])}, {}, "string tensors are not supported on the device",
        ),
        (
            [node("NonZero", ["x"], ["y"])],
            {"x": (FLOAT, [2, 3])}, {}, "no kernel for NonZero",
        ),
        (
            [node("Conv", ["x", "w"], ["y"])],
            {"x": (FLOAT, [1, 2, 3, 3, 3, 3]), "w": (FLOAT, [2, 2, 1, 1, 1, 1])}, {},
            "a Conv of 6 axes is not supported",
        ),
        (
            [node("Relu", ["x"], ["y"])],
            {"x": (FLOAT, None)}, {}, "the rank of 'x' is not known",
        ),
    ],
)  # fmt: skip
def test_a_refusal_says_why(cuda, nodes, inputs, initializers, reason):
    made = model(nodes, inputs, {"y": (FLOAT, None)}, initializers)
    if nodes[0].op_type == "StringNormalizer":
        made.graph.output[0].type.tensor_type.elem_type = STRING
    if nodes[0].op_type == "NonZero":
        made.graph.output[0].type.tensor_type.elem_type = INT64
    session = opened(made)
    assert refusals(session) == {nodes[0].op_type: reason}


def test_sizes_that_are_fed_are_computed_on_the_host(cuda):
    made = model(
        [
            node("Concat", ["n", "m"], ["s"], axis=0),
            node("Reshape", ["x", "s"], ["r"]),
            node("Relu", ["r"], ["y"]),
        ],
        {"x": (FLOAT, [6]), "n": (INT64, [1]), "m": (INT64, [1])},
        {"y": (FLOAT, None)},
    )
    session = opened(made)
    assert refusals(session) == {
        "Concat": "it computes sizes from what is fed; the host does that"
    }
    feed = {"x": np.arange(6, dtype=np.float32), "n": np.array([2]), "m": np.array([3])}
    got = session.run(None, feed)[0]
    np.testing.assert_array_equal(got, feed["x"].reshape(2, 3))
    assert driver().counts["uploads"] <= 2


def test_a_size_that_only_the_device_knows_is_no_size_for_a_plan(cuda):
    made = model(
        [
            node("MatMul", ["x", "w"], ["p"]),
            node("Cast", ["p"], ["s"], to=INT64),
            node("Reshape", ["x", "s"], ["y"]),
        ],
        {"x": (FLOAT, [6])},
        {"y": (FLOAT, None)},
        {"w": np.eye(6, 2, dtype=np.float32)},
    )
    session = opened(made)
    x = np.array([2, 3, 0, 0, 0, 0], np.float32)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], x.reshape(2, 3))


def test_control_flow_is_the_hosts_and_its_bodies_may_be_the_devices(cuda):
    from onnx import helper

    def branch(name, op):
        out = helper.make_tensor_value_info(f"{name}_y", FLOAT, [2, 2])
        return helper.make_graph([node(op, ["x"], [f"{name}_y"])], name, [], [out])

    made = model(
        [
            node("Softmax", ["z"], ["x"]),
            node("If", ["c"], ["y"], then_branch=branch("a", "Relu"),
                 else_branch=branch("b", "Neg")),
        ],
        {"z": (FLOAT, [2, 2]), "c": (BOOL, [])},
        {"y": (FLOAT, [2, 2])},
    )  # fmt: skip
    session = opened(made)
    owners = {r.op_type: r.provider for r in session.explain().nodes}
    assert owners["If"] == CPU
    z = np.ones((2, 2), np.float32)
    for flag, sign in ((True, 1), (False, -1)):
        got = session.run(None, {"z": z, "c": np.array(flag)})[0]
        np.testing.assert_allclose(got, sign * np.full((2, 2), 0.5), rtol=1e-6)


def test_doubles_and_integers_run_in_their_own_types(cuda):
    made = model(
        [node("Add", ["x", "x"], ["a"]), node("Softmax", ["a"], ["y"])],
        {"x": (DOUBLE, [2, 3])},
        {"y": (DOUBLE, [2, 3])},
    )
    session = opened(made)
    assert len(programs(session)) == 1
    x = np.random.default_rng(0).standard_normal((2, 3))
    wide = np.exp(2 * x)
    got = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(got, wide / wide.sum(-1, keepdims=True), rtol=1e-13)


def test_without_cudnn_convolutions_are_the_cpus_and_products_are_cublas(cuda):
    made = model(
        [
            node("Conv", ["x", "w"], ["c"]),
            node("GlobalAveragePool", ["c"], ["g"]),
            node("Flatten", ["g"], ["f"]),
            node("MatMul", ["f", "v"], ["y"]),
        ],
        {"x": (FLOAT, [1, 4, 6, 6])},
        {"y": (FLOAT, [1, 3])},
        {
            "w": np.ones((4, 4, 3, 3), np.float32),
            "v": np.ones((4, 3), np.float32),
        },
    )
    session = opened(made, enable_cudnn=0)
    assert refusals(session) == {
        "Conv": "enable_cudnn is off, and nothing else convolves"
    }
    x = np.ones((1, 4, 6, 6), np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], np.full((1, 3), 144.0))
