"""Turns element-wise nodes into expressions: which operators, and of which types."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from runtime.graph import Node, Value

from runtime_ep_cpu import formulas
from runtime_ep_cpu.codegen.expression import (
    ABSENT,
    Expression,
    Instruction,
    widened,
)
from runtime_ep_cpu.native.layout import ELEMENTS
from runtime_ep_cpu.ops import table

FLOATS = frozenset(("float", "half", "bfloat"))
ROUNDED = frozenset(("half", "bfloat"))
"""Types to which every node's result is rounded, so that fusing changes no result."""

_EXACT = frozenset(("i64", "i32"))

_SPECIAL = {
    "Equal": "equal", "Less": "less", "LessOrEqual": "less_or_equal",
    "Greater": "greater", "GreaterOrEqual": "greater_or_equal",
    "Not": "not", "And": "and", "Or": "or", "Xor": "xor",
    "Where": "where", "Sin": "sin", "Cos": "cos",
}  # fmt: skip
"""Operators that are operations of `codegen.expression.SPECIAL`; old versions with
attributes for broadcasting are none."""

_INTEGERS = frozenset(
    ("add", "subtract", "multiply", "maximum", "minimum", "absolute", "negative",
     "total", "equal", "less", "less_or_equal", "greater", "greater_or_equal", "where",
     "relu", "clip")
)  # fmt: skip
"""Operations that hold for integers as they stand."""

_BOOLS = frozenset(("not", "and", "or", "xor", "equal", "where"))

_CONTRIB: dict[str, tuple[str, ...]] = {
    "Gelu": ("gelu",),
    "BiasGelu": ("add", "gelu"),
    "FastGelu": ("add", "gelu_by_tanh"),
    "QuickGelu": ("quick_gelu",),
}

_POWERS: dict[float, tuple[tuple[str, tuple[int, ...]], ...]] = {
    1.0: (),
    2.0: (("multiply", (0, 0)),),
    3.0: (("multiply", (0, 0)), ("multiply", (1, 0))),
    0.5: (("sqrt", (0,)),),
    -0.5: (("sqrt", (0,)), ("reciprocal", (1,))),
    -1.0: (("reciprocal", (0,)),),
}
"""Powers with a constant exponent, as steps over the base (0) and earlier steps."""


def element_of(value: Value | None) -> str | None:
    """Return LLVM's name of a value's element type, where native code has one."""
    return None if value is None or value.dtype is None else ELEMENTS.get(value.dtype)


def operation(node: Node) -> str | None:
    """Return the operation an element-wise node is, or ``None`` where it is none."""
    if node.domain not in ("", "com.microsoft"):
        return None
    if node.domain:
        found = _CONTRIB.get(node.op_type)
        return found[-1] if found else None
    if node.op_type == "Cast":
        return "convert"
    if node.op_type == "Pow":
        return "power"
    if node.op_type in _SPECIAL:
        return None if node.attributes else _SPECIAL[node.op_type]
    kernel = table.find("", node.op_type, node.version)
    name = kernel.formula.__name__ if kernel and kernel.formula else ""
    return name if hasattr(formulas, name) else None


def is_elementwise(node: Node) -> bool:
    """Whether a node can be part of an expression, its types considered."""
    name = operation(node)
    if name is None or any(value is None for value in node.inputs[:1]):
        return False
    elements = [element_of(value) for value in node.inputs if value is not None]
    out = element_of(node.outputs[0])
    if out is None or None in elements or len(node.outputs) != 1:
        return False
    if name == "convert":
        return _converts(elements[0], out) or _cuts(elements[0], out)
    if name == "power":
        return elements[0] in FLOATS and _exponent(node) in _POWERS
    computed = [e for e in elements if not (name == "where" and e == "i1")]
    if name in ("not", "and", "or", "xor"):
        return all(element == "i1" for element in elements)
    if all(element in FLOATS for element in computed):
        return True
    if all(element in _EXACT for element in computed):
        return name in _INTEGERS
    return all(e == "i1" for e in computed) and name in _BOOLS


def _converts(source: str | None, target: str) -> bool:
    if source in FLOATS:
        return target in FLOATS or target == "i1"
    if source in _EXACT:
        return target in FLOATS or target in _EXACT or target == "i1"
    return source == "i1" and (target in FLOATS or target in _EXACT)


def _cuts(source: str | None, target: str) -> bool:
    """Whether floats become integers, see `_Writer._cut`."""
    return source == "float" and target in _EXACT


def _exponent(node: Node) -> float | None:
    value = node.input(1)
    array = None if value is None else value.constant()
    if array is None or array.size != 1:
        return None
    return float(array.reshape(()))


def operands_of(node: Node) -> tuple[Value, ...]:
    """Return the inputs an expression reads; a constant exponent is none."""
    return tuple(value for value in _read(node) if value is not None)


