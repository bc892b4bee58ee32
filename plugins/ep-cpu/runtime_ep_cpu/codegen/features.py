"""Columns of a table of features, brought into a block that kernels of models read.

A block has some rows of the columns that a model asks for, each column's numbers behind
each other, in the type the model computes in::

    for column, row of the block:
        block[column][row] = x[row, columns[column]]

After the plain columns come those in which no number is taken for -∞, and one of -∞
throughout, where a model asks for such. Rows beyond the last repeat it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen.builder import Function, Val

FIELDS: Final = (
    "x", "x_row", "x_column", "rows", "chosen", "plain", "lowered", "columns",
)  # fmt: skip
"""Arguments: address and strides in elements, rows there are; which columns, plain ones
first, where the plain ones and the lowered ones end, and the columns of a block in all."""
POINTERS: Final = ("x", "chosen")


class Source(NamedTuple):
    """Where features come from: the arguments, the type they have, the one they get."""

    field: Mapping[str, Val]
    given: str
    element: str


def load(
    f: Function, source: Source, block: Val, first: Val, height: Val, pitch: int
) -> None:
    """Write the bringing in of ``height`` rows from the row ``first`` on; columns of the
    block are ``pitch`` elements apart."""
    field, element = source.field, source.element
    last = field["rows"] - 1

    def columns(start: Val, stop: Val, lowers: bool) -> None:
        with f.loop(start, stop) as columns:
            chosen = f.field(field["chosen"].at(columns.index, "i64"), 0)
            x = field["x"].at(chosen * field["x_column"], source.given)
            line = block.at(columns.index * pitch, element)
            with f.loop(0, height, runs=True) as rows:
                row = f.minimum(first + rows.index, last)
                value = f.load(x.at(row * field["x_row"], source.given), source.given)
                value = f.convert(value, element)
                if lowers:
                    lowest = f.value(-math.inf, element)
                    value = f.select(value.compare("uno", value), lowest, value)
                f.store(value, line.at(rows.index, element))

    columns(f.value(0, "i64"), field["plain"], False)
    columns(field["plain"], field["lowered"], True)
    with f.loop(field["lowered"], field["columns"]) as columns_left:
        line = block.at(columns_left.index * pitch, element)
        with f.loop(0, height, runs=True) as rows:
            f.store(f.value(-math.inf, element), line.at(rows.index, element))
