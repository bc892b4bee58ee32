"""The loop of a tile on processors whose products take one lane of a register for all.

Where ``x += y * z[lane]`` is one instruction, as Arm's ``fmla v0.4s, v1.4s, v2.s[1]`` is
(Arm Architecture Reference Manual for A-profile, C7.2, FMLA by element), factors of a
row are read as many at a time as a register holds, not one by one into all lanes::

    for k in range(0, K, lanes):
        a[row] = A[row, k : k + lanes]               # for every row
        for lane in range(lanes):
            for v in range(vectors):
                b = B[k + lane, v]
                for row in range(rows): accumulators[row, v] += b * a[row][lane]

A register of B is let go before the next one is read: what is needed at once is a register
for each accumulator, one for each row, and one or two for B.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime_ep_cpu.codegen.builder import Function, Val, vector
from runtime_ep_cpu.codegen.target import Target

Rest = Callable[[Sequence[Val], Val, Val, Val], list[Val]]
"""Adds ``rest(sums, a, b, k)``, the last few factors of each row, one by one."""


def sums(
    function: Function,
    target: Target,
    rows: int,
    vectors: int,
    starts: Sequence[Val],
    operands: tuple[Val, ...],
    rest: Rest,
) -> list[Val]:
    """Return the accumulators after all of K; ``operands`` are A, its row, B and K."""
    f, lanes = function, target.lanes
    a, a_row, b, k = operands
    type = vector("float", lanes)
    whole = k & -lanes
    with f.loop(0, whole, lanes, carried=[*starts, a, b]) as loop:
        *totals, place, panel = loop.carried
        factors = [f.load(place.at(a_row * row, "i8"), type) for row in range(rows)]
        for lane in range(lanes):
            chosen = [f.shuffle(x, x, [lane] * lanes) for x in factors]
            for v in range(vectors):
                column = f.load(panel.at(lanes * (lane * vectors + v), "float"), type)
                for row, factor in enumerate(chosen):
                    index = row * vectors + v
                    totals[index] = f.fma(column, factor, totals[index])
        after = panel.at(lanes * lanes * vectors, "float")
        loop.next(*totals, place.at(lanes, "float"), after)
    *totals, place, panel = loop.results
    return rest(totals, place, panel, k - whole)
