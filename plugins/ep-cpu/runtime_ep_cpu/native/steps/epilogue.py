"""What follows on a product, element by element, as one expression over its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.microkernel import UNLIMITED
from runtime_ep_cpu.native.express import ROUNDED, element_of, express
from runtime_ep_cpu.native.layout import Layout
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.native.steps.limits import limits_of
from runtime_ep_cpu.native.steps.view import reshaped

Row = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Addend:
    """What Gemm adds to its product, and the factors of both."""

    value: Value | None = None
    beta: float = 1.0
    alpha: float = 1.0


@dataclass(frozen=True, slots=True)
class Epilogue:
    """What is done with a product before it is written.

    ``bias`` is a constant row that sums begin with. The expression's first operand is
    the product, ``operands`` are the others; ``wide`` tells which of them have a value
    per column. ``expression`` is ``None`` where the product is the result, but for what
    is outside of ``limits`` and becomes one of them.
    """

    result: Value
    bias: Row | None
    expression: Expression | None
    operands: tuple[Value, ...]
    wide: tuple[bool, ...]
    limits: tuple[float, float] = UNLIMITED

    @property
    def element(self) -> str:
        """The result's element type."""
        return element_of(self.result) or "float"

    def within_limits(self) -> Epilogue:
        """Return this epilogue with limits in place of an expression that is no more."""
        if self.expression is None:
            return self
        constants = [value.constant() for value in self.operands]
        limits = limits_of(self.expression, constants)
        if limits is None:
            return self
        return replace(self, expression=None, operands=(), wide=(), limits=limits)


def epilogue_of(
    product: Value,
    after: Sequence[Node],
    columns: int | None,
    addend: Addend,
    axis: int = -1,
) -> Epilogue:
    """Return the epilogue of a product of so many columns and the nodes that follow.

    ``axis`` is that of the product along which its columns lie.
    """
    place = axis if axis < 0 else axis - len(product.shape or ())
    rest = list(after)
    bias = None
    if addend.value is not None:
        bias = _row(addend.value.constant(), columns, -1, addend.beta)
        if bias is not None and addend.alpha == 1.0:
            addend = Addend()
        else:
            bias = None
    elif rest and addend.alpha == 1.0 and element_of(product) not in ROUNDED:
        bias = _added_row(rest[0], product, columns, place)
        if bias is not None:
            product = rest.pop(0).outputs[0]
    result = rest[-1].outputs[0] if rest else product
    expression, operands = express(rest, [result], [product])
    operands = (*operands[1:], *([addend.value] if addend.value is not None else []))
    expression = _prepared(expression, product, addend)
    plain = not expression.instructions and element_of(result) == "float"
    return Epilogue(
        result,
        bias,
        None if plain else expression,
        operands,
        tuple(_is_wide(value, result, place) for value in operands),
    )


def _row(
    array: Row | None, columns: int | None, place: int, factor: float = 1.0
) -> Row | None:
    """Return a constant as a row of float32, where it is the same for every row."""
    if array is None or columns is None or array.size not in (1, columns):
        return None
    if array.size != 1 and (array.ndim < -place or array.shape[place] != columns):
        return None
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        return None
    wide = array.astype(np.float32).reshape(-1) * np.float32(factor)
    return np.ascontiguousarray(np.broadcast_to(wide, (columns,)))


def _added_row(
    node: Node, product: Value, columns: int | None, place: int
) -> Row | None:
    """Return the constant row that a node adds to a product."""
    if node.op_type != "Add" or node.domain:
        return None
    others = [value for value in node.inputs if value is not product]
    if len(others) != 1 or others[0] is None:
        return None
    array = others[0].constant()
    if array is None or array.ndim > len(node.outputs[0].shape or ()):
        return None
    return _row(array, columns, place)


def _is_wide(value: Value, result: Value, place: int) -> bool:
    shape, whole = value.shape or (), result.shape or ()
    if len(shape) < -place:
        return False
    return bool(shape[place] != 1 or whole[place] == 1)


def _prepared(expression: Expression, product: Value, addend: Addend) -> Expression:
    """Return the expression over a float32 sum: scaled, added to and rounded first.

    The addend becomes the last operand. A product of `ROUNDED` type is rounded before
    anything follows, as if it had been written and read.
    """
    narrow = element_of(product) or "float"
    count = len(expression.operands)
    extra = [element_of(addend.value) or "float"] if addend.value is not None else []
    base = count + len(extra)
    first: list[Instruction] = []

    def apply(name: str, *inputs: int, **attributes: Any) -> int:
        first.append(Instruction(name, inputs, tuple(sorted(attributes.items()))))
        return base + len(first) - 1

    def scaled(number: int, factor: float) -> int:
        if factor == 1.0:
            return number
        constant = apply("constant", type="float", value=factor)
        return apply("multiply", number, constant)

    start = scaled(0, addend.alpha)
    if extra:
        start = apply("add", start, scaled(count, addend.beta))
    if narrow in ROUNDED and expression.instructions:
        rounded = apply("convert", start, type=narrow)
        start = apply("convert", rounded, type="float")
    shift = len(extra) + len(first)

    def moved(number: int) -> int:
        if number <= 0:
            return start if number == 0 else number
        return number if number < count else number + shift

    then = [
        Instruction(name, tuple(map(moved, inputs)), attributes)
        for name, inputs, attributes in expression.instructions
    ]
    return Expression(
        ("float", *expression.operands[1:], *extra),
        (*first, *then),
        tuple((moved(number), element) for number, element in expression.results),
    )


def operand_layout(
    planner: Planner,
    value: Value,
    shape: tuple[int, ...],
    whole: tuple[int, ...],
    wide: bool,
) -> Layout:
    """Return an operand over the result's ``shape``, looked at as ``whole`` matrices.

    ``wide`` tells whether it has a value per column; else it has one per row.
    """
    layout = planner.layout(value)
    if not wide and whole[-1] > 1:
        thin = layout.broadcast((*shape[:-1], 1))
        return reshaped(planner, thin, (*whole[:-1], 1)).broadcast(whole)
    found = reshaped(planner, layout.broadcast(shape), whole)
    if wide and whole[-1] > 1 and found.strides[-1] != 1:
        found = planner.contiguous(found)
    return found