def _read(node: Node) -> tuple[Value | None, ...]:
    return node.inputs[:1] if operation(node) == "power" else node.inputs


def express(
    nodes: Sequence[Node],
    results: Sequence[Value],
    first: Iterable[Value] = (),
    goes_on: bool = False,
) -> tuple[Expression, tuple[Value, ...]]:
    """Return the expression of some nodes in order, and the values it reads.

    ``first`` are the operands that shall come first, ``results`` what is wanted.
    ``goes_on`` tells that more is computed from the last result: then it is rounded to
    its type like every other one, which is done anyway where it is only written.
    """
    writer = _Writer(nodes, first, goes_on)
    for node in nodes:
        writer.add(node)
    numbers = [(writer.numbers[v], element_of(v) or "") for v in results]
    elements = tuple(element_of(v) or "" for v in writer.operands)
    made = Expression(elements, tuple(writer.instructions), tuple(numbers))
    return made, tuple(writer.operands)


_COMMUTES = frozenset(("add", "multiply"))
"""Operations that are written in one order of their inputs, so that one kernel serves both."""


class _Writer:
    def __init__(
        self, nodes: Sequence[Node], first: Iterable[Value], goes_on: bool
    ) -> None:
        inside = {value for node in nodes for value in node.outputs}
        read = (v for node in nodes for v in operands_of(node) if v not in inside)
        self.operands = list(dict.fromkeys((*first, *read)))
        self.numbers = {value: i for i, value in enumerate(self.operands)}
        self.instructions: list[Instruction] = []
        self._last = nodes[-1] if nodes and not goes_on else None

    def _emit(self, operation: str, inputs: Sequence[int], **attributes: Any) -> int:
        pairs = tuple(sorted(attributes.items()))
        if operation in _COMMUTES:
            inputs = sorted(inputs)
        self.instructions.append(Instruction(operation, tuple(inputs), pairs))
        return len(self.operands) + len(self.instructions) - 1

    def add(self, node: Node) -> None:
        """Append one node's instructions."""
        inputs = [
            ABSENT if value is None else self.numbers[value] for value in _read(node)
        ]
        name = operation(node)
        element = element_of(node.outputs[0]) or ""
        if name == "convert" and _cuts(element_of(node.inputs[0]), element):
            number = self._cut(inputs[0], element)
        elif name == "convert":
            number = self._emit("convert", inputs, type=widened(element))
        elif name == "power":
            number = self._power(inputs[0], _exponent(node) or 0.0)
        elif node.domain:
            number = self._contrib(node, inputs)
        else:
            number = self._emit(name or "", inputs, **_attributes(node))
        if node is not self._last and element in ROUNDED:
            number = self._rounded(number, element)
        self.numbers[node.outputs[0]] = number

    def _cut(self, number: int, element: str) -> int:
        """Cut a float to an integer; what it cannot hold is the lowest, as x86 has it."""
        end = 2.0 ** (63 if element == "i64" else 31)
        zero, lowest, beyond = (
            self._emit("constant", (), type="float", value=value)
            for value in (0.0, -end, end)
        )
        fits = self._emit(
            "and",
            (
                self._emit("greater_or_equal", (number, lowest)),
                self._emit("less", (number, beyond)),
            ),
        )
        inside = self._emit("where", (fits, number, zero))
        found = self._emit("convert", (inside,), type=element)
        none = self._emit("constant", (), type=element, value=-int(end))
        return self._emit("where", (fits, found, none))

    def _rounded(self, number: int, element: str) -> int:
        """Round to a narrow type, as if the value had been stored and read again."""
        number = self._emit("convert", (number,), type=element)
        return self._emit("convert", (number,), type=widened(element))

    def _power(self, base: int, exponent: float) -> int:
        made = [base]
        for name, places in _POWERS[exponent]:
            made.append(self._emit(name, [made[place] for place in places]))
        return made[-1] if exponent != -0.5 else self._of_extremes(base, made[-1])

    def _of_extremes(self, base: int, root: int) -> int:
        """Return the inverse root as a power: 0 of -inf, infinite of either zero."""
        zero = self._emit("constant", (), type="float", value=0.0)
        lowest = self._emit("constant", (), type="float", value=-math.inf)
        is_lowest = self._emit("equal", (base, lowest))
        is_zero = self._emit("equal", (base, zero))
        positive = self._emit("where", (is_zero, self._emit("absolute", (root,)), root))
        return self._emit("where", (is_lowest, zero, positive))

    def _contrib(self, node: Node, inputs: list[int]) -> int:
        *before, last = _CONTRIB[node.op_type]
        for name in before:
            if len(inputs) > 1:
                inputs = [self._emit(name, inputs)]
        return self._emit(last, inputs, **_attributes(node))


def _attributes(node: Node) -> dict[str, Any]:
    return {name: entry.value for name, entry in node.attributes.items()}
