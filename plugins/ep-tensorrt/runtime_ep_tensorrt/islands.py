"""Which nodes stay in float32 when a subgraph is computed in halves, and why.

Every float32 value may be had in both types, so that any choice makes a valid model; this
one keeps what halves would spoil: statistics, numbers that overflow or vanish, positions,
sizes and coordinates. Products, convolutions and activations go to halves.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

import ml_dtypes
import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from runtime_ep_tensorrt.facts import BFLOAT16, FLOAT, HALF, Facts, attribute, bodies
from runtime_ep_tensorrt.operators import computes


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Half:
    """A narrow type: ONNX's code, the largest number and the least one with all its bits."""

    code: int
    largest: float
    least: float

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """NumPy's name of it."""
        return np.dtype(np.float16 if self.code == HALF else ml_dtypes.bfloat16)


FP16 = Half(HALF, 65504.0, 2.0**-14)
BF16 = Half(BFLOAT16, float(ml_dtypes.finfo(ml_dtypes.bfloat16).max), 2.0**-126)

STATISTICS = words(
    """CumSum Exp Log Pow ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean
    ReduceProd ReduceSum ReduceSumSquare"""
)
"""What they make stays in float32 through the arithmetic that follows."""
WHOLE = words(
    """BlackmanWindow ConstantOfShape DeformConv EyeLike GridSample HammingWindow
    HannWindow InstanceNormalization LRN LogSoftmax LpNormalization
    MeanVarianceNormalization NonMaxSuppression OneHot RandomNormal RandomNormalLike
    RandomUniform RandomUniformLike Range RoiAlign STFT TensorScatter"""
)
NORMALIZATIONS = frozenset(
    ("GroupNormalization", "LayerNormalization", "RMSNormalization", "Softmax")
)
"""They keep their sums in float32 by themselves (``stash_type``), unless asked otherwise."""
ARITHMETIC = words(
    """Abs Add Ceil Clip Div Equal Floor Greater GreaterOrEqual Less LessOrEqual Max Mean
    Min Mod Mul Neg Reciprocal Round Sign Sqrt Sub Sum Where"""
)
MOVEMENT = words(
    """ArgMax ArgMin Cast Concat DepthToSpace Dropout Expand Flatten Gather GatherElements
    GatherND Identity IsInf IsNaN Pad ReduceMax ReduceMin Reshape ReverseSequence Shape Size
    Slice SpaceToDepth Split Squeeze Tile TopK Transpose Trilu Unsqueeze"""
)
"""They compute no new numbers, and are done in the type in which the numbers come."""
BOUNDED = words(
    """Atan Cos Erf GroupNormalization HardSigmoid Hardmax InstanceNormalization
    LayerNormalization LpNormalization RMSNormalization Sigmoid Sin Softmax Softsign
    Tanh"""
)
"""What they make fits into halves, whatever goes in."""
WEIGHTY = words(
    """Attention Conv ConvTranspose DequantizeLinear Einsum GRU Gemm LSTM QuantizeLinear
    RNN"""
)
FIXED = {"Resize": (1, 2), "Upsample": (1,), "Dropout": (1,)}
"""Inputs whose element type is another one's business."""
BIASES = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "GRU": 3, "LSTM": 3, "RNN": 3}
COORDINATES = frozenset(("GridSample", "NonMaxSuppression", "RoiAlign"))
INTEGERS = frozenset((2, 3, 4, 5, 6, 7, 12, 13))


def convertible(node: NodeProto, facts: Facts) -> list[str]:
    """Return the float32 inputs of a node that have its type."""
    fixed = FIXED.get(node.op_type, ())
    return [
        name
        for index, name in enumerate(node.input)
        if name and index not in fixed and facts.is_float(name)
    ]


@dataclass(slots=True)
class Wishes:
    """What a session asks to keep in float32: operators, nodes by name, normalisations."""

    operators: Collection[str] = ()
    nodes: Collection[str] = ()
    normalizations: bool = False


@dataclass(slots=True)
class _Marks:
    """What is known of float32 values, by name."""

    high: set[str] = field(default_factory=set)
    statistic: set[str] = field(default_factory=set)
    wide: set[str] = field(default_factory=set)
    counted: set[str] = field(default_factory=set)
    """Made of integers, shapes and single numbers only: positions, sizes, masks."""


