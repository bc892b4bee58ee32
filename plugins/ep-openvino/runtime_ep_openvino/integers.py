"""What becomes of integers: OpenVINO computes 64 bits in 32, some operators in float32."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from runtime.errors import ExecutionError
from runtime.graph import Node, Value
from runtime.plugin import Partition

NARROW, WORDS, WIDE = frozenset((2, 3)), frozenset((6,)), frozenset((7, 12, 13))
"""Element types: 8 bits; int32; and those of which 32 signed bits do not hold all."""

EXACT = 2**22
"""Integers up to here are exact in float32, and so are sums of a few of them."""

HALF = 2**30
"""Integers up to here fit into 32 bits, and so do sums of two of them."""


def _named(operators: str) -> frozenset[str]:
    return frozenset(operators.split())


_GROWING = _named(
    """
    CumProd CumSum Einsum Gemm MatMul Mul Pow ReduceL1 ReduceProd ReduceSum
    ReduceSumSquare Sum
    """
)
_FLOATED = _named(
    """
    Clip Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Not Relu
    Sign Sqrt Trilu Where
    """
)
_INEXACT = _named(
    """
    Einsum Gemm MatMul Pow ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceSum ReduceSumSquare Mean
    """
)
_EIGHT_BIT = _GROWING | _named("Abs Add Clip Div Mean Mod Neg Relu Sub")
_BOUNDS = frozenset(("Clip", "Max", "Min", "Pad", "Slice"))


def against(node: Node) -> str:
    """Say what stands against a node for the integers it computes, or return ``""``."""
    out = node.outputs[0]
    if out.dtype in NARROW and node.op_type in _EIGHT_BIT:
        return "arithmetic in eight bits saturates instead of wrapping"
    if out.dtype in WORDS | WIDE and not is_shape(out):
        if node.op_type in _INEXACT:
            return "such a result of integers is computed in float32"
        if out.dtype in WIDE and node.op_type in _GROWING:
            return "64-bit integers are computed in 32 bits, and this may need more"
    if node.op_type not in _BOUNDS and any(map(_is_beyond, node.inputs)):
        return (
            "integers are computed in 32 bits or in float32, and a constant needs more"
        )
    return ""


def _is_beyond(value: Value | None) -> bool:
    if value is None or not value.is_constant or value.dtype not in WORDS | WIDE:
        return False
    return not _within(value.constant(), HALF if value.dtype in WORDS else EXACT)


def is_shape(value: Value | None, depth: int = 40) -> bool:
    """Whether a value is computed from sizes and constants alone."""
    if value is None or value.is_constant:
        return True
    node = value.producer
    if node is None or node.bodies or not depth:
        return False
    if node.op_type in ("Shape", "Size"):
        return True
    return bool(node.inputs) and all(is_shape(v, depth - 1) for v in node.inputs)


class Guard(NamedTuple):
    """Which inputs of a partition are checked at each run, and up to which integer."""

    inputs: tuple[int, ...]
    limit: int

    def check(self, arrays: Any, values: tuple[Value, ...]) -> None:
        """Raise `ExecutionError` for integers that would not be computed exactly."""
        for index in self.inputs:
            if not _within(arrays[index], self.limit):
                raise ExecutionError(
                    f"input {values[index].name!r} holds integers beyond ±{self.limit}, "
                    f"up to which OpenVINO is exact here for {arrays[index].dtype}"
                )


def guard(partition: Partition) -> Guard:
    """Return what has to be checked at each run of a partition."""
    floated = any(
        node.op_type in _FLOATED
        and any(v is not None and v.dtype in WORDS | WIDE for v in node.inputs)
        for node in partition.nodes
    )
    kinds = WORDS | WIDE if floated else WIDE
    places = enumerate(partition.inputs)
    indices = tuple(index for index, value in places if value.dtype in kinds)
    return Guard(indices, EXACT if floated else HALF)


def _within(array: np.ndarray[Any, Any], limit: int) -> bool:
    if not array.size:
        return True
    low = np.minimum.reduce(array, axis=None)
    return bool(-limit <= low and np.maximum.reduce(array, axis=None) <= limit)
