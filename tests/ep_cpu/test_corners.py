"""Corners: numbers that are none, overflow, division by zero, indices out of range.

Where the standard is silent the result is onnxruntime's, compared in the same run; where
this runtime differs on purpose, the difference is spelled out (docs: differences.md).
"""

import numpy as np
import pytest
from evaluate import run_node
from peers import by_onnxruntime

pytestmark = pytest.mark.filterwarnings("error")

NAN, INF = np.nan, np.inf


def floats(*values):
    return np.array(values, np.float32)


def ints(*values):
    return np.array(values, np.int64)


SPECIAL = floats(NAN, INF, -INF, 0, -0.0, 1, -1, 3e38, 1e-45)
LEFT, RIGHT = (x.copy() for x in np.meshgrid(SPECIAL, SPECIAL))
FUNCTIONS = [
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Ceil",
    "Celu",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "HardSigmoid",
    "HardSwish",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "Mish",
    "Neg",
    "NonZero",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
]
PAIRS = [
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Max",
    "Min",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "PRelu",
]
REDUCTIONS = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMean",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
]
ROWS = [
    floats(INF, 1),
    floats(-INF, -INF),
    floats(INF, -INF),
    floats(3e38, 3e38),
    floats(1, NAN, 2),
]


def agree(op, inputs, attributes=None, outputs=1):
    want = by_onnxruntime(op, inputs, attributes, 21, "", outputs)
    got = run_node(op, inputs, attributes, 21, outputs=outputs)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        wide = ours.astype(np.float64), theirs.astype(np.float64)
        np.testing.assert_allclose(*wide, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("op", FUNCTIONS)
def test_functions_of_special_numbers(op):
    agree(op, [SPECIAL])


@pytest.mark.parametrize("op", PAIRS)
def test_pairs_of_special_numbers(op):
    agree(op, [LEFT, RIGHT])


def test_remainders_of_special_numbers():
    agree("Mod", [LEFT, RIGHT], {"fmod": 1})


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize("row", range(len(ROWS)))
def test_reductions_of_special_numbers(op, row):
    agree(op, [ROWS[row]])


@pytest.mark.parametrize("to", [2, 3, 6, 7, 9, 10])
def test_casts_of_special_numbers(to):
    agree("Cast", [SPECIAL if to != 3 else floats(300, -5, 100, -200)], {"to": to})


WHOLE = ["int8", "int32", "int64", "uint8"]


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_integers_wrap_around(op, dtype):
    info = np.iinfo(dtype)
    a = np.array([info.min, info.max, 1, 0], dtype)
    b = np.array([info.max, info.max, info.max, 2], dtype)
    agree(op, [a, b])


@pytest.mark.parametrize("dtype", WHOLE[:3])
@pytest.mark.parametrize("op", ["Neg", "Abs"])
def test_the_smallest_integer_has_no_opposite(op, dtype):
    info = np.iinfo(dtype)
    agree(op, [np.array([info.min, info.max, -1], dtype)])


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_running_sums_and_powers_wrap_around(dtype):
    info = np.iinfo(dtype)
    x = np.array([info.max, 1, info.max], dtype)
    agree("CumSum", [x, np.array(0)])
    agree("Pow", [np.array([2, 3, -1, 7], dtype), np.array([9, 4, 3, 0], dtype)])
    one = np.array([1], dtype)
    (total,) = run_node("ReduceSum", [x])
    assert total.tolist() == [-1]  # onnxruntime adds in floats and saturates
    assert one.dtype == total.dtype


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_bits_shifted_far_leave_nothing(direction):
    inputs = [np.array([1, 255, 7], np.uint8), np.array([8, 9, 2], np.uint8)]
    (got,) = run_node("BitShift", inputs, {"direction": direction})
    assert got.tolist() == ([0, 0, 28] if direction == "LEFT" else [0, 0, 1])


def test_one_hot_ignores_what_is_out_of_range():
    agree("OneHot", [ints(-4, -3, 0, 3, 2), np.array(3), floats(0, 1)])


def test_slices_reach_as_far_as_int64_says():
    most, least = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    agree("Slice", [floats(1, 2, 3), ints(least), ints(most)])
    backwards = [ints(most), ints(least), ints(0), ints(-1)]
    agree("Slice", [floats(1, 2, 3), *backwards])
    agree("Trilu", [np.ones((2, 3), np.float32), np.array(2**62)])


HOLE = floats(1, NAN, 3)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "want"),
    [
        ("ReduceMax", [HOLE], {}, [NAN]),
        ("ReduceMin", [HOLE], {}, [NAN]),
        ("ArgMax", [HOLE], {}, [1]),
        ("Hardmax", [HOLE], {}, [0, 1, 0]),
        ("TopK", [HOLE, ints(3)], {}, [NAN, 3, 1]),
        ("TopK", [HOLE, ints(3)], {"largest": 0}, [1, 3, NAN]),
        ("Unique", [floats(NAN, 1, NAN)], {}, [1, NAN]),
        ("MaxPool", [HOLE.reshape(1, 1, 3)], {"kernel_shape": [2]}, [NAN, NAN]),
        ("Clip", [HOLE, floats(2)[0, ...], floats(1)[0, ...]], {}, [1, NAN, 1]),
        ("Max", [HOLE, floats(2, 2, 2)], {}, [2, NAN, 3]),
    ],
)
def test_nan_wins(op, inputs, attributes, want):
    outputs = 2 if op == "TopK" else 1
    got = run_node(op, inputs, attributes, outputs=outputs)[0]
    np.testing.assert_array_equal(got.ravel(), want)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8"])
@pytest.mark.parametrize("op", ["Div", "Mod"])
def test_dividing_integers_by_zero_ends_quietly(op, dtype):
    """Undefined by the standard; onnxruntime's process may be killed by it."""
    (got,) = run_node(op, [np.array([7, 0], dtype), np.array([0, 0], dtype)])
    assert (got.dtype, got.tolist()) == (np.dtype(dtype), [0, 0])


def test_a_determinant_with_nan_is_nan():
    x = np.ones((2, 2, 2), np.float32)
    x[0, 0, 1] = NAN
    agree("Det", [x])


def test_an_empty_limit_or_threshold_counts_as_absent():
    boxes = np.array([[[0, 0, 1, 1], [2, 2, 3, 3]]], np.float32)
    scores = np.array([[[0.9, 0.8]]], np.float32)
    limit, none = ints(5), np.zeros(0, np.float32)
    (got,) = run_node("NonMaxSuppression", [boxes, scores, limit, none, none])
    assert got.tolist() == [[0, 0, 0], [0, 0, 1]]
    (got,) = run_node("NonMaxSuppression", [boxes, scores, none.astype(np.int64)])
    assert got.shape == (0, 3)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_no_number_and_infinity_lie_outside_of_an_image(mode):
    image = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    grid = np.zeros((1, 1, 4, 2), np.float32)
    grid[0, 0, :, 0] = [NAN, INF, -INF, 3e38]
    (got,) = run_node("GridSample", [image, grid], {"mode": mode})
    assert got.ravel().tolist() == [0, 0, 0, 0]
