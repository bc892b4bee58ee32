"""Running sums and products along an axis, and triangles of matrices.

Lines along the axis are independent of each other; beside each other they are columns::

    for columns by 4 · lanes, then by lanes, then masked:      cumulative_columns
    for columns by 8, then by one:                             cumulative_lines
        total = nothing
        for place along the axis: total = total ∘ x[place, columns]; result[…] = total

    for place along the axis:                                  cumulative_rows
        for columns: totals[columns] = totals[columns] ∘ x[place, columns]; …

The first and the last are for columns that lie behind each other, few or many. What is
computed in which order is the same in all: that of the axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen import memory, nest
from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.expression import widened
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.nest import Row
from runtime_ep_cpu.codegen.rows import sweep
from runtime_ep_cpu.codegen.target import Target

OPERATIONS: Final = {"add": 0, "mul": 1}
"""Operations, and what they make of nothing."""

FIELDS: Final = ("result", "x", "length", "result_step", "x_step")
"""First arguments: two addresses, how long the axis is, and strides along it; the nest of
result and x follows."""

TRIANGLE_FIELDS: Final = ("result", "x", "diagonal")
"""First arguments of `triangle`: two addresses and the number of the diagonal; the nest
of result, x and the numbers of rows follows. Inner strides are 1."""

_WAYS: Final = 4
_MANY: Final = 512
"""Columns that lie behind each other from which on a row of them is gone along."""

_ROW: Final = 2048
"""Columns of a block that is gone along: their totals stay in the first cache."""

_LINES: Final = 8
_CHUNK: Final = 16 * 1024


def specs(element: str, operation: str, exclusive: bool) -> tuple[Spec, ...]:
    """Return the kernels that `plan` may choose."""
    return tuple(
        Spec.of(
            f"cumulative_{way}",
            element=element,
            operation=operation,
            exclusive=exclusive,
        )
        for way in _KINDS
    )


_KINDS: Final = ("columns", "lines", "rows")


class Plan(NamedTuple):
    """Which of `specs` runs, the nest's numbers, the chunks, and bytes that a thread needs."""

    choice: int
    numbers: list[int]
    chunks: int
    scratch: int


