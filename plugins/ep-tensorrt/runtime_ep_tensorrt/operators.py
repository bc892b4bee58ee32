"""Which operators TensorRT's ONNX parser imports, and for which element types.

These are the rows of the list that the parser's project publishes (``docs/operators.md``
of onnx-tensorrt) for TensorRT 10.15, the newest that was at hand; 10.16 and 11 take no
less. Where TensorRT is there, its parser is asked as well and has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping

LISTED = "10.15"
"""The release whose list this is."""
OPSETS = range(9, 25)
"""Versions of the standard's operators that it takes."""

_FLOATS = frozenset((1, 10, 16))
_HALVES = frozenset((1, 10))
_NUMBERS = _FLOATS | {6, 7}
_ANY = _NUMBERS | {9}
_BOOL = frozenset((9,))
_WIDE = _ANY | {2}
_QUANTIZED = frozenset((3, 17, 22, 23))

_ROWS: tuple[tuple[frozenset[int], str], ...] = (
    (
        _FLOATS,
        """Acos Acosh Asin Asinh Atan Atanh Attention AveragePool BatchNormalization Ceil
        Celu Clip Conv ConvTranspose Cos Cosh CumSum Dropout Einsum Elu Erf Exp Floor GRU
        Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization
        HardSigmoid HardSwish Hardmax InstanceNormalization IsInf LRN LSTM
        LayerNormalization LeakyRelu Log LogSoftmax LpNormalization LpPool MatMul MaxPool
        MeanVarianceNormalization PRelu QuantizeLinear RMSNormalization RNN RandomNormal
        RandomNormalLike RandomUniform RandomUniformLike Reciprocal Resize RotaryEmbedding
        Round Scan Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Tan Tanh
        ThresholdedRelu Upsample""",
    ),
    (
        _HALVES,
        """BlackmanWindow DeformConv GridSample HammingWindow HannWindow Mish
        NonMaxSuppression NonZero RoiAlign""",
    ),
    (frozenset((1,)), "STFT"),
    (
        _NUMBERS,
        """Abs Add ArgMax ArgMin DepthToSpace Div Equal Greater GreaterOrEqual IsNaN Less
        LessOrEqual Max Mean Min Mod Mul Neg Pad Pow Range ReduceL1 ReduceL2 ReduceLogSum
        ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
        Relu Scatter ScatterElements ScatterND Shrink Sign SpaceToDepth Sub Sum TopK""",
    ),
    (_FLOATS | {6}, "TensorScatter"),
    (
        _ANY,
        """Concat Expand EyeLike Flatten Gather GatherElements GatherND Identity If Loop
        OneHot Reshape ReverseSequence Shape Size Slice Split Squeeze Tile Transpose Trilu
        Unsqueeze Where""",
    ),
    (_WIDE, "Cast CastLike"),
    (_ANY | _QUANTIZED, "Constant ConstantOfShape"),
    (_BOOL, "And Not Or Xor"),
    (_QUANTIZED, "DequantizeLinear"),
)

OPERATORS: Mapping[str, frozenset[int]] = {
    name: types for types, names in _ROWS for name in names.split()
}
"""Operator → ONNX's codes of the element types that its values may have."""


def computes(op_type: str, dtype: int) -> bool:
    """Whether an operator takes values of a floating type.

    What `DequantizeLinear` makes is not in its row: it has the type of the scale.
    """
    if op_type == "DequantizeLinear":
        return dtype in _FLOATS
    return dtype in OPERATORS.get(op_type, ())
