"""Scatters whose updates are combined with what they fall on: sums, products, extremes.

The nest, its operands and what is done with indices are those of `lookup`::

    for row: place = Σ wrapped(index[d]) · axis_stride[d]
        to[row + place] = combine(to[row + place], from[row])

Rows follow each other within a chunk, and chunks are blocks of columns, so that updates
of one place are combined in their order, whatever the threads.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from runtime_ep_cpu.codegen import memory, nest
from runtime_ep_cpu.codegen.builder import Module, Val
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.lookup import (
    AXIS_FIELDS,
    Lookup,
    LookupKernel,
    Places,
    by_columns,
)
from runtime_ep_cpu.codegen.nest import Division
from runtime_ep_cpu.codegen.rows import sweep
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath

OPERATIONS: Final = ("add", "mul", "max", "min")
ELEMENTS: Final = ("float", "double", "i32", "i64")

__all__ = ["AXIS_FIELDS", "ELEMENTS", "OPERATIONS", "plan", "specs"]


def specs(element: str, index: str, depth: int, operation: str) -> tuple[Spec, ...]:
    """Return both kernels that `plan` may choose."""
    return tuple(
        _spec(element, index, depth, operation, rows) for rows in (True, False)
    )


@cache
def _spec(element: str, index: str, depth: int, operation: str, rows: bool) -> Spec:
    return Spec.of(
        "combine_rows" if rows else "combine_elements",
        element=element, index=index, depth=depth, operation=operation,
    )  # fmt: skip


def plan(element: str, places: Places, index: str, operation: str) -> Lookup:
    """Choose a kernel for a scatter that `lookup.scatter` describes.

    Raises ``ValueError`` for too many axes.
    """
    space = nest.collapse(places.shape, (places.to, places.source, places.indices))
    to, source, indices = space.strides
    rows = to[-1] == source[-1] == 1 and indices[-1] == 0
    if rows:
        division = by_columns(space.rows, space.inner)
    else:
        whole = nest.divide(space.rows, space.inner, space.rows * space.inner or 1)
        division = Division(space.inner, 1, space.rows, min(1, whole.chunks))
    values = [places.index_step]
    for extent, stride in places.axes:
        values += (extent, stride)
    spec = _spec(element, index, len(places.axes), operation, rows)
    return Lookup(spec, values + nest.numbers(space, division), division.chunks)


@family("combine_rows")
def combine_rows(
    module: Module,
    target: Target,
    name: str,
    *,
    element: str,
    index: str,
    depth: int,
    operation: str,
) -> None:
    """Write the combining of rows, vector by vector."""
    kernel = LookupKernel(module, target, name, index, depth)
    f, math = kernel.f, VectorMath(kernel.f, target)
    with nest.rows(f, f.parameters[0], f.parameters[1], kernel.nest, 3) as row:
        inside, place = kernel.place(row.offsets[2])
        with f.when(inside):
            to = kernel.to.at(row.offsets[0] + place, element)
            source = kernel.source.at(row.offsets[1], element)

            def step(column: Val, mask: Val | None) -> None:
                here = to.at(column, element)
                have, more = (
                    memory.read(
                        f, target, p.at(0, element), element, target.lanes, mask
                    )
                    for p in (here, source.at(column, element))
                )
                made = _combined(math, operation, have, more)
                memory.write(f, target, made, here, element, mask)

            sweep(f, target, row.start, row.stop, step)
        with f.when(~inside):
            kernel.fail()
    f.ret()


@family("combine_elements")
def combine_elements(
    module: Module,
    target: Target,
    name: str,
    *,
    element: str,
    index: str,
    depth: int,
    operation: str,
) -> None:
    """Write the combining of single elements."""
    kernel = LookupKernel(module, target, name, index, depth)
    f, math = kernel.f, VectorMath(kernel.f, target, 0)
    with nest.rows(f, f.parameters[0], f.parameters[1], kernel.nest, 3) as row:
        to = kernel.to.at(row.offsets[0], element)
        source = kernel.source.at(row.offsets[1], element)
        to_step, source_step, index_step = row.strides
        with f.loop(row.start, row.stop) as loop:
            inside, place = kernel.place(row.offsets[2] + loop.index * index_step)
            with f.when(inside):
                here = to.at(loop.index * to_step + place, element)
                more = f.load(source.at(loop.index * source_step, element), element)
                made = _combined(math, operation, f.load(here, element), more)
                f.store(made, here)
            with f.when(~inside):
                kernel.fail()
    f.ret()


def _combined(math: VectorMath, operation: str, have: Val, more: Val) -> Val:
    """Return what is there combined with an update, as NumPy's functions do."""
    if operation == "add":
        return have + more
    if operation == "mul":
        return have * more
    return math.maximum(have, more) if operation == "max" else math.minimum(have, more)
