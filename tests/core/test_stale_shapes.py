"""Sizes that a file states of results are a claim; what follows from the inputs holds."""

import numpy as np
import onnx
import pytest
import runtime as ort
from doubles import Choosy
from models import FLOAT, model, node

NAME = "AnyExecutionProvider"
OPS = ["Conv", "Relu", "GlobalAveragePool", "Flatten", "MatMul", "Softmax"]


def rebatched():
    """Return a network whose batch was opened in its input and nowhere else."""
    rng = np.random.default_rng(0)
    proto = model(
        [
            node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
            node("Relu", ["c"], ["r"]),
            node("GlobalAveragePool", ["r"], ["g"]),
            node("Flatten", ["g"], ["f"]),
            node("MatMul", ["f", "w"], ["l"]),
            node("Softmax", ["l"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 3, 8, 8])},
        {"y": (FLOAT, [1, 5])},
        {
            "k": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
            "w": rng.standard_normal((4, 5)).astype(np.float32),
        },
    )
    for name, shape in {
        "c": [1, 4, 8, 8], "r": [1, 4, 8, 8], "g": [1, 4, 1, 1], "f": [1, 4], "l": [1, 5]
    }.items():  # fmt: skip
        info = onnx.helper.make_tensor_value_info(name, FLOAT, shape)
        proto.graph.value_info.append(info)
    return proto.SerializeToString()


@pytest.mark.parametrize("likes", [OPS, ["Conv", "MatMul"], ["Softmax"]])
def test_nobody_is_blamed_for_a_size_that_the_file_states_wrongly(likes, registered):
    registered(Choosy(NAME, likes))
    session = ort.InferenceSession(rebatched(), providers=[NAME])
    x = np.random.default_rng(1).standard_normal((3, 3, 8, 8)).astype(np.float32)
    (got,) = session.run(None, {"x": x})
    (want,) = ort.InferenceSession(rebatched()).run(None, {"x": x})
    assert got.shape == (3, 5)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert "run" not in {event.stage for event in session.explain().events}


def test_what_follows_from_the_inputs_is_known():
    session = ort.InferenceSession(rebatched())
    types = {t for n in session.explain().nodes for t in n.types}
    assert not [kind for kind in types if "[1," in kind]


def test_callers_are_told_what_the_file_says():
    (out,) = ort.InferenceSession(rebatched()).get_outputs()
    assert out.shape == [1, 5]


def test_a_stated_size_that_nothing_contradicts_is_kept():
    """What NonZero finds cannot be known; the file says it."""
    proto = model(
        [node("NonZero", ["x"], ["i"]), node("Cast", ["i"], ["y"], to=FLOAT)],
        {"x": (FLOAT, ["n", 3])},
        {"y": (FLOAT, [2, 7])},
    )
    info = onnx.helper.make_tensor_value_info("i", onnx.TensorProto.INT64, [2, 7])
    proto.graph.value_info.append(info)
    nodes = ort.InferenceSession(proto.SerializeToString()).explain().nodes
    assert [node.types for node in nodes] == [
        ("tensor(int64)[2,7]",),
        ("tensor(float)[2,7]",),
    ]


def branches_that_share_names():
    """Return an If whose branches call different shapes by one name, ``s``."""
    shape = onnx.helper.make_tensor_value_info("s", onnx.TensorProto.INT64, [2])
    one = onnx.helper.make_tensor("one", FLOAT, [1], [1.0])

    def branch(name, nodes):
        out = onnx.helper.make_tensor_value_info(f"{name}_y", FLOAT, None)
        return onnx.helper.make_graph(nodes, name, [], [out], value_info=[shape])

    filled = branch("filled", [
        node("Shape", ["w"], ["sizes"]),
        node("Concat", ["sizes", "sizes"], ["s"], axis=0),
        node("ConstantOfShape", ["s"], ["filled_y"]),
    ])  # fmt: skip
    reshaped = branch("reshaped", [
        node("Neg", ["t"], ["s"]),
        node("Reshape", ["x", "s"], ["r"]),
        node("Shape", ["r"], ["sizes"]),
        node("ConstantOfShape", ["sizes"], ["ones"], value=one),
        node("Add", ["r", "ones"], ["reshaped_y"]),
    ])  # fmt: skip
    return model(
        [node("If", ["c"], ["y"], then_branch=filled, else_branch=reshaped)],
        {
            "c": (onnx.TensorProto.BOOL, []),
            "x": (FLOAT, ["n"]),
            "t": (onnx.TensorProto.INT64, [2]),
        },
        {"y": (FLOAT, [None, None])},
        {"w": np.zeros(4, np.float32)},
    ).SerializeToString()


def test_a_shape_in_one_branch_says_nothing_of_the_others_of_its_name():
    session = ort.InferenceSession(branches_that_share_names())
    x = np.arange(6, dtype=np.float32)
    feed = {"x": x, "t": np.array([-2, -3])}
    (reshaped,) = session.run(None, {"c": np.array(False), **feed})
    np.testing.assert_array_equal(reshaped, x.reshape(2, 3) + 1)
    (filled,) = session.run(None, {"c": np.array(True), **feed})
    assert filled.shape == (4, 4)
