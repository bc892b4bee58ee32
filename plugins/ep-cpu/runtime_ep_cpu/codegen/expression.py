"""Element-wise programs: what a fused group computes for each element, as data.

An `Expression` names its operands' element types and lists instructions; values are
numbered, operands first, then one per instruction. The same text serves as a key of the
kernel library and is evaluated over vectors by `evaluate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from runtime_ep_cpu import formulas
from runtime_ep_cpu.codegen.builder import Val, kind
from runtime_ep_cpu.codegen.vmath import FUNCTIONS

ABSENT: Final = -1


class Instruction(NamedTuple):
    """One operation: its name, the numbers of its inputs, its attributes.

    `ABSENT` stands for an optional input that is not given. The name is a function of
    `runtime_ep_cpu.formulas`, or one of `SPECIAL`.
    """

    operation: str
    inputs: tuple[int, ...]
    attributes: tuple[tuple[str, Any], ...] = ()


class Expression(NamedTuple):
    """Operands' element types, instructions, and the numbers and types of results.

    Element types are LLVM's: ``float``, ``half``, ``bfloat``, ``double``, ``i64``,
    ``i32``, ``i16``, ``i8``, and ``i1`` for what ONNX calls bool (a byte in memory).
    ``half`` and ``bfloat`` operands are widened to ``float`` when they are read, and
    results are narrowed when they are written.
    """

    operands: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    results: tuple[tuple[int, str], ...]


def _function(name: str) -> Any:
    return lambda m, *operands: getattr(m, name)(*operands)


SPECIAL: Mapping[str, Any] = {
    **{name: _function(name) for name in FUNCTIONS},
    "constant": lambda m, *, value, type: m.constant(value, type),
    "convert": lambda m, x, *, type: m.convert(x, type),
    "where": lambda m, c, x, y: m.where(c, x, y),
    "equal": lambda m, x, y: m.equal(x, y),
    "not": lambda m, x: ~x,
    "and": lambda m, x, y: x & y,
    "or": lambda m, x, y: x | y,
    "xor": lambda m, x, y: x ^ y,
    "sin": lambda m, x: m.sin(x),
    "cos": lambda m, x: m.cos(x),
    "less": lambda m, x, y: x < y,
    "less_or_equal": lambda m, x, y: x <= y,
    "greater": lambda m, x, y: x > y,
    "greater_or_equal": lambda m, x, y: x >= y,
}
"""Operations that are no formula: functions, comparisons, conversions, constants."""


def evaluate(expression: Expression, operands: Sequence[Val], m: Any) -> list[Val]:
    """Return the results for operands, already widened, over a math namespace."""
    values = list(operands)
    for operation, inputs, attributes in expression.instructions:
        formula = SPECIAL.get(operation) or getattr(formulas, operation)
        given = [None if i == ABSENT else values[i] for i in inputs]
        values.append(formula(m, *given, **dict(attributes)))
    return [values[number] for number, _ in expression.results]


def widened(element: str) -> str:
    """Return the type an element is computed in."""
    return "float" if element in ("half", "bfloat") else element


def is_float(value: Val) -> bool:
    """Whether a value's elements are floats."""
    return kind(value.type).is_float
