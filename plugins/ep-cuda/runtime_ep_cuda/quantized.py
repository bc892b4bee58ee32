"""QuantizeLinear and DequantizeLinear: as expressions, and dequantized constants.

A constant behind DequantizeLinear is a constant, too: worked out once, on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from runtime.graph import Node, Value
from runtime.valuetypes import numpy_dtype
from runtime_ep_cpu.ops import table

from runtime_ep_cuda.dtypes import BFLOAT, FLOAT, HALF, dtype_of, rank_of

Array = np.ndarray[Any, Any]
Emit = Callable[..., int]
"""Appends an instruction: operation, inputs, attributes; returns the result's number."""

NAMES = {"QuantizeLinear": "quantize", "DequantizeLinear": "dequantize"}
WHOLE = frozenset(np.dtype(name) for name in ("int8", "uint8", "int16", "uint16"))
"""What is quantized to."""

_FLOATS = frozenset((FLOAT, HALF, BFLOAT))


def dequantizes_a_constant(node: Node | None) -> bool:
    """Whether a node gives nothing but a constant in floats."""
    return (
        node is not None
        and node.op_type == "DequantizeLinear"
        and not node.domain
        and all(value is None or value.is_constant for value in node.inputs)
        and not table.refuses(node)
    )


def is_constant(value: Value) -> bool:
    """Whether the contents of a value are known before any run."""
    return value.is_constant or dequantizes_a_constant(value.producer)


def constant_of(value: Value) -> Array | None:
    """Return the contents of a constant, dequantized if need be, else ``None``."""
    node = value.producer
    if node is None or not dequantizes_a_constant(node):
        return value.constant()
    read = [None if v is None else v.constant() for v in node.inputs]
    return np.asarray(table.bind(node)(*read))


def shape_of(value: Value) -> tuple[int, ...] | None:
    """Return a constant's shape without working it out."""
    source = value
    if value.const is None and value.producer is not None:
        first = value.producer.inputs[0]
        source = value if first is None else first
    return None if source.const is None else tuple(source.const.shape)


def axis_of(node: Node, rank: int) -> int:
    """Return the axis along which a node's scales lie, if they are several."""
    axis = int(node.attribute("axis", 0 if node.domain else 1))
    return axis + rank if axis < 0 else axis


def is_embedded(value: Value | None) -> bool:
    """Whether a scale or zero point is one number that an expression can hold."""
    return value is None or (value.is_constant and shape_of(value) in ((), (1,)))


def operands_of(node: Node) -> tuple[Value, ...]:
    """Return the inputs that an expression reads: what it does not hold itself."""
    first, *others = node.inputs[:3]
    read = [first, *(v for v in others if not is_embedded(v))]
    return tuple(value for value in read if value is not None)


def refusal(node: Node) -> str:
    """Say why a node cannot be computed on a GPU at all, or return ``""``."""
    x, scale, zero = (node.input(place) for place in range(3))
    quantizes = node.op_type == "QuantizeLinear"
    wide, whole = (x, node.outputs[0]) if quantizes else (node.outputs[0], x)
    known = WHOLE if quantizes else WHOLE | {np.dtype("int32")}
    if dtype_of(whole) not in known or (zero and dtype_of(zero) != dtype_of(whole)):
        return f"{node.op_type} of these element types is not supported"
    if not {dtype_of(wide), dtype_of(scale)} <= _FLOATS:
        return f"{node.op_type} of these element types is not supported"
    if node.attribute("block_size", 0) or (rank_of(scale) or 0) > 1:
        return "scales of blocks are not supported"
    if node.attribute("precision", 0):
        return "a precision of QuantizeLinear is not supported"
    return ""


def is_elementwise(node: Node) -> bool:
    """Whether scales broadcast as they are: one number, or one for the last axis."""
    rank = rank_of(node.input(0))
    scale, zero = node.input(1), node.input(2)
    if rank is None or not rank or refusal(node):
        return False
    plain = all(
        is_embedded(v) or rank_of(v) == 0 or (v is not None and v.shape == (1,))
        for v in (scale, zero)
    )
    return plain or axis_of(node, rank) == rank - 1


def write(emit: Emit, node: Node, x: int, numbers: Sequence[int]) -> int:
    """Emit a node; ``numbers`` are those of the scale and zero point it does not hold."""
    scale, zero = node.input(1), node.input(2)
    left = iter(numbers)
    factor = _number(emit, scale) if is_embedded(scale) else next(left)
    shift = None
    if zero is not None:
        shift = _number(emit, zero) if is_embedded(zero) else next(left)
        shift = emit("convert", (shift,), type="float32")
    target = numpy_dtype(node.outputs[0].dtype or 1)
    if node.op_type == "DequantizeLinear":
        return _dequantize(emit, x, factor, shift, target)
    kind = dtype_of(scale) or FLOAT
    return quantize(emit, x, factor, shift, kind, target)


def _number(emit: Emit, value: Value | None) -> int:
    array = None if value is None else value.constant()
    if array is None:
        raise ValueError("a scale is missing")
    number = np.float32(array.reshape(()))
    return emit("constant", (), type="float32", value=float(number))


def _dequantize(emit: Emit, x: int, scale: int, zero: int | None, target: Any) -> int:
    made = emit("convert", (x,), type="float32")
    if zero is not None:
        made = emit("subtract", (made, zero))
    made = emit("multiply", (made, scale))
    return made if target == FLOAT else emit("round_to", (made,), type=target.name)


def quantize(
    emit: Emit, x: int, scale: int, zero: int | None, kind: Any, target: Any
) -> int:
    """Emit a quotient, rounded to even, shifted and saturated; NaN is the least number.

    ``kind`` is the float type that the quotient is rounded to.
    """
    limits = np.iinfo(target)
    if kind != FLOAT:
        x = emit("round_to", (x,), type=kind.name)
    made = emit("divide", (x, scale))
    if kind != FLOAT:
        made = emit("round_to", (made,), type=kind.name)
    made = emit("rint", (made,))
    if zero is not None:
        made = emit("add", (made, zero))
    least, most = (
        emit("constant", (), type="float32", value=float(limit))
        for limit in (limits.min, limits.max)
    )
    inside = emit("minimum", (emit("maximum", (made, least)), most))
    lost = emit("is_nan", (made,))
    return emit("convert", (emit("where", (lost, least, inside)),), type=target.name)


def are_alike(one: Node, other: Node) -> bool:
    """Whether what one node dequantizes is what the other quantizes to, all by one scale."""
    if dtype_of(one.inputs[0]) != dtype_of(other.outputs[0]):
        return False
    if not all(is_embedded(v) for n in (one, other) for v in n.inputs[1:3]):
        return False
    return _parameters(one) == _parameters(other)


def _parameters(node: Node) -> tuple[Any, float, float]:
    scale, zero = (
        0.0 if v is None else float(np.asarray(v.constant(), np.float64).reshape(()))
        for v in (node.input(1), node.input(2))
    )
    return dtype_of(node.input(1)), scale, zero
