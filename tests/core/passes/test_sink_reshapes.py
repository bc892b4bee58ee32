"""Activations come before the reshape of a product, wherever nobody else reads it."""

import numpy as np
import pytest
from models import FLOAT, model, node
from simplified import same, simplified

WEIGHTS = np.random.default_rng(0).standard_normal((6, 12)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)
SHAPE = np.array([0, 3, 4])


def net(*nodes, results=("y",)):
    return model(
        [node("Gemm", ["x", "w"], ["g"]), *nodes],
        {"x": (FLOAT, ["batch", 6])},
        dict.fromkeys(results, (FLOAT, None)),
        {"w": WEIGHTS, "shape": SHAPE, "axes": np.array([0])},
        20,
    )


def ordered(found):
    return [n.op_type for n in found.graph]


RESHAPED = node("Reshape", ["g", "shape"], ["r"])


@pytest.mark.parametrize("operator", ["Relu", "Gelu", "Sigmoid", "HardSwish"])
def test_an_activation_moves_before_a_reshape(operator):
    found = same(net(RESHAPED, node(operator, ["r"], ["y"])), [X])
    assert ordered(found) == ["Gemm", operator, "Reshape"]


def test_attributes_come_along():
    found = same(net(RESHAPED, node("LeakyRelu", ["r"], ["y"], alpha=0.3)), [X])
    assert ordered(found) == ["Gemm", "LeakyRelu", "Reshape"]


def test_it_moves_before_several():
    nodes = [
        RESHAPED,
        node("Unsqueeze", ["r", "axes"], ["u"]),
        node("Relu", ["u"], ["y"]),
    ]
    found = same(net(*nodes), [X])
    assert ordered(found)[:2] == ["Gemm", "Relu"]


@pytest.mark.parametrize("read", ["g", "r"])
def test_what_others_read_stays(read):
    nodes = [RESHAPED, node("Relu", ["r"], ["y"]), node("Exp", [read], ["z"])]
    found = simplified(net(*nodes, results=("y", "z")))
    relu = next(n for n in found.graph if n.op_type == "Relu")
    assert relu.inputs[0].producer.op_type == "Reshape"


def test_what_is_an_output_stays():
    found = simplified(net(RESHAPED, node("Relu", ["r"], ["y"]), results=("y", "r")))
    relu = next(n for n in found.graph if n.op_type == "Relu")
    assert relu.inputs[0].producer.op_type == "Reshape"
