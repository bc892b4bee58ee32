"""Features made ready for models: scaled, imputed, normalised, chosen, encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from runtime.graph import Node, Tensor, Value

from runtime_ep_cpu.codegen import copies, elementwise, lookup, mapped, normed
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import FLOATS, element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable, of_array
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.elementwise import ElementwiseStep
from runtime_ep_cpu.native.steps.table import (
    GIVEN,
    arguments,
    rows_per_chunk,
    wide_element,
)

EXPRESSED = ("Scaler", "Imputer", "Binarizer", "OneHotEncoder")
NORMED = ("Normalizer", "LpNormalization")
CHOSEN = ("ArrayFeatureExtractor",)
MAPPED = ("LabelEncoder",)
JOINED = ("FeatureVectorizer",)

Array = np.ndarray[Any, Any]

_TYPES = {"float": "f4", "double": "f8", "i64": "i8", "i32": "i4"}
_FAR = 1 << 53
"""Integers up to here are float64, too."""


def _x(node: Node) -> Value:
    x = node.input(0)
    if x is None:
        raise ValueError(f"{node.label} has no input")
    return x


def _features(node: Node) -> int | None:
    shape = _x(node).shape
    last = shape[-1] if shape else 1
    return last if isinstance(last, int) else None


# expressions


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
    x = _x(node)
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
    element = element_of(_x(node)) or ""
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
    element = element_of(_x(node)) or ""
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
    element = element_of(_x(node)) or ""
    categories = _numbers(node, "cats_int64s")
    if (
        not categories
        or _numbers(node, "cats_strings")
        or not _numbers(node, "zeros", 1)
    ):
        return None
    keys = np.array(categories, np.int64)
    if len(set(categories)) < len(categories) or np.abs(keys).max() > _FAR:
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


def is_expressed(node: Node) -> bool:
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
        self._operands = (_x(node), *rows)
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


# norms


def is_normed(node: Node) -> bool:
    """Whether a norm is taken along the last axis of rows."""
    x = _x(node)
    rank = len(x.shape or ())
    if node.op_type == "Normalizer":
        fits = element_of(x) in GIVEN and node.attribute("norm", "MAX") in normed.NORMS
        return fits and rank in (1, 2)
    last = node.attribute("axis", -1) in (-1, rank - 1)
    return element_of(x) == "float" and last and node.attribute("p", 2) in (1, 2)


class NormedStep:
    """Normalizer and LpNormalization."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a norm has an anchor")
        self._node = node = group.anchor
        x = _x(node)
        norm = node.attribute("norm", "MAX")
        if node.op_type == "LpNormalization":
            norm = f"L{node.attribute('p', 2)}"
        self._spec = normed.spec(element_of(x) or "float", wide_element(x), norm)
        self.specs: Sequence[Spec] = (
            self._spec,
            *copies.specs(SIZES[element_of(x) or "float"]),
        )

    def plan(self, planner: Planner) -> None:
        """Plan blocks of rows."""
        x = planner.layout(_x(self._node))
        shape = x.shape
        if len(shape) != 2:
            x = planner.contiguous(x)
            x = x.with_dims((prod(shape[:-1]), shape[-1]), (shape[-1], 1))
        rows, count = x.shape
        if not x.size:
            raise Unplannable("there are no numbers")
        made = planner.allocate(self._node.outputs[0], shape, "float")
        lanes = planner.target.lanes
        each = rows_per_chunk(rows, lanes, 8 * count)
        columns = planner.table(range(count))
        fields: list[Argument] = [
            *arguments(x, columns, count, count, count), made, each
        ]  # fmt: skip
        planner.step(
            self._spec, fields, -(-rows // each), [x], [made], 8 * lanes * count,
            4.0 * x.size,
        )  # fmt: skip


# columns


_POSITIONS = ("ArgMax", "ArgMin")
_KEEPING = ("Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze")


def _is_position(value: Value | None) -> bool:
    """Whether a value cannot be negative, coming from where something is the largest."""
    node = None if value is None else value.producer
    while node is not None and node.op_type in _KEEPING and not node.domain:
        source = node.input(0)
        node = None if source is None else source.producer
    return node is not None and node.op_type in _POSITIONS and not node.domain


def chosen_texts(node: Node) -> Array | None:
    """Return the strings among which a node chooses, if they are constant."""
    array = _x(node).constant()
    if array is None or array.dtype.kind not in "OU" or array.ndim not in (1, 2):
        return None
    if array.ndim == 2 and array.shape[0] != 1:
        return None
    return np.array([str(text) for text in array.ravel().tolist()], object)


def is_chosen(node: Node) -> bool:
    """Whether columns are chosen by constants that are there, or by what is not negative."""
    x, indices = _x(node), node.input(1)
    if indices is None or element_of(indices) not in ("i32", "i64"):
        return False
    if element_of(x) is None:
        if chosen_texts(node) is None:
            return False
    elif not x.shape:
        return False
    places = indices.constant()
    if places is not None:
        return bool(places.size) and bool((places >= 0).all())
    return _is_position(indices)


class ChosenStep:
    """ArrayFeatureExtractor: a look at columns that are evenly apart, or a look-up."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a choice has an anchor")
        self._node = node = group.anchor
        self._texts = chosen_texts(node)
        self._element = "i64" if self._texts is not None else element_of(_x(node)) or ""
        self._indices: Value = node.inputs[1]  # type: ignore[assignment]
        self._index = element_of(self._indices) or "i64"
        self._numbers = None
        if self._texts is not None:
            self._numbers = of_array(np.arange(len(self._texts)))
        self.specs: Sequence[Spec] = (
            *lookup.specs(SIZES[self._element], self._index),
            *copies.specs(SIZES[self._element]),
        )

    def plan(self, planner: Planner) -> None:
        """Plan the columns of every row."""
        data = self._numbers
        if data is None:
            data = planner.layout(_x(self._node))
        if len(data.shape) == 1:
            data = data.with_dims((1, *data.shape), (0, *data.strides))
        places = self._indices.constant()
        if places is not None:
            numbers = places.reshape(-1).tolist()
            if max(numbers) >= data.shape[-1]:
                raise Unplannable(f"there are {data.shape[-1]} features")
            steps = set(np.diff(numbers).tolist()) or {1}
            if len(steps) == 1 and min(steps) >= 0 and self._numbers is None:
                self._look(planner, data, numbers, steps.pop())
                return
        self._gather(planner, data)

    def _look(
        self, planner: Planner, data: Layout, numbers: list[int], step: int
    ) -> None:
        stride = data.strides[-1]
        view = data.with_dims(
            (*data.shape[:-1], len(numbers)),
            (*data.strides[:-1], stride * step),
            data.offset + numbers[0] * stride,
        )
        planner.give(self._node.outputs[0], view)

    def _gather(self, planner: Planner, data: Layout) -> None:
        indices = planner.contiguous(planner.layout(self._indices))
        count = indices.size
        indices = indices.with_dims((count,), (1,))
        shape = (*data.shape[:-1], count)
        made = planner.allocate(self._node.outputs[0], shape, self._element)
        axis = len(data.shape) - 1
        found = lookup.gather(
            data.shape, data.strides, (count,), (1,), axis, made.strides
        )
        try:
            ready = lookup.plan(SIZES[self._element], found, self._index)
        except ValueError as error:
            raise Unplannable(str(error)) from error
        fields: list[Argument] = [made, data, indices, planner.failed(), *ready.numbers]
        planner.step(
            ready.spec,
            fields,
            ready.chunks,
            [data, indices],
            [made],
            work=2.0 * made.size,
        )


# labels


def _entries(node: Node) -> tuple[Array, Array, Any] | None:
    """Return keys, values and the default of a LabelEncoder; ``None`` of version 1."""
    if node.version < 2:
        return None

    def given(word: str) -> Any:
        for kind, dtype in (("floats", np.float32), ("int64s", np.int64),
                            ("strings", object)):  # fmt: skip
            found = node.attribute(f"{word}_{kind}")
            if found is not None:
                return np.array(found, dtype)
        tensor = node.attribute(f"{word}_tensor")
        return tensor.numpy().reshape(-1) if isinstance(tensor, Tensor) else None

    keys, values = given("keys"), given("values")
    if keys is None or values is None or len(keys) != len(values) or not len(keys):
        return None
    kind = {"f": ("float", -0.0), "i": ("int64", -1)}.get(values.dtype.kind)
    word, default = kind or ("string", "_Unused")
    default = node.attribute(f"default_{word}", default)
    if node.attribute("values_tensor") is not None:
        default = {"f": -0.0, "i": -1}.get(values.dtype.kind, "_Unused")
    tensor = node.attribute("default_tensor")
    if isinstance(tensor, Tensor) and tensor.numpy().size:
        default = tensor.numpy().reshape(-1)[0]
    return keys, values, default


def mapped_texts(node: Node) -> Array | None:
    """Return the strings a node maps to, the default last."""
    entries = _entries(node)
    if entries is None or entries[1].dtype.kind not in "OU":
        return None
    return np.array([*map(str, entries[1].tolist()), str(entries[2])], object)


def is_mapped(node: Node) -> bool:
    """Whether numbers are mapped to numbers of 4 or 8 bytes, or to strings."""
    given = element_of(node.input(0))
    entries = _entries(node)
    if entries is None or given not in GIVEN or entries[0].dtype.kind not in "if":
        return False
    keys, values, _ = entries
    if values.dtype.kind in "if" and values.dtype.itemsize not in (4, 8):
        return False
    if keys.dtype.kind == "i":
        return given in ("i64", "i32") or bool(np.abs(keys).max() < _FAR)
    return given in ("float", "double")


class MappedStep:
    """LabelEncoder of numbers."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("an encoder has an anchor")
        self._node = node = group.anchor
        entries = _entries(node)
        if entries is None:
            raise ValueError(f"{node.label} has no native form")
        keys, values, default = entries
        given = element_of(_x(node)) or "i64"
        kind = (
            "double"
            if "double" in (given, "double" * (keys.dtype.kind == "f"))
            else "i64"
        )
        kind = "double" if given == "float" else kind
        if values.dtype.kind in "OU":
            values, default = np.arange(len(values)), len(values)
        self._element = {4: "i32", 8: "i64"}[values.dtype.itemsize]
        self._spec = mapped.spec(given, kind, values.dtype.itemsize)
        self.specs: Sequence[Spec] = (
            self._spec, *copies.specs(SIZES[given]),
        )  # fmt: skip
        self._keep(keys, values, default, np.float64 if kind == "double" else np.int64)

    def _keep(self, keys: Array, values: Array, default: Any, dtype: Any) -> None:
        """Sort the keys; of equal ones the last counts."""
        last = np.array([default], values.dtype)
        odd = np.isnan(keys) if keys.dtype.kind == "f" else np.zeros(len(keys), bool)
        nan = values[odd][-1:] if odd.any() else last
        keys, values = keys[~odd][::-1].astype(dtype), values[~odd][::-1]
        keys, first = np.unique(keys, return_index=True)
        self._count = max(len(keys), 1)
        filler = len(keys) == 0
        keys = np.concatenate([keys, np.zeros(int(filler), dtype)])
        values = np.concatenate([values[first], *[last] * filler, last, nan])
        self._constants = [of_array(np.ascontiguousarray(a)) for a in (keys, values)]

    def plan(self, planner: Planner) -> None:
        """Plan the look-up of every element."""
        x = planner.contiguous(planner.layout(_x(self._node)))
        value = self._node.outputs[0]
        made = planner.allocate(value, x.shape, element_of(value) or "i64")
        count = x.size
        each = max(1024, -(-count // 8))
        keys, values = self._constants
        fields: list[Argument] = [x, made, count, each, keys, values, self._count]
        planner.step(
            self._spec, fields, -(-count // each), [x], [made], work=20.0 * count
        )


# tables


def is_joined(node: Node) -> bool:
    """Whether tables of floats are put side by side as they are."""
    widths = node.attribute("inputdimensions")
    shapes = [value.shape if value is not None else None for value in node.inputs]
    if any(shape is None or len(shape) != 2 for shape in shapes):
        return False
    found = [shape[1] for shape in shapes if shape is not None]
    if widths is not None and list(widths) != found:
        return False
    return all(element_of(value) in (*FLOATS, "i64", "i32") for value in node.inputs)


class JoinedStep:
    """FeatureVectorizer."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("a table has an anchor")
        self._node = group.anchor
        elements = {element_of(value) or "float" for value in self._node.inputs}
        self._wide = {
            element: elementwise.spec(_widening(element))
            for element in sorted(elements - {"float"})
        }
        self.specs: Sequence[Spec] = (*copies.specs(4), *self._wide.values())

    def plan(self, planner: Planner) -> None:
        """Plan a copy of each table to its columns."""
        tables = [planner.layout(v) for v in self._node.inputs if v is not None]
        rows = tables[0].shape[0]
        if any(table.shape[0] != rows for table in tables):
            raise Unplannable("the tables have different numbers of rows")
        width = sum(table.shape[1] for table in tables)
        made = planner.allocate(self._node.outputs[0], (rows, width), "float")
        first = 0
        for table in tables:
            count = table.shape[1]
            part = made.with_dims((rows, count), made.strides, made.offset + first)
            if table.element == "float":
                planner.copy(table, part)
            else:
                self._convert(planner, table, part)
            first += count

    def _convert(self, planner: Planner, table: Layout, part: Layout) -> None:
        ready = elementwise.plan(4096, table.shape, [part.strides], [table.strides])
        fields: list[Argument] = [part, table, *ready.numbers]
        planner.step(
            self._wide[table.element], fields, ready.chunks, [table], [part],
            ready.scratch, 2.0 * table.size,
        )  # fmt: skip


def _widening(element: str) -> Expression:
    steps = (Instruction("convert", (0,), (("type", "float"),)),)
    return Expression((element,), steps, ((1, "float"),))
