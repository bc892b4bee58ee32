"""Turns element-wise nodes into expressions: which operators, and of which types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from runtime.graph import Node, Value
from runtime.valuetypes import numpy_dtype
from runtime_ep_cpu import formulas
from runtime_ep_cpu.ops import table

from runtime_ep_cuda import quantized
from runtime_ep_cuda.codegen.expression import ABSENT, Expression, Instruction
from runtime_ep_cuda.dtypes import BOOL, FLOATS, INTEGERS, dtype_of

MS = "com.microsoft"

_SPECIAL = {
    "Equal": "equal", "Less": "less", "LessOrEqual": "less_or_equal",
    "Greater": "greater", "GreaterOrEqual": "greater_or_equal",
    "Not": "not", "And": "and", "Or": "or", "Xor": "xor", "Where": "where",
    "Sin": "sin", "Cos": "cos", "Tan": "tan", "Asin": "asin", "Acos": "acos",
    "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh",
    "Acosh": "acosh", "Atanh": "atanh", "IsNaN": "is_nan", "IsInf": "is_inf",
    "Mod": "mod", "BitwiseAnd": "bit_and", "BitwiseOr": "bit_or",
    "BitwiseXor": "bit_xor", "BitwiseNot": "bit_not", "BitShift": "shift_left",
    "Cast": "convert", "Pow": "pow", "Dropout": "same", "Identity": "same",
    "Sign": "sign",
}  # fmt: skip
"""Operators that are operations of `codegen.expression.SPECIAL`, or made of some here."""

_CONTRIB = {
    "Gelu": ("gelu",),
    "BiasAdd": ("add", "add"),
    "BiasGelu": ("add", "gelu"),
    "FastGelu": ("add", "gelu_by_tanh"),
    "QuickGelu": ("quick_gelu",),
}
"""Operators of com.microsoft as steps, each taking as many inputs as there are, two at most."""

_FOR_INTEGERS = frozenset(
    ("add", "subtract", "multiply", "divide", "maximum", "minimum", "absolute",
     "negative", "total", "equal", "less", "less_or_equal", "greater",
     "greater_or_equal", "where", "relu", "clip", "mod", "bit_and", "bit_or", "bit_xor",
     "bit_not", "shift_left", "convert", "same", "sign")
)  # fmt: skip
_FOR_BOOLS = frozenset(("not", "and", "or", "xor", "equal", "where", "convert", "same"))
_COMPARING = frozenset(
    ("equal", "less", "less_or_equal", "greater", "greater_or_equal")
)
_OLD = frozenset(("axis", "broadcast", "consumed_inputs", "is_test"))


def operation(node: Node) -> str | None:
    """Return the operation an element-wise node is, or ``None`` where it is none."""
    if node.domain == MS:
        found = _CONTRIB.get(node.op_type)
        return found[-1] if found else None
    if node.domain or _OLD & node.attributes.keys():
        return None
    if node.op_type in quantized.NAMES:
        return quantized.NAMES[node.op_type]
    if node.op_type in _SPECIAL:
        return _SPECIAL[node.op_type]
    kernel = table.find("", node.op_type, node.version)
    name = kernel.formula.__name__ if kernel and kernel.formula else ""
    return name if hasattr(formulas, name) else None


def operators(domain: str = "") -> set[str]:
    """Return the operators of a domain that may be element-wise."""
    if domain:
        return set(_CONTRIB)
    formed = (k for k in table if not k.domain and k.formula is not None)
    named = {k.op_type for k in formed if hasattr(formulas, k.formula.__name__)}  # type: ignore[union-attr]
    return {*_SPECIAL, *named}


def is_elementwise(node: Node) -> bool:
    """Whether a node can be part of an expression, its types considered."""
    return not refusal(node)


def refusal(node: Node) -> str:
    """Say why a node cannot be part of an expression, or return ``""``."""
    name = operation(node)
    if name is None:
        return f"{node.op_type} is not element-wise"
    if name in quantized.NAMES.values():
        if quantized.is_elementwise(node):
            return ""
        return quantized.refusal(node) or f"scales of {node.op_type} lie along an axis"
    if node.op_type == "Dropout" and not _is_inference(node):
        return "training is not supported"
    types = [dtype_of(value) for value in operands_of(node)]
    out = dtype_of(node.outputs[0])
    if out is None or None in types or not types:
        return "an element type is not supported"
    if name == "convert" and node.attribute("saturate", 1) != 1:
        return "casts that do not saturate are not supported"
    computed = types[1:] if name == "where" else types
    if all(kind in FLOATS for kind in computed):
        whole = name in ("bit_and", "bit_or", "bit_xor", "bit_not", "shift_left", "not")
        return f"{node.op_type} of floats is not supported" if whole else ""
    if all(kind in INTEGERS for kind in computed):
        return "" if name in _FOR_INTEGERS else f"{node.op_type} of integers is not"
    if all(kind == BOOL for kind in computed):
        return "" if name in _FOR_BOOLS else f"{node.op_type} of booleans is not"
    return "element types are mixed"


def _is_inference(node: Node) -> bool:
    mode = node.input(2)
    off = mode is None or (mode.is_constant and not mode.constant().any())  # type: ignore[union-attr]
    return off and not any(v.name or v.uses for v in node.outputs[1:])


def operands_of(node: Node) -> tuple[Value, ...]:
    """Return the inputs an expression reads."""
    if node.op_type in quantized.NAMES and not node.domain:
        return quantized.operands_of(node)
    count = 1 if node.op_type == "Dropout" else len(node.inputs)
    return tuple(value for value in node.inputs[:count] if value is not None)


def express(
    nodes: Sequence[Node],
    results: Sequence[Value],
    first: Iterable[Value] = (),
) -> tuple[Expression, tuple[Value, ...]]:
    """Return the expression of some nodes in order, and the values it reads.

    ``first`` are the operands that shall come first, ``results`` what is wanted.
    """
    writer = _Writer(nodes, first)
    for node in nodes:
        writer.add(node)
    numbers = tuple(writer.numbers[value] for value in results)
    count = len(writer.operands)
    return Expression(count, tuple(writer.instructions), numbers), tuple(
        writer.operands
    )


class _Writer:
    def __init__(self, nodes: Sequence[Node], first: Iterable[Value]) -> None:
        inside = {value for node in nodes for value in node.outputs}
        read = (v for node in nodes for v in operands_of(node) if v not in inside)
        self.operands = list(dict.fromkeys((*first, *read)))
        self.numbers = {value: i for i, value in enumerate(self.operands)}
        self.instructions: list[Instruction] = []

    def emit(self, operation: str, inputs: Sequence[int], **attributes: Any) -> int:
        """Append an instruction; return the number of its result."""
        pairs = tuple(sorted(attributes.items()))
        self.instructions.append(Instruction(operation, tuple(inputs), pairs))
        return len(self.operands) + len(self.instructions) - 1

    def add(self, node: Node) -> None:
        """Append one node's instructions."""
        if node.op_type in quantized.NAMES and not node.domain:
            read = [self.numbers[value] for value in operands_of(node)]
            made = quantized.write(self.emit, node, read[0], read[1:])
            self.numbers[node.outputs[0]] = made
            return
        count = 1 if node.op_type == "Dropout" else len(node.inputs)
        inputs = [
            ABSENT if value is None else self.numbers[value]
            for value in node.inputs[:count]
        ]
        name = operation(node) or ""
        write = _CASES.get(name, _plainly) if not node.domain else _contrib
        self.numbers[node.outputs[0]] = write(self, node, name, inputs)


