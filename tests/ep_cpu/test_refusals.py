"""What does not fit is refused in words: indices, axes, sizes, ranks and attributes."""

import numpy as np
import pytest
from evaluate import run_node
from runtime.errors import ExecutionError

pytestmark = pytest.mark.filterwarnings("error")


def floats(*values):
    return np.array(values, np.float32)


def ints(*values):
    return np.array(values, np.int64)


M = np.arange(6, dtype=np.float32).reshape(2, 3)
IMAGE = np.ones((1, 2, 4, 4), np.float32)
KERNEL = np.ones((2, 2, 2, 2), np.float32)
ONE = np.ones(2, np.float32)
HEADS = np.ones((1, 2, 2, 4), np.float32)
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
    "Attention: mode": ("Attention", [HEADS] * 3, {"qk_matmul_output_mode": 4}),
    "Attention: type": ("Attention", [HEADS] * 3, {"softmax_precision": 7}),
    "Attention: heads": (
        "Attention",
        [HEADS[0]] * 3,
        {"q_num_heads": -1, "kv_num_heads": -1},
    ),
    "RotaryEmbedding: caches": (
        "RotaryEmbedding",
        [HEADS, M[:, :2], M[:1, :2], ints(0, 0)[None]],
        {},
    ),
    "LayerNormalization: type": ("LayerNormalization", [M, M[0]], {"stash_type": 7}),
    "EyeLike: type": ("EyeLike", [M], {"dtype": 99}),
    "BatchNormalization: scalar": (
        "BatchNormalization",
        [IMAGE, floats(1)[0, ...], ONE, ONE, ONE],
        {},
    ),
    "Conv: two paddings": (
        "Conv",
        [IMAGE, KERNEL],
        {"auto_pad": "SAME_UPPER", "pads": [1, 1, 1, 1]},
    ),
    "ConvTranspose: output_padding": (
        "ConvTranspose",
        [IMAGE, KERNEL],
        {"output_padding": [1, 1]},
    ),
    "ConvTranspose: output_padding below 0": (
        "ConvTranspose",
        [IMAGE, KERNEL],
        {"output_padding": [-1, 0]},
    ),
    "ConvTranspose: output_shape": (
        "ConvTranspose",
        [IMAGE, KERNEL],
        {"output_shape": [5]},
    ),
    "MaxUnpool: output_shape": (
        "MaxUnpool",
        [IMAGE, np.zeros((1, 2, 4, 4), np.int64), ints(9, 2, 5, 5)],
        {"kernel_shape": [2, 2]},
    ),
    "NonMaxSuppression: two limits": (
        "NonMaxSuppression",
        [IMAGE[:, 0], IMAGE[:, 0, :1], ints(1, 2)],
        {},
    ),
    "RoiAlign: no number": (
        "RoiAlign",
        [IMAGE, floats(0, 0, np.nan, 1)[None], ints(0)],
        {},
    ),
    "Resize: axes twice": (
        "Resize",
        [IMAGE, None, floats(2, 2)],
        {"axes": [2, -2]},
    ),
    "Slice: matrix of starts": ("Slice", [M, ints(0)[None], ints(1)], {}),
    "Slice: scalar": ("Slice", [M, ints(0)[0, ...], ints(1)], {}),
    "Reshape: matrix": ("Reshape", [M, ints(6)[None]], {}),
    "Squeeze: scalar": ("Squeeze", [M[None], ints(0)[0, ...]], {}),
    "Unsqueeze: matrix": ("Unsqueeze", [M, ints(0)[None]], {}),
    "ReduceSum: scalar axes": ("ReduceSum", [M, ints(0)[0, ...]], {}),
    "Tile: matrix": ("Tile", [M, ints(1, 1)[None]], {}),
    "RandomNormal: scale": ("RandomNormal", [], {"shape": [1], "scale": -1.0}),
    "RandomUniform: no end": (
        "RandomUniform",
        [],
        {"shape": [1], "high": float("inf")},
    ),
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
