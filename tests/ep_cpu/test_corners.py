"""Corners: numbers that are none, overflow, division by zero, indices out of range.

Where the standard is silent the result is onnxruntime's, compared in the same run; where
this runtime differs on purpose, the difference is spelled out (docs: differences.md).
"""

import numpy as np
import pytest
from evaluate import run_node
from peers import by_onnxruntime
from runtime.errors import ExecutionError

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


M = np.arange(6, dtype=np.float32).reshape(2, 3)
IMAGE = np.ones((1, 2, 4, 4), np.float32)
KERNEL = np.ones((2, 2, 2, 2), np.float32)
ONE = np.ones(2, np.float32)
WRONG = {
    "Gather: index 3": ("Gather", [M, ints(3)], {"axis": 1}),
    "Gather: index -4": ("Gather", [M, ints(-4)], {"axis": 1}),
    "Gather: axis": ("Gather", [M, ints(0)], {"axis": 2}),
    "GatherElements": ("GatherElements", [M, ints(3)[None]], {"axis": 1}),
    "GatherElements: rank": ("GatherElements", [M, ints(0)], {}),
    "GatherND": ("GatherND", [M, ints(0, 3)], {}),
    "GatherND: too deep": ("GatherND", [M, ints(0, 0, 0)], {}),
    "ScatterElements": ("ScatterElements", [M, ints(5)[None], M[:1, :1]], {}),
    "ScatterND": ("ScatterND", [M, ints(2)[None], M[:1]], {}),
    "ScatterND: negative": ("ScatterND", [M, ints(-3)[None], M[:1]], {}),
    "Compress": ("Compress", [M, np.array([True] * 4)], {"axis": 0}),
    "SequenceAt": ("SequenceAt", [[M], np.array(1)], {}),
    "SequenceAt: negative": ("SequenceAt", [[M], np.array(-2)], {}),
    "SequenceInsert": ("SequenceInsert", [[M], M, np.array(2)], {}),
    "SequenceErase": ("SequenceErase", [[M], np.array(1)], {}),
    "Reshape: size": ("Reshape", [M, ints(4)], {}),
    "Reshape: two unknown": ("Reshape", [M, ints(-1, -1)], {}),
    "Reshape: below -1": ("Reshape", [M, ints(-2, 3)], {}),
    "Reshape: no such dim": ("Reshape", [M, ints(1, 1, 0)], {}),
    "Transpose": ("Transpose", [M], {"perm": [0, 0]}),
    "Squeeze": ("Squeeze", [M, ints(0)], {}),
    "Unsqueeze: twice": ("Unsqueeze", [M, ints(0, 0)], {}),
    "Unsqueeze: far": ("Unsqueeze", [M, ints(4)], {}),
    "Flatten": ("Flatten", [M], {"axis": 3}),
    "Concat: axis": ("Concat", [M, M], {"axis": 2}),
    "Concat: shapes": ("Concat", [M, M.T.copy()], {"axis": 0}),
    "Split: sum": ("Split", [M, ints(1, 3)], {"axis": 0}, 2),
    "Slice: step": ("Slice", [M, ints(0), ints(1), ints(0), ints(0)], {}),
    "Slice: axis": ("Slice", [M, ints(0), ints(1), ints(2)], {}),
    "Slice: axis twice": ("Slice", [M, ints(0, 0), ints(1, 1), ints(0, 0)], {}),
    "Pad: too few": ("Pad", [M, ints(1)], {}),
    "Pad: takes too much": ("Pad", [M, ints(-3, 0, 0, 0)], {}),
    "Tile: negative": ("Tile", [M, ints(-1, 1)], {}),
    "Tile: rank": ("Tile", [M, ints(1)], {}),
    "Expand: negative": ("Expand", [M, ints(-2, 3)], {}),
    "Expand: shapes": ("Expand", [M, ints(4, 3)], {}),
    "ConstantOfShape": ("ConstantOfShape", [ints(2, -1)], {}),
    "Range": ("Range", [np.array(0), np.array(5), np.array(0)], {}),
    "TopK: k": ("TopK", [M, ints(4)], {}, 2),
    "TopK: negative": ("TopK", [M, ints(-1)], {}, 2),
    "OneHot": ("OneHot", [ints(0), np.array(-1), floats(0, 1)], {}),
    "EyeLike": ("EyeLike", [M[None]], {}),
    "Det": ("Det", [M], {}),
    "Trilu": ("Trilu", [M[0]], {}),
    "DepthToSpace": ("DepthToSpace", [IMAGE], {"blocksize": 2}),
    "SpaceToDepth": ("SpaceToDepth", [IMAGE], {"blocksize": 3}),
    "ReverseSequence": ("ReverseSequence", [M, ints(1, 1, 9)], {}),
    "CumSum": ("CumSum", [M, np.array(2)], {}),
    "Softmax": ("Softmax", [M], {"axis": 2}),
    "LogSoftmax": ("LogSoftmax", [M], {"axis": -3}),
    "Hardmax": ("Hardmax", [M], {"axis": 2}),
    "ArgMax": ("ArgMax", [M], {"axis": 2}),
    "ArgMax: of nothing": ("ArgMax", [M[:0]], {"axis": 0}),
    "ReduceSum": ("ReduceSum", [M, ints(2)], {}),
    "ReduceMax: axis twice": ("ReduceMax", [M, ints(0, 0)], {}),
    "LpNormalization": ("LpNormalization", [M], {"axis": 2}),
    "MatMul": ("MatMul", [M, M], {}),
    "MatMul: scalar": ("MatMul", [M, floats(1)[0, ...]], {}),
    "Gemm": ("Gemm", [M, M], {}),
    "Einsum": ("Einsum", [M, M], {"equation": "ij,jk->ik"}),
    "Einsum: letters": ("Einsum", [M], {"equation": "ijk->i"}),
    "Add": ("Add", [M, M.T.copy()], {}),
    "PRelu": ("PRelu", [M[0], M], {}),
    "Conv: channels": ("Conv", [IMAGE, KERNEL[:, :1]], {}),
    "Conv: group": ("Conv", [IMAGE, KERNEL], {"group": 3}),
    "Conv: kernel": ("Conv", [IMAGE[..., :1, :1], KERNEL], {}),
    "Conv: strides": ("Conv", [IMAGE, KERNEL], {"strides": [0, 1]}),
    "Conv: bias": ("Conv", [IMAGE, KERNEL, floats(1, 2, 3)], {}),
    "ConvTranspose": ("ConvTranspose", [IMAGE, KERNEL[:1]], {}),
    "MaxPool": ("MaxPool", [M], {"kernel_shape": [1]}),
    "AveragePool": ("AveragePool", [IMAGE], {"kernel_shape": [2]}),
    "MaxUnpool": (
        "MaxUnpool",
        [IMAGE[:, :, :1, :1], np.full((1, 2, 1, 1), 99)],
        {"kernel_shape": [2, 2]},
    ),
    "MaxRoiPool": (
        "MaxRoiPool",
        [IMAGE, floats(1, 0, 0, 1, 1)[None]],
        {"pooled_shape": [1, 1]},
    ),
    "RoiAlign": ("RoiAlign", [IMAGE, floats(0, 0, 1, 1)[None], ints(1)], {}),
    "Resize: scales": ("Resize", [IMAGE, None, floats(1, 1, -1, 1)], {}),
    "Resize: rank": ("Resize", [IMAGE, None, floats(2, 2, 2)], {}),
    "GridSample": ("GridSample", [IMAGE, np.ones((1, 2, 2, 3), np.float32)], {}),
    "BatchNormalization": ("BatchNormalization", [IMAGE, *[floats(1, 2, 3)] * 4], {}),
    "InstanceNormalization": ("InstanceNormalization", [IMAGE, ONE[:1], ONE[:1]], {}),
    "GroupNormalization": (
        "GroupNormalization",
        [IMAGE, ONE, ONE],
        {"num_groups": 3},
    ),
    "LayerNormalization": ("LayerNormalization", [M, ONE], {"axis": -1}),
    "NegativeLogLikelihoodLoss": ("NegativeLogLikelihoodLoss", [M, ints(0, 3)], {}),
    "LSTM": ("LSTM", [M[None], IMAGE[0, :1], IMAGE[0, :1]], {"hidden_size": 3}),
    "CenterCropPad": ("CenterCropPad", [M, ints(1, -1)], {}),
    "Col2Im": ("Col2Im", [M[None], ints(3, 3), ints(2, 2)], {}),
    "DFT": ("DFT", [M[..., None], None, np.array(5)], {}),
    "STFT": ("STFT", [M[:1, :, None], np.array(1), None, np.array(9)], {}),
    "StringNormalizer": ("StringNormalizer", [np.array([[["a"]]], object)], {}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_in_words(name):
    op, inputs, attributes, *outputs = WRONG[name]
    with pytest.raises(ExecutionError) as found:
        run_node(op, inputs, attributes, outputs=outputs[0] if outputs else 1)
    told = str(found.value)
    assert f"running {op} node" in told
    assert not any(leak in told for leak in ("NoneType", "object at 0x", "__"))
    assert len(told.split(": ", 1)[1]) > 15
