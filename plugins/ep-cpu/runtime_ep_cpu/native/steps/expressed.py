"""Features scaled, imputed, cut in two or encoded: expressions over rows of constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from runtime.graph import Node, Tensor, Value

from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import Layout, Unplannable
from runtime_ep_cpu.native.planner import Planner
from runtime_ep_cpu.native.steps.elementwise import ElementwiseStep
from runtime_ep_cpu.native.steps.table import (
    EXACT,
    GIVEN,
    Array,
    given_x,
    wide_element,
)

OPERATORS = ("Scaler", "Imputer", "Binarizer", "OneHotEncoder")

_TYPES = {"float": "f4", "double": "f8", "i64": "i8", "i32": "i4"}


def _features(node: Node) -> int | None:
    shape = given_x(node).shape
    last = shape[-1] if shape else 1
    return last if isinstance(last, int) else None


class _Formula:
    """An expression being made over an input and rows of constants."""

    def __init__(self, element: str) -> None:
        self.elements = [element]
        self.rows: list[Array] = []
        self._steps: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def row(self, array: Array, element: str) -> str:
        """Add an operand, and return what stands for it."""
        self.rows.append(array)
        self.elements.append(element)
        return f"row{len(self.elements) - 1}"

    def step(self, operation: str, *inputs: int | str, **attributes: Any) -> int:
        """Add an instruction; inputs are earlier ones by number, operands by name."""
        self._steps.append((operation, inputs, attributes))
        return len(self._steps) - 1

    def expression(self, result: int, element: str) -> Expression:
        """Return the whole."""
        count = len(self.elements)

        def place(given: int | str) -> int:
            if given == "x":
                return 0
            return int(given[3:]) if isinstance(given, str) else count + given

        steps = tuple(
            Instruction(name, tuple(map(place, inputs)), tuple(sorted(more.items())))
            for name, inputs, more in self._steps
        )
        return Expression(tuple(self.elements), steps, ((count + result, element),))


def _numbers(node: Node, name: str, default: Any = None) -> Any:
    found = node.attribute(name)
    return default if found is None else found


def _fits(node: Node, values: Sequence[Any] | Array) -> bool:
    return len(values) == 1 or len(values) == _features(node)


def _scaler(node: Node) -> _Formula | None:
    """``(x - offset) · scale``, in float for floats, else in double."""
    x = given_x(node)
    offset = np.array(_numbers(node, "offset", [0.0]), np.float32)
    scale = np.array(_numbers(node, "scale", [1.0]), np.float32)
    if not (_fits(node, offset) and _fits(node, scale)):
        return None
    wide = wide_element(x)
    dtype = np.float32 if wide == "float" else np.float64
    made = _Formula(element_of(x) or "")
    start: int | str = "x"
    if wide != element_of(x):
        start = made.step("convert", "x", type=wide)
    moved = made.step("subtract", start, made.row(offset.astype(dtype), wide))
    found = made.step("multiply", moved, made.row(scale.astype(dtype), wide))
    if wide != "float":
        made.step("convert", found, type="float")
    return made


def _imputer(node: Node) -> _Formula | None:
    """Each feature's own value in the place of one, NaN included."""
    element = element_of(given_x(node)) or ""
    floating = element in ("float", "double")
    kind = "float" if floating else "int64"
    values = _numbers(node, f"imputed_value_{kind}s")
    replaced = _numbers(node, f"replaced_value_{kind}", 0)
    if not values or not _fits(node, values):
        return None
    dtype: Any = np.dtype(_TYPES[element])
    made = _Formula(element)
    row = made.row(np.array(values, dtype), element)
    if replaced != replaced:
        whole = made.step("equal", "x", "x")
        made.step("where", whole, "x", row)
    else:
        number = np.asarray([replaced], dtype)[0].item()
        same = made.step(
            "equal", "x", made.step("constant", type=element, value=number)
        )
        made.step("where", same, row, "x")
    return made


def _binarizer(node: Node) -> _Formula | None:
    """1 above the threshold, else 0."""
    element = element_of(given_x(node)) or ""
    threshold = float(_numbers(node, "threshold", 0.0))
    wide = "float" if element == "float" else "double"
    made = _Formula(element)
    start: int | str = "x"
    if wide != element:
        start = made.step("convert", "x", type=wide)
    limit = made.step("constant", type=wide, value=threshold)
    above = made.step("greater", start, limit)
    made.step("convert", above, type=element)
    return made


def _one_hot(node: Node) -> _Formula | None:
    """1 where the number, cut to an integer, is a category; every category known once."""
    element = element_of(given_x(node)) or ""
    categories = _numbers(node, "cats_int64s")
    if (
        not categories
        or _numbers(node, "cats_strings")
        or not _numbers(node, "zeros", 1)
    ):
        return None
    keys = np.array(categories, np.int64)
    if len(set(categories)) < len(categories) or np.abs(keys).max() > EXACT:
        return None
    made = _Formula(element)
    floating = element in ("float", "double")
    wide = "double" if floating else "i64"
    start: int | str = "x" if wide == element else made.step("convert", "x", type=wide)
    if floating:
        start = made.step("trunc", start)
    row = made.row(keys.astype(np.float64) if floating else keys, wide)
    made.step("convert", made.step("equal", start, row), type="float")
    return made


_FORMULAS: dict[str, Callable[[Node], _Formula | None]] = {
    "Scaler": _scaler,
    "Imputer": _imputer,
    "Binarizer": _binarizer,
    "OneHotEncoder": _one_hot,
}


def is_supported(node: Node) -> bool:
    """Whether a node makes sense and is an expression."""
    given = element_of(node.input(0)) in GIVEN
    return given and _FORMULAS[node.op_type](node) is not None


class ExpressedStep(ElementwiseStep):
    """Scaler, Imputer, Binarizer and OneHotEncoder, element by element."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a formula has an anchor")
        node = group.anchor
        made = _FORMULAS[node.op_type](node)
        if made is None:
            raise ValueError(f"{node.label} has no native form")
        self._results = [node.outputs[0]]
        self._encodes = node.op_type == "OneHotEncoder"
        rows = [
            Value(f"{node.name}_{i}", None, Tensor.of(row))
            for i, row in enumerate(made.rows)
        ]
        self._operands = (given_x(node), *rows)
        last = len(made._steps) - 1
        self._prepare(made.expression(last, element_of(node.outputs[0]) or "float"))

    def _given(self, planner: Planner) -> list[Layout]:
        """Return where the operands lie; what is encoded has one dim more."""
        x, *rows = super()._given(planner)
        if self._encodes:
            x = x.with_dims((*x.shape, 1), (*x.strides, 0))
        else:
            features = x.shape[-1] if x.shape else 1
            if any(row.size not in (1, features) for row in rows):
                raise Unplannable(f"the values are not for {features} features")
            if not x.shape:
                rows = [row.with_dims((), ()) for row in rows]
        return [x, *rows]
