"""Arithmetic and bytes are counted as by hand; references are wide and errors relative."""

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks import reference, work
from benchmarks.zoo import precision


def event(op, inputs, output):
    return {
        "name": f"{op}_kernel_time",
        "args": {
            "op_name": op,
            "input_type_shape": [{"float": list(shape)} for shape in inputs],
            "output_type_shape": [{"float": list(output)}],
        },
    }


@pytest.mark.parametrize(
    ("op", "inputs", "output", "flops"),
    [
        ("MatMul", [(2, 3, 5), (5, 7)], (2, 3, 7), 2 * 2 * 3 * 5 * 7),
        ("Gemm", [(3, 5), (7, 5), (7,)], (3, 7), 2 * 3 * 5 * 7),
        ("Conv", [(1, 4, 9, 9), (6, 2, 3, 3)], (1, 6, 9, 9), 2 * 6 * 81 * 2 * 9),
        (
            "ConvTranspose",
            [(1, 4, 9, 9), (4, 6, 2, 2)],
            (1, 6, 18, 18),
            2 * 4 * 81 * 6 * 4,
        ),
        (
            "Attention",
            [(1, 2, 3, 8), (1, 2, 5, 8), (1, 2, 5, 8)],
            (1, 2, 3, 8),
            2 * (2 * 3 * 5) * (8 + 8),
        ),
        ("Relu", [(3, 5)], (3, 5), 0),
    ],
)
def test_operations_are_counted_as_by_hand(op, inputs, output, flops):
    assert work.by_operator([event(op, inputs, output)]).total() == flops


def model():
    """Look a row up, multiply by a matrix, take the error function."""
    table = np.arange(12, dtype=np.float32).reshape(4, 3) / 7
    matrix = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["row"]),
        helper.make_node("MatMul", ["row", "matrix"], ["y"]),
        helper.make_node("Erf", ["y"], ["z"]),
        helper.make_node("Cast", ["z"], ["out"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(matrix, "matrix"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_a_table_that_is_only_looked_up_is_not_read_whole():
    assert work.weight_bytes(model()) == 3 * 2 * 4


def test_a_profile_of_a_run_counts_the_shapes_of_that_run(tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    onnx.save(model(), path)
    events = work.profile(str(path), {"ids": np.array([1, 2, 3, 1, 0])})
    assert work.by_operator(events) == {"MatMul": 2 * 5 * 3 * 2}


def test_the_reference_computes_in_float64():
    (got,) = reference.reference(model(), {"ids": np.array([3])})
    assert got.dtype == np.float64
    row = (np.arange(9, 12, dtype=np.float32) / np.float32(7)).astype(np.float64)
    matrix = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)
    want = [[math.erf(value) for value in row @ matrix.astype(np.float64)]]
    np.testing.assert_allclose(got, want, rtol=1e-13)


@pytest.mark.parametrize("opset", [7, 9, 13, 15])
def test_the_reference_normalises_by_the_given_mean_and_variance(opset):
    names = ["x", "scale", "bias", "mean", "variance"]
    node = helper.make_node("BatchNormalization", names, ["y"])
    kinds = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "normal", kinds, [result])
    opsets = [helper.make_opsetid("", opset)]
    draw = np.random.default_rng(0).uniform
    x = draw(-1, 1, (2, 3, 4))
    given = {name: draw(0.5, 1, 3) for name in names[1:]}
    (got,) = reference.reference(
        helper.make_model(graph, opset_imports=opsets), {"x": x, **given}
    )
    scale, bias, mean, variance = (each[:, None] for each in given.values())
    want = (x - mean) / np.sqrt(variance + 1e-5) * scale + bias
    np.testing.assert_allclose(got, want, rtol=1e-10)


def test_a_model_in_half_clips_what_half_cannot_hold():
    half = precision.retyped(model(), np.float16)
    assert {t.data_type for t in half.graph.initializer} == {TensorProto.FLOAT16}
    assert half.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT16
    assert half.graph.input[0].type.tensor_type.elem_type == TensorProto.INT64
    onnx.checker.check_model(half, full_check=True)
    lowest = np.array([np.finfo(np.float32).min, -np.inf, 1.5], np.float32)
    got = precision.converted(lowest, np.float16)
    np.testing.assert_array_equal(got, np.array([-65504, -np.inf, 1.5], np.float16))


def test_an_error_is_a_part_of_its_outputs_largest_magnitude():
    want = [np.array([0.0, 100.0]), np.array([1.0])]
    got = [np.array([1.0, 100.0], np.float32), np.array([1.25], np.float32)]
    assert reference.error(got, want) == 0.25
    assert reference.error(got[:1], want[:1]) == 0.01


def test_nan_and_infinity_must_stand_where_the_reference_has_them():
    want = [np.array([1.0, np.nan, np.inf])]
    assert reference.error(want, want) == 0.0
    for value in ([1.0, np.nan, 5.0], [np.nan] * 3, [1.0, np.nan, -np.inf]):
        assert reference.error([np.array(value)], want) == np.inf


def test_a_wrong_shape_is_refused():
    want = [np.array([1.0, 2.0])]
    with pytest.raises(ValueError, match="shape"):
        reference.error([np.ones(3)], want)


def test_the_reference_ends_sequences_where_they_end():
    """Against each sequence run alone, cut to its length."""
    dims = {"x": ["steps", "batch", 3], "lengths": ["batch"]}
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, dims["x"]),
        helper.make_tensor_value_info("lengths", TensorProto.INT32, dims["lengths"]),
    ]
    rng = np.random.default_rng(0)
    shapes = {"w": (2, 8, 3), "r": (2, 8, 2), "b": (2, 16)}
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    layer = helper.make_node(
        "LSTM", ["x", "w", "r", "b", "lengths"], ["y", "h", "c"],
        hidden_size=2, direction="bidirectional",
    )  # fmt: skip
    outputs = [onnx.ValueInfoProto(name=name) for name in "yhc"]
    graph = helper.make_graph([layer], "g", inputs, outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)])
    x = rng.standard_normal((4, 2, 3)).astype(np.float32)
    y, h, c = reference.reference(made, {"x": x, "lengths": np.array([4, 2], np.int32)})
    for row, length in enumerate((4, 2)):
        alone = {
            "x": x[:length, row : row + 1],
            "lengths": np.array([length], np.int32),
        }
        one, last_h, last_c = reference.reference(made, alone)
        np.testing.assert_allclose(y[:length, :, row : row + 1], one)
        np.testing.assert_allclose(h[:, row : row + 1], last_h)
        np.testing.assert_allclose(c[:, row : row + 1], last_c)
        assert not y[length:, :, row].any()