def plan(
    shape: Sequence[int], length: int, result: Sequence[int], x: Sequence[int]
) -> Plan:
    """Plan lines of a length that lie beside each other in a shape.

    Raises ``ValueError`` for too many axes.
    """
    order = sorted(range(len(shape)), key=lambda axis: -abs(result[axis]))
    shape, result, x = ([v[axis] for axis in order] for v in (shape, result, x))
    space = nest.collapse(shape, (result, x))
    each, scratch = max(1, _CHUNK // length), 0
    kind = "lines"
    if all(strides[-1] == 1 for strides in space.strides):
        kind = "columns" if space.inner < _MANY else "rows"
    if kind == "rows":
        each = max(each, _ROW)
    division = nest.divide(space.rows, space.inner, each)
    if kind == "rows":
        scratch = 8 * division.block
    numbers = nest.numbers(space, division)
    return Plan(_KINDS.index(kind), numbers, division.chunks, scratch)


@family("cumulative_columns")
def cumulative_columns(
    module: Module,
    target: Target,
    name: str,
    *,
    element: str,
    operation: str,
    exclusive: bool,
) -> None:
    """Write the kernel for columns that lie behind each other."""
    kernel = _Kernel(module, target, name, element, operation, exclusive)
    f, lanes = kernel.f, target.lanes

    def columns(row: Row) -> None:
        def block(index: Val, mask: Val | None, ways: int) -> None:
            places = [index + lanes * i for i in range(ways)]
            kernel.along(row, places, lanes, mask)

        many = row.start + ((row.stop - row.start) & -(lanes * _WAYS))
        with f.loop(row.start, many, lanes * _WAYS) as loop:
            block(loop.index, None, _WAYS)
        sweep(f, target, many, row.stop, lambda i, mask: block(i, mask, 1))

    kernel.whole(columns)


@family("cumulative_rows")
def cumulative_rows(
    module: Module,
    target: Target,
    name: str,
    *,
    element: str,
    operation: str,
    exclusive: bool,
) -> None:
    """Write the kernel for many columns that lie behind each other."""
    kernel = _Kernel(module, target, name, element, operation, exclusive)
    f, computed, held = kernel.f, widened(element), kernel.held
    totals = f.parameters[2]
    nothing = f.value(OPERATIONS[operation], vector(computed, target.lanes))

    def rows(row: Row) -> None:
        def clear(index: Val, mask: Val | None) -> None:
            place = totals.at(index - row.start, computed)
            memory.write(f, target, nothing, place, computed, mask)

        sweep(f, target, row.start, row.stop, clear)
        with f.loop(0, kernel.length, runs=True) as loop:
            to, source = (
                base.at(offset + loop.index * step, held)
                for base, offset, step in zip(
                    (kernel.result, kernel.x), row.offsets, kernel.steps, strict=True
                )
            )

            def step(index: Val, mask: Val | None) -> None:
                place = totals.at(index - row.start, computed)
                lanes = target.lanes
                total = memory.read(f, target, place, computed, lanes, mask)
                given = source.at(index, held)
                x = memory.read(f, target, given, element, lanes, mask)
                following = kernel.joined(total, x)
                memory.write(f, target, following, place, computed, mask)
                value = total if exclusive else following
                memory.write(f, target, value, to.at(index, held), element, mask)

            sweep(f, target, row.start, row.stop, step)

    kernel.whole(rows)


@family("cumulative_lines")
def cumulative_lines(
    module: Module,
    target: Target,
    name: str,
    *,
    element: str,
    operation: str,
    exclusive: bool,
) -> None:
    """Write the kernel for columns that lie anywhere, some at once."""
    kernel = _Kernel(module, target, name, element, operation, exclusive)
    f = kernel.f

    def lines(row: Row) -> None:
        many = row.start + ((row.stop - row.start) & -_LINES)
        with f.loop(row.start, many, _LINES) as loop:
            kernel.along(row, [loop.index + i for i in range(_LINES)], 0, None)
        with f.loop(many, row.stop) as loop:
            kernel.along(row, [loop.index], 0, None)

    kernel.whole(lines)


class _Kernel:
    """A kernel being written."""

    def __init__(
        self,
        module: Module,
        target: Target,
        name: str,
        element: str,
        operation: str,
        exclusive: bool,
    ) -> None:
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = f = Function(module, name, parameters)
        self.target, self.element, self.operation = target, element, operation
        self.exclusive = exclusive
        self.held = memory.stored(element)
        arguments = f.parameters[0]
        self.result, self.x = (f.field(arguments, i, "ptr") for i in (0, 1))
        self.length, *self.steps = (f.field(arguments, i) for i in (2, 3, 4))

    def whole(self, body: Callable[[Row], None]) -> None:
        """Write the nest around what is done with the columns of a row."""
        f = self.f
        arguments, chunk, _ = f.parameters
        with nest.rows(f, arguments, chunk, len(FIELDS), 2) as row:
            body(row)
        f.ret()

    def along(
        self, row: Row, columns: Sequence[Val], lanes: int, mask: Val | None
    ) -> None:
        """Go along the axis with some columns, or vectors of them."""
        f, held = self.f, self.held
        starts = [
            [base.at(offset + column * stride, held) for column in columns]
            for base, offset, stride in zip(
                (self.result, self.x), row.offsets, row.strides, strict=True
            )
        ]
        type = vector(widened(self.element), lanes)
        nothing = [f.value(OPERATIONS[self.operation], type)] * len(columns)
        with f.loop(0, self.length, carried=nothing, runs=True) as loop:
            to, source = (loop.index * step for step in self.steps)
            totals = []
            for made, given, total in zip(*starts, loop.carried, strict=True):
                x = self._read(given.at(source, held), lanes, mask)
                following = self.joined(total, x)
                value = total if self.exclusive else following
                place = made.at(to, held)
                memory.write(f, self.target, value, place, self.element, mask)
                totals.append(following)
            loop.next(*totals)

    def joined(self, total: Val, x: Val) -> Val:
        """Return a total with one more element."""
        return total + x if self.operation == "add" else total * x

    def _read(self, place: Val, lanes: int, mask: Val | None) -> Val:
        if not lanes:
            return memory.read_one(self.f, self.target, place, self.element)
        return memory.read(self.f, self.target, place, self.element, lanes, mask)


def triangle_spec(size: int, upper: bool) -> Spec:
    """Return the kernel that keeps a triangle of elements of a size."""
    return Spec.of("triangle", size=size, upper=upper)


def triangle_plan(
    shape: Sequence[int], result: Sequence[int], x: Sequence[int]
) -> tuple[list[int], int]:
    """Return the nest's numbers and the number of chunks for matrices of a shape."""
    numbers = (*(0,) * (len(shape) - 2), 1, 0)
    space = nest.collapse(shape, (result, x, numbers), keep_inner=True)
    division = nest.divide(space.rows, space.inner, _CHUNK)
    return nest.numbers(space, division), division.chunks


@family("triangle")
def triangle(
    module: Module, target: Target, name: str, *, size: int, upper: bool
) -> None:
    """Write the keeping of what is on a diagonal and above it, or below it."""
    parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
    f = Function(module, name, parameters)
    arguments, chunk, _ = f.parameters
    element, lanes = f"i{8 * size}", target.lanes
    result, source = (f.field(arguments, i, "ptr") for i in (0, 1))
    diagonal = f.field(arguments, 2)
    zero = f.value(0, vector(element, lanes))
    with nest.rows(f, arguments, chunk, len(TRIANGLE_FIELDS), 3) as row:
        to = result.at(row.offsets[0], element)
        given = source.at(row.offsets[1], element)
        edge = row.offsets[2] + diagonal + (0 if upper else 1)
        edge = f.minimum(f.maximum(edge, row.start), row.stop)

        def clear(index: Val, mask: Val | None, to: Val = to) -> None:
            memory.write(f, target, zero, to.at(index, element), element, mask)

        def copy(index: Val, mask: Val | None, to: Val = to, x: Val = given) -> None:
            place = x.at(index, element)
            value = memory.read(f, target, place, element, lanes, mask)
            memory.write(f, target, value, to.at(index, element), element, mask)

        sweep(f, target, row.start, edge, clear if upper else copy)
        sweep(f, target, edge, row.stop, copy if upper else clear)
    f.ret()
