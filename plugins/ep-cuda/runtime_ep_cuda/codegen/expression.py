"""Element-wise programs: what a fused group computes for each element, as data.

Values are numbered, operands first, then one per instruction. Operands are read at their
tensors' element types and widened: half and bfloat16 are computed in float.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from runtime_ep_cpu import formulas

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
    """How many operands there are, the instructions, and the numbers of the results."""

    operands: int
    instructions: tuple[Instruction, ...] = ()
    results: tuple[int, ...] = (0,)


SAME = Expression(1)
"""The expression that changes nothing."""


def _function(name: str) -> Any:
    return lambda m, *operands: getattr(m, name)(*operands)


_NAMES = (
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh",
    "atanh", "sign", "trunc", "pow", "fmod", "mod", "is_nan", "bit_and", "bit_or",
    "bit_xor", "bit_not", "shift_left", "shift_right",
)  # fmt: skip

SPECIAL: Mapping[str, Any] = {
    **{name: _function(name) for name in _NAMES},
    "constant": lambda m, *, value, type: m.constant(value, type),
    "convert": lambda m, x, *, type: m.convert(x, type),
    "round_to": lambda m, x, *, type: m.round_to(x, type),
    "is_inf": lambda m, x, *, negative=1, positive=1: m.is_inf(x, negative, positive),
    "where": lambda m, c, x, y: m.where(c, x, y),
    "equal": lambda m, x, y: m.equal(x, y),
    "not": lambda m, x: ~x,
    "and": lambda m, x, y: x & y,
    "or": lambda m, x, y: x | y,
    "xor": lambda m, x, y: x ^ y,
    "less": lambda m, x, y: x < y,
    "less_or_equal": lambda m, x, y: x <= y,
    "greater": lambda m, x, y: x > y,
    "greater_or_equal": lambda m, x, y: x >= y,
}
"""Operations that are no formula. ``type`` is a NumPy name: ``float32``, ``bfloat16``, …

``convert`` changes the type as ONNX's Cast does; ``round_to`` rounds to a narrower float
and goes on in the wider one, as if the value had been stored and read again.
"""


def evaluate(expression: Expression, operands: Sequence[Any], m: Any) -> list[Any]:
    """Return the results for operands, already widened, over a math namespace."""
    values = list(operands)
    for operation, inputs, attributes in expression.instructions:
        formula = SPECIAL.get(operation) or getattr(formulas, operation)
        given = [None if i == ABSENT else values[i] for i in inputs]
        values.append(formula(m, *given, **dict(attributes)))
    return [values[number] for number in expression.results]


def is_shared(name: str) -> bool:
    """Whether an operation is known here: special, or a formula of the CPU provider."""
    return name in SPECIAL or callable(getattr(formulas, name, None))