class Islands:
    """The choice for one model; ``reasons[i]`` is why node i stays, ``""`` if it does not."""

    def __init__(self, facts: Facts, half: Half, wishes: Wishes) -> None:
        self._facts = facts
        self._half = half
        self._wishes = wishes
        self._marks = _Marks()
        self._unfit = {
            name: found
            for name, tensor in facts.constants.items()
            if tensor.data_type == FLOAT and (found := unfit(tensor, half))
        }
        self._marks.counted.update(
            name for name in facts.inputs if facts.rank(name) in (0, 1)
        )
        self.reasons = [self._reason(node) for node in facts.nodes]
        self._look_back()

    def _reason(self, node: NodeProto) -> str:
        """Choose for one node, and note what is known of what it makes."""
        made = [name for name in node.output if self._facts.is_float(name)]
        read = convertible(node, self._facts)
        if not made and not read:
            return ""
        variable = [name for name in read if name not in self._facts.constants]
        reason = self._forced(node)
        marks = self._marks
        if not reason and (found := self._constant(node)):
            reason = found.reason
            (marks.wide if found.overflows else marks.statistic).update(made)
        if any(name in marks.wide for name in variable):
            reason = reason or "what it reads may overflow"
            if node.op_type not in BOUNDED:
                marks.wide.update(made)
        if self._is_counted(node):
            reason = reason or "it counts"
            marks.counted.update(made)
        reason = reason or self._following(node, variable)
        self._note(node, variable, made, reason)
        return reason

    def _note(
        self, node: NodeProto, variable: list[str], made: list[str], reason: str
    ) -> None:
        marks, kind = self._marks, node.op_type
        if reason:
            marks.high.update(made)
        carries = kind in ARITHMETIC or kind in MOVEMENT
        if kind in STATISTICS or (
            reason and carries and any(name in marks.statistic for name in variable)
        ):
            marks.statistic.update(made)

    def _forced(self, node: NodeProto) -> str:
        """Say why a node stays whatever it reads."""
        kind, code = node.op_type, self._half.code
        if any(True for _ in bodies(node)):
            return "its bodies stay in float32"
        if kind in self._wishes.operators or self._wished(node):
            return "it was asked for"
        if node.domain or not computes(kind, code):
            return "TensorRT has it in float32 only"
        if self._is_mixed(node):
            return "it has a floating type of its own"
        if kind in STATISTICS:
            return "it is a statistic"
        if kind in WHOLE:
            return "halves would be too coarse"
        if kind == "Cast" and not self._facts.is_float(node.input[0]):
            return "it counts"
        if kind in NORMALIZATIONS and self._wishes.normalizations:
            return "normalisations were asked for"
        return ""

    def _wished(self, node: NodeProto) -> bool:
        named = {node.name, *node.output} - {""}
        return not named.isdisjoint(self._wishes.nodes)

    def _is_mixed(self, node: NodeProto) -> bool:
        if node.op_type == "Cast":
            return False
        if attribute(node, "output_dtype"):
            return True
        types = self._facts.types
        return any(types.get(n) in (10, 11, 16) for n in (*node.input, *node.output))

    def _constant(self, node: NodeProto) -> Unfit | None:
        """Return the constant that has no equal in the narrow type, where that matters."""
        bias = BIASES.get(node.op_type)
        moves = node.op_type in MOVEMENT
        for index, name in enumerate(node.input):
            found = self._unfit.get(name)
            if found is None or index in FIXED.get(node.op_type, ()):
                continue
            if found.overflows or not (moves or index == bias):
                return found
        return None

    def _is_counted(self, node: NodeProto) -> bool:
        """Whether a node makes floats of integers and single numbers alone."""
        if node.op_type in WEIGHTY:
            return False
        facts = self._facts
        for name in filter(None, node.input):
            if name in facts.constants:
                tensor = facts.constants[name]
                long = sum(dim != 1 for dim in tensor.dims)
                if tensor.data_type == FLOAT and long > 1:
                    return False
            elif facts.types.get(name) in (FLOAT, 10, 11, 16) and (
                name not in self._marks.counted
            ):
                return node.op_type in ("Shape", "Size")
        return True

    def _following(self, node: NodeProto, variable: list[str]) -> str:
        marks = self._marks
        follows = any(name in marks.statistic for name in variable)
        if node.op_type in ARITHMETIC and follows:
            return "it goes on with a statistic"
        comes = bool(variable) and all(name in marks.high for name in variable)
        return (
            "its numbers come in float32" if node.op_type in MOVEMENT and comes else ""
        )

    def _look_back(self) -> None:
        """Keep the arithmetic by which coordinates and whole numbers are made."""
        facts = self._facts
        waiting = [
            name
            for node in facts.nodes
            if node.op_type in COORDINATES
            or (node.op_type == "Cast" and attribute(node, "to") in INTEGERS)
            for name in convertible(node, facts)
        ]
        while waiting:
            index = facts.producers.get(waiting.pop())
            if index is None or self.reasons[index]:
                continue
            node = facts.nodes[index]
            if node.op_type in ARITHMETIC or node.op_type in MOVEMENT:
                self.reasons[index] = "coordinates or whole numbers are made of it"
                waiting += convertible(node, facts)


class Unfit(NamedTuple):
    """Why a constant has no equal in a narrow type."""

    reason: str
    overflows: bool


def unfit(tensor: TensorProto, half: Half) -> Unfit | None:
    """Return what is wrong with a constant in a narrow type, if anything is."""
    array = numpy_helper.to_array(tensor)
    magnitude = np.abs(array, where=np.isfinite(array), out=np.zeros_like(array))
    most = float(magnitude.max(initial=0))
    if most > half.largest:
        return Unfit(f"the constant {tensor.name!r} overflows", True)
    if 0 < most < half.least:
        return Unfit(f"the constant {tensor.name!r} would vanish", False)
    return None
