"""Quantized operands as int8: activations, shifted if need be, and constant weights."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import Expression, Instruction
from runtime_ep_cuda.dtypes import FLOAT, dtype_of
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.quantized import constant_of, dequantizes_a_constant
from runtime_ep_cuda.tensor import Tensor

INT8, UINT8 = np.dtype("int8"), np.dtype("uint8")
BYTES = frozenset((INT8, UINT8))

Array = np.ndarray[Any, Any]

_TURNED = Expression(
    1,
    (
        Instruction("constant", (), (("type", "uint8"), ("value", 128))),
        Instruction("bit_xor", (0, 1)),
    ),
    (2,),
)
"""A byte whose highest bit is turned: uint8 less 128 as int8, and the way back."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A value of bytes, the scale of one, and the zero point; both known beforehand."""

    value: Value
    scale: float
    zero: int


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Constant bytes with scales and zero points: one, or one a column of the result.

    ``key`` tells them from the same bytes meant otherwise.
    """

    value: Value
    scale: Array
    zero: Array
    key: Hashable

    def centred(self, axis: int) -> Array:
        """Return the weights less their zero points, which lie along an axis."""
        array = constant_of(self.value)
        if array is None:
            raise ValueError(f"{self.value.name!r} is no constant")
        zero = self.zero.astype(np.int32)
        if zero.size > 1:
            shape = [1] * array.ndim
            shape[axis] = zero.size
            zero = zero.reshape(shape)
        return np.asarray(array.astype(np.int32) - zero)

    def fits(self, axis: int) -> bool:
        """Whether they are int8 without their zero points."""
        if dtype_of(self.value) == INT8 and not self.zero.any():
            return True
        found = self.centred(axis)
        return bool(found.size and found.min() >= -128 and found.max() <= 127)


def single(value: Value | None) -> float | None:
    """Return the one number that a constant holds, else ``None``."""
    array = None if value is None else constant_of(value)
    if array is None or array.size != 1:
        return None
    return float(np.asarray(array, np.float64).reshape(()))


def source_of(value: Value | None, nodes: Collection[Node]) -> Source | None:
    """Return what one of some nodes dequantizes, if it is bytes with one known scale."""
    node = None if value is None else value.producer
    if node is None or node not in nodes or node.op_type != "DequantizeLinear":
        return None
    if dtype_of(value) != FLOAT:
        return None
    return source(node.inputs[0], node.input(1), node.input(2))


def source(
    value: Value | None, scale: Value | None, zero: Value | None
) -> Source | None:
    """Return bytes with a known scale and zero point, else ``None``."""
    factor, place = single(scale), 0.0 if zero is None else single(zero)
    if value is None or dtype_of(value) not in BYTES:
        return None
    if factor is None or place is None or factor <= 0:
        return None
    return Source(value, factor, int(place))


def weights_of(value: Value | None, axis: int) -> Weights | None:
    """Return what a DequantizeLinear of constant bytes reads, scales along an axis."""
    node = None if value is None else value.producer
    if value is None or node is None or not dequantizes_a_constant(node):
        return None
    if dtype_of(value) != FLOAT or node.attribute("block_size", 0):
        return None
    rank = len(node.inputs[0].shape or ())  # type: ignore[union-attr]
    along = node.attribute("axis", 1) % max(rank, 1)
    made = weights(node.inputs[0], node.input(1), node.input(2))
    if made is None or (max(made.scale.size, made.zero.size) > 1 and along != axis):
        return None
    return made


def weights(
    value: Value | None, scale: Value | None, zero: Value | None
) -> Weights | None:
    """Return constant bytes with constant scales and zero points, else ``None``."""
    if value is None or not value.is_constant or dtype_of(value) not in BYTES:
        return None
    factor = np.ones(()) if scale is None else constant_of(scale)
    shift = np.zeros((), np.int32) if zero is None else constant_of(zero)
    if factor is None or shift is None or factor.ndim > 1 or shift.ndim > 1:
        return None
    if factor.dtype == np.float16 or shift.size not in (1, factor.size):
        return None
    return Weights(
        value, factor.astype(np.float64), shift, (factor.tobytes(), shift.tobytes())
    )


def turned(planner: Planner, source: Tensor, made: Tensor) -> None:
    """Make int8 of uint8 less 128, or the other way round."""
    one, other = replace(source, dtype=UINT8), replace(made, dtype=UINT8)
    planner.launch(elementwise(_TURNED, [one], [other]))


def as_int8(planner: Planner, source: Source) -> tuple[Tensor, int]:
    """Return an activation as int8, and its zero point then."""
    if dtype_of(source.value) == INT8:
        return planner.tensor(source.value), source.zero

    def make() -> Tensor:
        given = planner.tensor(source.value)
        made = planner.new(INT8, given.shape, given.order)
        turned(planner, given, made)
        return made

    return planner.derived("as int8", source.value, make), source.zero - 128
