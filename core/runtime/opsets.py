"""Since which opset each operator of ai.onnx means what it means in the newest."""

from __future__ import annotations

from functools import cache
from typing import Any

import onnx

from runtime.graph import Node, Value
from runtime.schema import schema

NEWEST = 28
"""The opset of ai.onnx whose meanings this release knows."""

SAME = {
    name: since
    for since, names in {
        1: "ArgMax ArgMin AveragePool Constant DepthToSpace SpaceToDepth Flatten Gather "
        "GlobalAveragePool GlobalMaxPool Identity If Loop LRN LpNormalization Conv "
        "MatMul MaxPool MaxRoiPool RandomNormal RandomNormalLike RandomUniform Shape "
        "RandomUniformLike Size Softplus Softsign Transpose",
        2: "GlobalLpPool LpPool",
        4: "Concat",
        5: "Reshape",
        6: "Abs Cast Ceil Elu Exp Floor HardSigmoid InstanceNormalization LeakyRelu "
        "Log Max Mean Min Neg Reciprocal Relu Selu Sigmoid Sqrt Sum Tanh Tile",
        7: "Acos Add And Asin Atan Cos Div Equal GRU Gemm Greater LSTM Less Mul Or Pow "
        "Multinomial PRelu RNN Sin Sub Tan Xor",
        8: "Expand",
        9: "Acosh Asinh Atanh Cosh Sinh Compress ConstantOfShape Erf EyeLike IsNaN Sign "
        "MaxUnpool MeanVarianceNormalization NonZero Scan Where",
        10: "DequantizeLinear QuantizeLinear IsInf Mod NonMaxSuppression QLinearMatMul "
        "ReverseSequence Slice ThresholdedRelu TopK",
        11: "BitShift Clip ConvTranspose CumSum Det GatherElements GatherND OneHot Pad "
        "Range Round ScatterElements ScatterND SplitToSequence Unique",
        12: "Celu Dropout Einsum GreaterOrEqual LessOrEqual NegativeLogLikelihoodLoss "
        "SoftmaxCrossEntropyLoss",
        13: "Hardmax LogSoftmax ReduceSum Softmax Squeeze Unsqueeze Resize",
        14: "BatchNormalization HardSwish",
        15: "Bernoulli CastLike Optional OptionalGetElement OptionalHasElement",
        16: "RoiAlign",
        18: "Mish ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean "
        "ReduceMin ReduceProd ReduceSumSquare Split",
        19: "DeformConv",
        20: "DFT GridSample",
        23: "Attention",
    }.items()
    for name in names.split()
}
"""Operators whose later versions only added element types and optional parts.

Exceptions are Attention's fourth output, pools whose output size is rounded up, and
casts to and from floats of eight bits.
"""

_EIGHT_BIT_FLOATS = frozenset((17, 18, 19, 20, 24))


def is_current(node: Node) -> bool:
    """Whether a node of ai.onnx means the same in the newest opset as in its own."""
    own = _since(node.op_type, node.version)
    if not own:
        return False
    if own == _since(node.op_type, newest()):
        return True
    return own >= SAME.get(node.op_type, NEWEST + 1) and not _is_exception(node)


def _is_exception(node: Node) -> bool:
    if node.op_type == "Attention":
        return len(node.outputs) > 3
    if node.op_type in ("AveragePool", "LpPool", "MaxPool"):
        return bool(node.attribute("ceil_mode", 0))
    if node.op_type in ("Cast", "CastLike"):
        values = (*node.inputs, *node.outputs)
        types = {value.dtype for value in values if value is not None}
        return not _EIGHT_BIT_FLOATS.isdisjoint(types | {node.attribute("to")})
    return False


@cache
def newest() -> int:
    """Return the newest opset that both this release and the onnx package know."""
    return min(NEWEST, int(onnx.defs.onnx_opset_version()))


@cache
def _since(op_type: str, version: int) -> int:
    """Return the opset that last changed an operator, 0 where it does not exist."""
    found = schema("", op_type, version)
    return 0 if found is None or found.deprecated else int(found.since_version)


def lowest(node: Node) -> int:
    """Return the lowest opset of its domain in which a node is valid and means the same."""
    found = schema(node.domain, node.op_type, node.version)
    if found is None:
        return node.version
    since = int(found.since_version)
    if node.domain or not is_current(node) or _is_exception(node):
        return since
    for version in _history(node.op_type, since):
        if version == since or _admits(version, node):
            return version
    return since


def means_the_same(node: Node, version: int) -> bool:
    """Whether a node means under another opset what it means under its own."""
    own = schema(node.domain, node.op_type, node.version)
    other = schema(node.domain, node.op_type, version)
    if own is None:
        return node.version == version or other is None
    if other is None or other.deprecated:
        return False
    if own.since_version == other.since_version:
        return True
    since = SAME.get(node.op_type, NEWEST + 1)
    same = not node.domain and is_current(node) and other.since_version >= since
    return same and version <= NEWEST


@cache
def _history(op_type: str, until: int) -> tuple[int, ...]:
    """Return the versions of one meaning up to one of them, ascending.

    Those before 11 are left out where 11 is one: it allowed negative axes and indices.
    """
    first = SAME.get(op_type, until)
    found = {_since(op_type, opset) for opset in range(first, until + 1)}
    if 11 in found:
        first = 11
    return tuple(sorted(version for version in found if first <= version <= until))


def _admits(version: int, node: Node) -> bool:
    """Whether an operator's version has a node's attributes, inputs and types."""
    found = schema("", node.op_type, version)
    if not node.attributes.keys() <= _attributes(node.op_type, version):
        return False
    if not found.min_input <= len(node.inputs) <= found.max_input:
        return False
    if not found.min_output <= len(node.outputs) <= found.max_output:
        return False
    return _fits(found.inputs, node.inputs) and _fits(found.outputs, node.outputs)


@cache
def _attributes(op_type: str, version: int) -> frozenset[str]:
    return frozenset(schema("", op_type, version).attributes)


def _fits(formal: Any, values: tuple[Value | None, ...]) -> bool:
    for index, value in enumerate(values):
        parameter = formal[min(index, len(formal) - 1)]
        if value is None:
            if parameter.option.name == "Single":
                return False
        elif value.type is not None and str(value.type) not in parameter.types:
            return False
    return True
