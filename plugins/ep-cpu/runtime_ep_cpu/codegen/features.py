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
    valid = f.minimum(height, field["rows"] - first)
    whole = valid & -UNROLL

    def columns(start: Val, stop: Val, lowers: bool) -> None:
        with f.loop(start, stop) as columns:
            chosen = f.field(field["chosen"].at(columns.index, "i64"), 0)
            x = field["x"].at(chosen * field["x_column"], source.given)
            line = block.at(columns.index * pitch, element)
            _column(f, source, x, line, first, (valid, whole, height), lowers)

    columns(f.value(0, "i64"), field["plain"], False)
    columns(field["plain"], field["lowered"], True)
    with f.loop(field["lowered"], field["columns"]) as columns_left:
        line = block.at(columns_left.index * pitch, element)
        with f.loop(0, height, runs=True) as rows:
            f.store(f.value(-math.inf, element), line.at(rows.index, element))


UNROLL: Final = 4
"""Rows whose numbers are moved in one round."""


def _column(
    f: Function,
    source: Source,
    x: Val,
    line: Val,
    first: Val,
    counts: tuple[Val, Val, Val],
    lowers: bool,
) -> None:
    """Move a column: some rows a round, the rest one by one, and repeat the last."""
    element, step = source.element, source.field["x_row"]
    valid, whole, height = counts

    def moved(place: Val) -> Val:
        value = f.convert(f.load(place, source.given), element)
        if not lowers:
            return value
        lowest = f.value(-math.inf, element)
        return f.select(value.compare("uno", value), lowest, value)

    start = x.at(first * step, source.given)
    jumps = [step * i for i in range(UNROLL + 1)]
    with f.loop(0, whole, UNROLL, carried=[start]) as rows:
        (here,) = rows.carried
        values = [moved(here.at(jump, source.given)) for jump in jumps[:-1]]
        for i, value in enumerate(values):
            f.store(value, line.at(rows.index + i, element))
        rows.next(here.at(jumps[-1], source.given))
    with f.loop(whole, valid) as rows:
        place = x.at((first + rows.index) * step, source.given)
        f.store(moved(place), line.at(rows.index, element))
    with f.loop(valid, height) as rows:
        last = f.load(line.at(valid - 1, element), element)
        f.store(last, line.at(rows.index, element))
