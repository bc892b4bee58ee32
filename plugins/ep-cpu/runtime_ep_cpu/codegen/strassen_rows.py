"""What Strassen's form asks of both factors: sums of the rows' quarters, and all sizes.

The sums and their names are those of `strassen`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.memory import mask_of, read, write
from runtime_ep_cpu.codegen.target import Target

ROW_FIELDS: Final = ("a", "a_row", "s", "s_row", "s_plane", "apart", "m", "k", "rows")
"""Arguments of the sums of rows.

``a_row`` is in bytes, other strides in numbers. ``s`` is room for S1 to S4, which are
``s_plane`` apart. ``apart`` is an i64 for each pair, 1 where its rows are multiplied
plainly. ``rows`` is how many pairs a chunk has.
"""

SCALE_FIELDS: Final = ("b", "k", "of_rows", "of_columns")
"""Arguments of weighing: B's panels, and where the sums of each panel's rows and of its
columns go."""

_FARTHEST = 4.0
"""How many times the sum of one row's sizes the other's of a pair may be."""
_LARGEST = 1e37
"""The largest sum of a row's sizes; sums of four numbers stay finite."""

_POINTERS: Final = (
    "a", "s", "apart", "b", "bias", "zeros", "tiles", "first_tiles", "finish", "out",
    "of_rows", "of_columns",
)  # fmt: skip


def fields(f: Function, arguments: Val, words: Sequence[str]) -> dict[str, Val]:
    """Read the arguments of a kernel."""
    return {
        word: f.field(arguments, i, "ptr" if word in _POINTERS else "i64")
        for i, word in enumerate(words)
    }


@family("strassen_scales")
def strassen_scales(module: Module, target: Target, name: str, *, vectors: int) -> None:
    """Write the sums of squares of a matrix, whose panels are ``vectors`` wide.

    A chunk is a panel: ``of_rows[panel, k]`` is the sum of its row ``k``, and
    ``of_columns[panel]`` are the sums of its columns.
    """
    f = Function(module, name, [("ptr", "args"), ("i64", "chunk"), ("ptr", "scratch")])
    arguments, panel, _ = f.parameters
    field = fields(f, arguments, SCALE_FIELDS)
    width, k = target.lanes * vectors, field["k"]
    type = vector("float", target.lanes)
    b = field["b"].at(panel * (k * width), "float")
    rows = field["of_rows"].at(panel * k, "float")
    zero = f.value(0.0, type)
    with f.loop(0, k, carried=[zero] * vectors, runs=True) as loop:
        row = b.at(loop.index * width, "float")
        values = [
            f.load(row.at(target.lanes * v, "float"), type) for v in range(vectors)
        ]
        squares = [value * value for value in values]
        total = squares[0]
        for square in squares[1:]:
            total = total + square
        f.store(f.reduce("fadd", total), rows.at(loop.index, "float"))
        pairs = zip(loop.carried, squares, strict=True)
        loop.next(*(total + square for total, square in pairs))
    columns = field["of_columns"].at(panel * width, "float")
    for v, total in enumerate(loop.results):
        f.store(total, columns.at(target.lanes * v, "float"))
    f.ret()


@family("strassen_rows")
def strassen_rows(module: Module, target: Target, name: str) -> None:
    """Write the sums of rows, and which pairs of them are too far apart."""
    f = Function(module, name, [("ptr", "args"), ("i64", "chunk"), ("ptr", "scratch")])
    arguments, chunk, _ = f.parameters
    field = fields(f, arguments, ROW_FIELDS)
    high = (field["m"] + 1) // 2
    start = chunk * field["rows"]
    stop = f.minimum(start + field["rows"], high)
    with f.loop(start, stop, runs=True) as rows:
        row = rows.index
        top = field["a"].at(row * field["a_row"], "i8")
        paired = (row + high) < field["m"]
        low = f.select(paired, top.at(high * field["a_row"], "i8"), top)
        into = field["s"].at(row * field["s_row"], "float")
        upper, lower = _Sums(f, target, field, (top, low, into), paired).write()
        near = (upper <= lower * _FARTHEST) & (lower <= upper * _FARTHEST)
        near = near & (upper < _LARGEST) & (lower < _LARGEST)
        none, one = (f.value(number, "i64") for number in (0, 1))
        f.store(f.select(near | ~paired, none, one), field["apart"].at(row, "i64"))
    f.ret()


class _Sums:
    """Writes the sums of a pair of rows."""

    def __init__(
        self,
        f: Function,
        target: Target,
        field: dict[str, Val],
        rows: tuple[Val, Val, Val],
        paired: Val,
    ) -> None:
        self._f = f
        self._target = target
        self._half = field["k"] // 2
        self._plane = field["s_plane"]
        self._top, self._low, self._into = rows
        self._paired = paired
        self._zero = f.value(0.0, vector("float", target.lanes))

    def write(self) -> list[Val]:
        """Write S1 to S4; return the sums of sizes of both rows.

        A row without one below is paired with zeros.
        """
        f, lanes, half = self._f, self._target.lanes, self._half
        whole = half - half % lanes
        start = [self._zero, self._zero]
        with f.loop(0, whole, lanes, carried=start) as loop:
            loop.next(*self._step(loop.index, None, loop.carried))
        sizes = list(loop.results)

        def rest() -> list[Val]:
            mask = mask_of(f, self._target, half - whole, lanes)
            return self._step(whole, mask, sizes)

        found = f.choose(whole < half, rest, lambda: sizes)
        return [f.reduce("fadd", size) for size in found]

    def _step(self, k: Val, mask: Val | None, sizes: Sequence[Val]) -> list[Val]:
        f = self._f
        places = (k, k + self._half)
        a11, a12 = (self._read(self._top, place, mask) for place in places)
        below = [self._read(self._low, place, mask) for place in places]
        a21, a22 = (f.select(self._paired, value, self._zero) for value in below)
        s1 = a21 + a22
        s2 = s1 - a11
        for number, value in enumerate((s1, s2, a11 - a21, a12 - s2)):
            place = self._into.at(self._plane * number + k, "float")
            write(f, self._target, value, place, "float", mask)
        pairs = zip(sizes, ((a11, a12), (a21, a22)), strict=True)
        return [
            size + self._size(one) + self._size(other) for size, (one, other) in pairs
        ]

    def _read(self, row: Val, k: Val, mask: Val | None) -> Val:
        place = row.at(k, "float")
        return read(self._f, self._target, place, "float", self._target.lanes, mask)

    def _size(self, value: Val) -> Val:
        return self._f.intrinsic("llvm.fabs", value)
