"""The inner tile of matrix products: a few rows by a few vectors, held in registers.

``tile`` computes ``C[rows, columns] += A[rows, K] · B[K, columns]``::

    accumulators = bias, or C where this is not the first block of K
    for k in range(K):
        b = B[k, :]                          # `vectors` registers
        for row in range(rows):
            accumulators[row, :] += A[row, k] * b
    C = accumulators                         # columns beyond the last are masked

A is read in place, row by row; B is a packed panel, ``vectors`` registers wide and
padded with zeros. A tile over *runs* reads A in pieces that lie apart, as a convolution
does: one piece per row of its filter, each as long as the others; and it keeps its results
within limits, as most activations do. On x86 with FMA all of it
is assembly, see `tile_assembly`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from runtime_ep_cpu.codegen import by_lane, tile_assembly
from runtime_ep_cpu.codegen.builder import Function, Module, Val, kind, vector
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.memory import mask_of
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.tile_assembly import Given, Shape

_ROWS = {
    "avx512": {1: 14, 2: 12, 3: 8, 4: 6},
    "avx2": {1: 8, 2: 6},
    "neon": {1: 12, 2: 8, 3: 7, 4: 5},
    "generic": {1: 8, 2: 4},
}


_HALVES = {1: 14, 2: 7, 3: 5, 4: 4}
"""Of tiles over runs where 16 sums keep the units busy: the less is waited for the first."""


def shapes(target: Target, runs: bool = False) -> dict[int, int]:
    """Return the largest number of rows of a tile, by its width in vectors."""
    return _HALVES if runs and target.halves else _ROWS[target.name]


SPEED = {1: 0.6, 2: 0.93, 3: 1.0, 4: 0.97}
"""How fast tiles of a width in vectors are, relative to the best."""


def usual_width(target: Target) -> int:
    """Return the width, in vectors, of the fastest tiles."""
    if target.has_lanes:  # four, a line of the cache
        return max(shapes(target))
    return max(shapes(target), key=SPEED.__getitem__)


def tiles(target: Target, vectors: int, runs: bool = False) -> list[Spec]:
    """Return the tiles of one width, for 1 row, 2 rows, … up to the most."""
    family = "runs" if runs else "tile"
    most = shapes(target, runs)[vectors]
    return [Spec.of(family, rows=rows, vectors=vectors) for rows in range(1, most + 1)]


def tiles_of_columns(target: Target, vectors: int, columns: int) -> list[Spec]:
    """Return the tiles over runs for panels of which so many columns are not zeros.

    Where units are of half a register, none is spent on a half of zeros.
    """
    found = tiles(target, vectors, runs=True)
    half = target.lanes // 2
    if not target.halves or vectors == max(shapes(target)):
        return found
    if columns > target.lanes * vectors - half:
        return found
    return [Spec.of(spec.family, **dict(spec.parameters), half=True) for spec in found]


@family("tile")
def tile(module: Module, target: Target, name: str, *, rows: int, vectors: int) -> None:
    """Write ``void name(A, A row in bytes, B, C, C row, K, first, bias, columns, ahead)``.

    Strides and sizes are in elements unless said otherwise. ``first`` is 0 where C holds
    a partial sum; else accumulators begin with ``bias[column]``, read for a whole panel.
    ``ahead`` is what will be needed next, fetched into the second cache: one line of 64
    bytes for each `tile_assembly.UNROLL` rows of the panel.
    """
    _tile(Function(module, name, _PARAMETERS), target, rows, vectors)


@family("difference_tile")
def difference_tile(
    module: Module, target: Target, name: str, *, rows: int, vectors: int
) -> None:
    """Write a tile whose panel is ``B - less``: `tile` with two more parameters.

    Both are panels; their difference is kept ``into`` a third, for the tiles that follow.
    """
    parameters = (*_PARAMETERS, ("ptr", "less"), ("ptr", "into"))
    function = Function(module, name, parameters)
    _tile(function, target, rows, vectors, difference=True)


@family("runs")
def runs(
    module: Module,
    target: Target,
    name: str,
    *,
    rows: int,
    vectors: int,
    half: bool = False,
) -> None:
    """Write a tile over runs: `tile` with three more parameters.

    K is the length of one run of A; B goes on behind it. Before each of the ``count``
    runs, one at least, A moves by the next of the ``steps``, in bytes from where the
    last run ended. Sums below the first of two ``limits`` become that, and what is then
    above the second becomes it; NaN stays NaN. With ``half``, the last half register of
    the panel's rows is left out.
    """
    parameters = (*_PARAMETERS, ("ptr", "steps"), ("i64", "count"), ("ptr", "limits"))
    _tile(Function(module, name, parameters), target, rows, vectors, half)


_PARAMETERS = (
    ("ptr", "a"),
    ("i64", "a_row"),
    ("ptr", "b"),
    ("ptr", "c"),
    ("i64", "c_row"),
    ("i64", "k"),
    ("i64", "first"),
    ("ptr", "bias"),
    ("i64", "columns"),
    ("ptr", "ahead"),
)


def _tile(
    function: Function,
    target: Target,
    rows: int,
    vectors: int,
    half: bool = False,
    difference: bool = False,
) -> None:
    lanes, pitch = target.lanes, target.lanes * vectors
    if half or (vectors == 1 and target.halves):  # whole ones would wait for loads
        lanes, vectors = lanes // 2, 2 * vectors - half
    shape = Shape(rows, vectors, lanes, pitch)
    if target.is_x86 and target.fma:
        _in_assembly(function, target, shape, difference)
    else:
        _in_words(function, target, shape, difference)
    function.ret()


def _in_assembly(
    function: Function, target: Target, shape: Shape, difference: bool
) -> None:
    a, a_row, b, c, c_row, k, first, bias, columns, ahead, *more = function.parameters
    words = ("less", "into") if difference else ("steps", "runs", "limits")
    given = Given(
        a, a_row, b, k, ahead, first, bias, c, c_row * 4, columns,
        **dict(zip(words, more, strict=False)),
    )  # fmt: skip
    tile_assembly.write(function, target, shape, given)


def _in_words(
    function: Function, target: Target, shape: Shape, difference: bool
) -> None:
    a, a_row, b, c, c_row, k, first, bias, columns, _, *more = function.parameters
    rows, vectors, lanes, _ = shape
    type = vector("float", lanes)
    masks = [
        mask_of(function, target, columns - lanes * v, lanes) for v in range(vectors)
    ]
    places = [
        [c.at(c_row * row, "float").at(lanes * v, "float") for v in range(vectors)]
        for row in range(rows)
    ]

    def fresh() -> list[Val]:
        starts = [
            function.load(bias.at(lanes * v, "float"), type) for v in range(vectors)
        ]
        return [start for _ in range(rows) for start in starts]

    def partial() -> list[Val]:
        return [
            function.load_masked(place, type, mask)
            for row in places
            for place, mask in zip(row, masks, strict=True)
        ]

    sums = function.choose(first.differs(0), fresh, partial)
    if difference:
        b = _difference(function, target, vectors, k, (b, *more))
    operands = (a, a_row, b, k)
    if more and not difference:
        sums = _run_by_run(function, target, rows, vectors, sums, operands, more[:2])
        sums = limited(function, sums, more[2])
    else:
        sums = _product(function, target, rows, vectors, sums, operands)
    for row in range(rows):
        for v in range(vectors):
            value = sums[row * vectors + v]
            function.store_masked(value, places[row][v], masks[v])


def limited(function: Function, sums: Sequence[Val], limits: Val) -> list[Val]:
    """Return sums within two limits of float32, which a pointer leads to."""
    lanes = kind(sums[0].type).lanes
    low, high = (
        function.splat(function.load(limits.at(i, "float"), "float"), lanes)
        for i in range(2)
    )
    raised = [function.select(low > value, low, value) for value in sums]
    return [function.select(high < value, high, value) for value in raised]


UNLIMITED = (-inf, inf)
"""Limits of sums that stay what they are."""


def _product(
    function: Function,
    target: Target,
    rows: int,
    vectors: int,
    starts: Sequence[Val],
    operands: tuple[Val, ...],
) -> list[Val]:
    if not target.has_lanes:
        return _one_by_one(function, target, rows, vectors, starts, operands)

    def rest(sums: Sequence[Val], a: Val, b: Val, k: Val) -> list[Val]:
        left = (a, operands[1], b, k)
        return _one_by_one(function, target, rows, vectors, sums, left)

    return by_lane.sums(function, target, rows, vectors, starts, operands, rest)


def _one_by_one(
    function: Function,
    target: Target,
    rows: int,
    vectors: int,
    starts: Sequence[Val],
    operands: tuple[Val, ...],
) -> list[Val]:
    a, a_row, b, k = operands
    lanes, width = target.lanes, target.lanes * vectors
    type = vector("float", lanes)
    row_places = [a.at(a_row * row, "i8") for row in range(rows)]
    with function.loop(0, k, carried=starts) as loop:
        panel = b.at(loop.index * width, "float")
        columns = [
            function.load(panel.at(lanes * v, "float"), type) for v in range(vectors)
        ]
        sums = []
        for row, place in enumerate(row_places):
            one = function.load(place.at(loop.index, "float"), "float")
            factor = function.splat(one, lanes)
            for v in range(vectors):
                before = loop.carried[row * vectors + v]
                sums.append(multiply_add(function, target, factor, columns[v], before))
        loop.next(*sums)
    return loop.results


def _run_by_run(
    function: Function,
    target: Target,
    rows: int,
    vectors: int,
    starts: Sequence[Val],
    operands: tuple[Val, ...],
    apart: Sequence[Val],
) -> list[Val]:
    a, a_row, b, k = operands
    steps, count = apart
    carried = [*starts, a, b]
    with function.loop(0, count, carried=carried, runs=True) as loop:
        *sums, place, panel = loop.carried
        here = place.at(function.load(steps.at(loop.index, "i64"), "i64"), "i8")
        sums = _product(function, target, rows, vectors, sums, (here, a_row, panel, k))
        ahead = panel.at(k * (target.lanes * vectors), "float")
        loop.next(*sums, here.at(k, "float"), ahead)
    return loop.results[: rows * vectors]


def _difference(
    function: Function, target: Target, vectors: int, k: Val, panels: Sequence[Val]
) -> Val:
    """Write the difference of two panels into a third; return that."""
    lanes = target.lanes
    type = vector("float", lanes)
    with function.loop(0, k * vectors) as loop:
        b, less, into = (panel.at(loop.index * lanes, "float") for panel in panels)
        function.store(function.load(b, type) - function.load(less, type), into)
    return panels[2]


def multiply_add(function: Function, target: Target, a: Val, b: Val, c: Val) -> Val:
    """Return ``a * b + c``, in one instruction where the target has one."""
    return function.fma(a, b, c) if target.fma else a * b + c
