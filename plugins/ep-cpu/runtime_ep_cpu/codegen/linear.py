"""Linear functions of features, for models of few classes: scores class by class.

For some rows at once, as many as a vector has lanes, their features lie column by column::

    for some classes at once: for k: scores[class][rows] += weights[k][class] · x[k][rows]

Every score is summed in the order of the features, whatever the chunks and threads.
"""

from __future__ import annotations

from typing import Final

from runtime_ep_cpu.codegen import features
from runtime_ep_cpu.codegen.arithmetic import Arithmetic
from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.target import Target

FIELDS: Final = (
    *features.FIELDS, "weights", "offsets", "classes", "scores", "pitch", "each",
)  # fmt: skip
"""Arguments: the features, ``weights`` [features, classes] and ``offsets`` [classes] of
the kernel's type, and ``scores`` [classes, pitch], written by whole vectors; ``each`` says
how many rows are a chunk's, a multiple of the lanes."""

_POINTERS = (*features.POINTERS, "weights", "offsets", "scores")
TOGETHER: Final = 4
"""Classes whose sums are in registers at once."""


def spec(given: str, element: str) -> Spec:
    """Return the kernel for features given in a type and computed with in another."""
    return Spec.of("linear", given=given, element=element)


@family("linear")
def linear(
    module: Module, target: Target, name: str, *, given: str, element: str
) -> None:
    """Write the kernel; see the module's text."""
    f = Function(
        module, name, [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
    )
    arguments, chunk, block = f.parameters
    field = {
        word: f.field(arguments, i, "ptr" if word in _POINTERS else "i64")
        for i, word in enumerate(FIELDS)
    }
    lanes, math = target.lanes, Arithmetic(f, target)
    source = features.Source(field, given, element)
    first = chunk * field["each"]
    end = f.minimum(first + field["each"], field["rows"])
    with f.loop(first, end, lanes, runs=True) as rows:
        features.load(f, source, block, rows.index, f.value(lanes, "i64"), lanes)
        whole = field["classes"] & -TOGETHER
        for start, stop, count in ((f.value(0, "i64"), whole, TOGETHER),
                                   (whole, field["classes"], 1)):  # fmt: skip
            with f.loop(start, stop, count) as classes:
                _sums(
                    math, field, element, lanes, block, rows.index, classes.index, count
                )
    f.ret()


def _sums(
    math: Arithmetic,
    field: dict[str, Val],
    element: str,
    lanes: int,
    block: Val,
    row: Val,
    number: Val,
    count: int,
) -> None:
    """Write the sums of some classes for the rows of a block."""
    f = math.function
    places = [number + i for i in range(count)]
    starts = [
        f.splat(f.load(field["offsets"].at(place, element), element), lanes)
        for place in places
    ]
    type = vector(element, lanes)
    weights = field["weights"].at(number, element)
    with f.loop(0, field["columns"], carried=starts) as columns:
        x = f.load(block.at(columns.index * lanes, element), type)
        line = weights.at(columns.index * field["classes"], element)
        columns.next(
            *(
                math.fma(x, f.splat(f.load(line.at(i, element), element), lanes), total)
                for i, total in enumerate(columns.carried)
            )
        )
    for place, total in zip(places, columns.results, strict=True):
        f.store(total, field["scores"].at(place * field["pitch"] + row, element))