def _plainly(writer: _Writer, node: Node, name: str, inputs: Sequence[int]) -> int:
    attributes = {key: entry.value for key, entry in node.attributes.items()}
    return writer.emit(name, inputs, **attributes)


def _same(writer: _Writer, node: Node, name: str, inputs: Sequence[int]) -> int:
    return inputs[0]


def _convert(writer: _Writer, node: Node, name: str, inputs: Sequence[int]) -> int:
    target = numpy_dtype(node.outputs[0].dtype or 1)
    return writer.emit("convert", inputs[:1], type=target.name)


def _mod(writer: _Writer, node: Node, name: str, inputs: Sequence[int]) -> int:
    return writer.emit("fmod" if node.attribute("fmod", 0) else "mod", inputs)


def _is_inf(writer: _Writer, node: Node, name: str, inputs: Sequence[int]) -> int:
    return writer.emit(
        "is_inf",
        inputs,
        negative=node.attribute("detect_negative", 1),
        positive=node.attribute("detect_positive", 1),
    )


def _shift(writer: _Writer, node: Node, name: str, inputs: Sequence[int]) -> int:
    right = node.attribute("direction") == "RIGHT"
    return writer.emit("shift_right" if right else "shift_left", inputs)


def _sign(writer: _Writer, node: Node, name: str, inputs: Sequence[int]) -> int:
    """Write -1, 0 or 1; a NaN stays what it is."""
    kind = dtype_of(node.inputs[0])
    word = kind.name if kind is not None and kind in INTEGERS else "float32"
    if kind is not None and kind.name == "float64":
        word = "float64"
    zero, one = (writer.emit("constant", (), type=word, value=v) for v in (0, 1))
    more = writer.emit("greater", (inputs[0], zero))
    found = writer.emit("where", (more, one, inputs[0]))
    if kind is not None and kind.kind == "u":
        return found
    less = writer.emit("less", (inputs[0], zero))
    minus = writer.emit("constant", (), type=word, value=-1)
    return writer.emit("where", (less, minus, found))


_POWERS = {2.0: (("multiply", (0, 0)),), 3.0: (("multiply", (0, 0)), ("multiply", (1, 0))),
           0.5: (("sqrt", (0,)),), -1.0: (("reciprocal", (0,)),), 1.0: ()}  # fmt: skip
"""Powers with a constant exponent, as steps over the base (0) and earlier steps."""


def _power(writer: _Writer, node: Node, name: str, inputs: Sequence[int]) -> int:
    exponent = node.inputs[1].constant() if node.inputs[1] is not None else None
    base = dtype_of(node.inputs[0])
    if exponent is not None and exponent.size == 1 and base in FLOATS:
        steps = _POWERS.get(float(exponent.reshape(())))
        if steps is not None:
            made = [inputs[0]]
            for step, places in steps:
                made.append(writer.emit(step, [made[place] for place in places]))
            return made[-1]
    return writer.emit("pow", inputs)


def _contrib(writer: _Writer, node: Node, name: str, inputs: Sequence[int]) -> int:
    *before, last = _CONTRIB[node.op_type]
    given = list(inputs)
    for step in before:
        if len(given) > 1:
            given = [writer.emit(step, given[:2]), *given[2:]]
    return _plainly(writer, node, last, given)


_CASES: dict[str, Callable[[_Writer, Node, str, Sequence[int]], int]] = {
    "same": _same,
    "convert": _convert,
    "mod": _mod,
    "is_inf": _is_inf,
    "shift_left": _shift,
    "sign": _sign,
    "pow": _power,
}
