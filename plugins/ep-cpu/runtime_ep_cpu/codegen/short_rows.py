"""Reductions of short rows: a vector is some rows, and their columns are folded one by one.

Rows of a few numbers leave most lanes empty where a row goes along a vector. Here they are
brought column by column, as features are, and folded where they are::

    for some rows at once: total[rows] = fold over k of x[k][rows]; out[rows] = total
"""

from __future__ import annotations

import math
from typing import Final

from runtime_ep_cpu.codegen import features
from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath

FIELDS: Final = (*features.FIELDS, "out", "each")
"""Arguments: the rows as features, where the results lie next to each other, and how many
rows are a chunk's, a multiple of the lanes."""

LONGEST: Final = 32
"""Columns up to which rows are short."""

_STARTS: Final = {
    "sum": 0.0, "mean": 0.0, "sum_square": 0.0, "l1": 0.0, "l2": 0.0, "prod": 1.0,
    "max": -math.inf, "min": math.inf,
}  # fmt: skip
OPERATIONS: Final = (*_STARTS, "log_sum_exp", "arg_max", "arg_min")


def spec(operation: str) -> Spec:
    """Return the kernel of an operation over floats, one of `OPERATIONS`."""
    return Spec.of("short_rows", operation=operation)


@family("short_rows")
def short_rows(module: Module, target: Target, name: str, *, operation: str) -> None:
    """Write the kernel; see the module's text."""
    f = Function(
        module, name, [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
    )
    arguments, chunk, block = f.parameters
    pointers = (*features.POINTERS, "out")
    field = {
        word: f.field(arguments, i, "ptr" if word in pointers else "i64")
        for i, word in enumerate(FIELDS)
    }
    lanes, count = target.lanes, field["columns"]
    result = "i64" if operation.startswith("arg") else "float"
    source = features.Source(field, "float", "float")
    first = chunk * field["each"]
    end = f.minimum(first + field["each"], field["rows"])
    with f.loop(first, end, lanes, runs=True) as rows:
        features.load(f, source, block, rows.index, f.value(lanes, "i64"), lanes)
        found = _Fold(f, target, block, count).of(operation)
        place = field["out"].at(rows.index, result)
        left = end - rows.index
        with f.when(left >= lanes):
            f.store(found, place)
        with f.when(left < lanes):
            f.store(found, block)
            with f.loop(0, left) as inner:
                value = f.load(block.at(inner.index, result), result)
                f.store(value, place.at(inner.index, result))
    f.ret()


class _Fold:
    """The folding of a block's columns."""

    def __init__(self, f: Function, target: Target, block: Val, count: Val) -> None:
        self._f, self._block, self._count = f, block, count
        self._lanes = target.lanes
        self._type = vector("float", target.lanes)
        self._math = VectorMath(f, target)

    def _column(self, index: Val) -> Val:
        return self._f.load(self._block.at(index * self._lanes, "float"), self._type)

    def of(self, operation: str) -> Val:
        """Return the results of the rows."""
        if operation.startswith("arg"):
            return self._position(operation == "arg_max")
        if operation == "log_sum_exp":
            return self._log_sum_exp()
        total = self._total(operation)
        if operation == "l2":
            return self._math.sqrt(total)
        if operation == "mean":
            count = self._f.convert(self._count, "float")
            return total / self._f.splat(count, self._lanes)
        return total

    def _total(self, operation: str) -> Val:
        f = self._f
        start = f.value(_STARTS[operation], self._type)
        with f.loop(0, self._count, carried=[start], runs=True) as columns:
            x = self._column(columns.index)
            columns.next(self._folded(operation, columns.carried[0], x))
        return columns.results[0]

    def _folded(self, operation: str, total: Val, x: Val) -> Val:
        math_ = self._math
        if operation in ("max", "min"):
            larger = math_.maximum if operation == "max" else math_.minimum
            return larger(total, x)
        if operation == "prod":
            return total * x
        if operation in ("sum_square", "l2"):
            return total + x * x
        return total + (math_.abs(x) if operation == "l1" else x)

    def _log_sum_exp(self) -> Val:
        """Return the largest and the logarithm of what is left; infinities as they are."""
        f, math_ = self._f, self._math
        largest = self._total("max")
        finite = math_.abs(largest) < math.inf
        offset = f.select(finite, largest, f.value(0.0, self._type))
        start = f.value(0.0, self._type)
        with f.loop(0, self._count, carried=[start], runs=True) as columns:
            power = math_.exp(self._column(columns.index) - offset)
            columns.next(columns.carried[0] + power)
        return math_.log(columns.results[0]) + offset

    def _position(self, largest: bool) -> Val:
        """Return where the first of the largest is; what is no number beats any."""
        f = self._f
        zero = f.value(0, "i64")
        carried = [self._column(zero), f.value(0, vector("i32", self._lanes))]
        with f.loop(1, self._count, carried=carried) as columns:
            best, place = columns.carried
            x = self._column(columns.index)
            odd = x.compare("uno", x) & best.compare("ord", best)
            better = (x > best if largest else x < best) | odd
            number = f.splat(f.convert(columns.index, "i32"), self._lanes)
            columns.next(f.select(better, x, best), f.select(better, number, place))
        return f.convert(columns.results[1], "i64")
