"""Element-wise kernels: an expression for each element of a broadcast iteration space.

Operands and results have strides for every axis; results are contiguous along the inner
one, operands need not be. A result may lie where an operand lies if their strides are
the same. The written nest, with a body of some vectors at a time::

    for row:
        open the operands: as they are, splatted, or gathered
        for column in range(start, stop, lanes): results = expression(operands)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from runtime_ep_cpu.codegen import memory, nest
from runtime_ep_cpu.codegen.builder import Function, Module, Val
from runtime_ep_cpu.codegen.cost import cycles
from runtime_ep_cpu.codegen.expression import Expression, evaluate
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.streams import Opener, Stream, room
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath


def fields(results: int, operands: int) -> tuple[str, ...]:
    """Return the arguments: addresses of results and operands, the bytes of scratch an
    operand has, and the nest with the strides of each."""
    names = (
        *(f"result_{i}" for i in range(results)),
        *(f"operand_{i}" for i in range(operands)),
    )
    return (*names, "room", *nest.fields(names))


class Elementwise(NamedTuple):
    """What runs a kernel: arguments but the addresses, chunks, bytes of scratch."""

    numbers: list[int]
    chunks: int
    scratch: int


def spec(expression: Expression) -> Spec:
    """Return the kernel that computes an expression."""
    return Spec.of("elementwise", expression=expression)


def plan(
    elements: int,
    shape: Sequence[int],
    results: Sequence[Sequence[int]],
    operands: Sequence[Sequence[int]],
) -> Elementwise:
    """Lay out a shape with strides in elements, in chunks of about so many elements
    (see `cost.chunk_elements`).

    Raises ``ValueError`` for too many axes and for results that are not contiguous.
    """
    space = nest.collapse(shape, (*results, *operands))
    count = len(results)
    for strides in space.strides[:count]:
        if strides[-1] != 1 and space.inner > 1:
            raise ValueError(
                f"a result has the stride {strides[-1]} along the inner axis; "
                "compute into contiguous memory and copy from there"
            )
    return _laid_out(space, count, elements)


def _laid_out(space: nest.Space, results: int, elements: int) -> Elementwise:
    operands = range(results, len(space.strides))
    division = nest.divide(space.rows, space.inner, elements)
    each = room(space, operands, division.block)
    return Elementwise(
        [each, *nest.numbers(space, division)], division.chunks, each * len(operands)
    )


@family("elementwise")
def elementwise(
    module: Module, target: Target, name: str, *, expression: Expression
) -> None:
    """Write the kernel of an expression; see the module's text."""
    f = Function(module, name, [("ptr", "args"), ("i64", "chunk"), ("ptr", "scratch")])
    arguments, chunk, scratch = f.parameters
    made, given = len(expression.results), len(expression.operands)
    pointers = [f.field(arguments, i, "ptr") for i in range(made + given)]
    place = made + given
    opener = Opener(f, target, expression.operands, scratch, f.field(arguments, place))
    with nest.rows(f, arguments, chunk, place + 1, place) as row:
        streams = [
            opener.open(i, pointers[made + i], row.offsets[made + i], stride, row)
            for i, stride in enumerate(row.strides[made:])
        ]
        places = [
            pointers[i].at(row.offsets[i], memory.stored(element))
            for i, (_, element) in enumerate(expression.results)
        ]
        _columns(f, target, expression, row, streams, places)
    f.ret()


def _columns(
    f: Function,
    target: Target,
    expression: Expression,
    row: nest.Row,
    streams: Sequence[Stream],
    places: Sequence[Val],
) -> None:
    lanes = target.lanes
    math = VectorMath(f, target)
    unrolled = 2 if cycles(expression) < (40 if target.registers > 16 else 20) else 1

    def compute(index: Val, mask: Val | None) -> list[Val]:
        return evaluate(
            expression, [stream.read(target, index, mask) for stream in streams], math
        )

    def write(index: Val, values: Sequence[Val], mask: Val | None) -> None:
        for value, place, (_, element) in zip(
            values, places, expression.results, strict=True
        ):
            here = place.at(index, memory.stored(element))
            memory.write(f, target, value, here, element, mask)

    whole = row.start + ((row.stop - row.start) & -(lanes * unrolled))
    with f.loop(row.start, whole, lanes * unrolled) as loop:
        indices = [loop.index + lanes * i for i in range(unrolled)]
        values = [compute(index, None) for index in indices]
        for index, results in zip(indices, values, strict=True):
            write(index, results, None)
    with f.loop(whole, row.stop, lanes) as loop:
        mask = memory.mask_of(f, target, row.stop - loop.index, lanes)
        write(loop.index, compute(loop.index, mask), mask)
