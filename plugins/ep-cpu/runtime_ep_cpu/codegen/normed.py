"""Rows of features divided by their norm, as Normalizer and LpNormalization do.

Rows are short, so that some of them are a vector each of whose lanes is a row::

    norm[rows] = fold over k of x[k][rows]; where it is 0, 1
    out[row, k] = x[k][row] / norm[row]
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
"""Arguments: the features, where C-ordered results go, rows of a chunk."""

NORMS: Final = ("MAX", "L1", "L2")


def spec(given: str, element: str, norm: str) -> Spec:
    """Return the kernel for features of a type, computed with in another."""
    return Spec.of("normed", given=given, element=element, norm=norm)


@family("normed")
def normed(
    module: Module, target: Target, name: str, *, given: str, element: str, norm: str
) -> None:
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
    type = vector(element, lanes)
    source = features.Source(field, given, element)
    first = chunk * field["each"]
    end = f.minimum(first + field["each"], field["rows"])
    with f.loop(first, end, lanes, runs=True) as rows:
        features.load(f, source, block, rows.index, f.value(lanes, "i64"), lanes)
        math_ = VectorMath(f, target)
        start = f.value(-math.inf if norm == "MAX" else 0.0, type)
        with f.loop(0, count, carried=[start]) as columns:
            x = f.load(block.at(columns.index * lanes, element), type)
            columns.next(_folded(math_, norm, columns.carried[0], x))
        total = columns.results[0]
        if norm == "L2":
            total = math_.sqrt(total)
        total = f.select(total.equals(0.0), f.value(1.0, type), total)
        with f.loop(0, count) as columns:
            place = block.at(columns.index * lanes, element)
            f.store(f.load(place, type) / total, place)
        height = f.minimum(end - rows.index, lanes)
        with f.loop(0, height, runs=True) as inner:
            out = field["out"].at((rows.index + inner.index) * count, "float")
            with f.loop(0, count) as columns:
                place = block.at(columns.index * lanes + inner.index, element)
                value = f.convert(f.load(place, element), "float")
                f.store(value, out.at(columns.index, "float"))
    f.ret()


def _folded(math_: VectorMath, norm: str, total: Val, x: Val) -> Val:
    if norm == "MAX":
        return math_.maximum(total, x)
    return total + (math_.abs(x) if norm == "L1" else x * x)
