"""Reductions of short rows give NumPy's results: every operation, odd numbers, strides."""

import numpy as np
import onnx
import pytest
from beside_numpy import checked, kernels
from onnx import TensorProto, helper

OPERATORS = [
    *(f"Reduce{word}" for word in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2")),
    "ReduceSumSquare",
    "ReduceLogSumExp",
    "ArgMax",
    "ArgMin",
]


def model(operator, columns, keeps, chosen=()):
    """Return a reduction of the last axis, of all columns or of some of them."""
    constants, nodes, given = [np.array([-1])], [], "x"
    if chosen:
        constants.append(np.array(chosen))
        nodes = [
            helper.make_node(
                "ArrayFeatureExtractor", ["x", "c1"], ["part"], domain="ai.onnx.ml"
            )
        ]
        given = "part"
    position = operator.startswith("Arg")
    last = helper.make_node(
        operator,
        [given] if position else [given, "c0"],
        ["y"],
        keepdims=keeps,
        **({"axis": -1} if position else {}),
    )
    graph = helper.make_graph(
        [*nodes, last],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, columns])],
        [onnx.ValueInfoProto(name="y")],
        [onnx.numpy_helper.from_array(a, f"c{i}") for i, a in enumerate(constants)],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def rows(count, columns, odd):
    x = (
        np.random.default_rng(count)
        .standard_normal((count, columns))
        .astype(np.float32)
    )
    if odd:
        x[1 % count, 0], x[2 % count, -1] = np.nan, np.inf
        x[3 % count] = -np.inf
    return x


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("columns", [1, 3, 32])
@pytest.mark.parametrize("odd", [False, True])
def test_short_rows(operator, columns, odd):
    made = model(operator, columns, columns % 2)
    feeds = [{"x": rows(count, columns, odd)} for count in (8, 16, 37, 1000)]
    session = checked(made, *feeds, tolerance=1e-5)
    assert kernels(session) == ["short_rows"]


@pytest.mark.parametrize("operator", ["ReduceProd", "ReduceSum"])
def test_columns_that_are_apart(operator):
    made = model(operator, 5, 1, [1, 3])
    checked(made, {"x": rows(50, 5, False)}, tolerance=1e-5)
