"""What is done with a tile of sums before it is written: an expression, row by row.

Products and convolutions sum into memory that is still in the first cache when
`Finisher.apply` goes over it::

    for row in tile:
        for columns of one register: out[row, columns] = expression(sums, operands)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen.builder import Function, Val, vector
from runtime_ep_cpu.codegen.expression import Expression, evaluate
from runtime_ep_cpu.codegen.memory import mask_of, read, read_one, stored, write
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath

OPERAND_FIELDS: Final = ("operand", "operand_row")
"""Arguments of each operand: its address, and its row stride in elements."""

PLAIN: Final = Expression(("float",), (), ((0, "float"),))
"""The epilogue that changes nothing."""


class Operand(NamedTuple):
    """Where an operand's values for some columns begin."""

    pointer: Val
    row: Val
    element: str


class Finisher:
    """Writes the epilogue of one kernel.

    The expression's first operand is the sum, the others follow; ``wide`` tells, for
    each of those, whether it has a value per column, or one for the whole row.
    """

    def __init__(
        self,
        f: Function,
        target: Target,
        expression: Expression,
        wide: Sequence[bool],
        vectors: int,
    ) -> None:
        self._f = f
        self._target = target
        self._expression = expression
        self._wide = wide
        self._vectors = vectors

    @property
    def element(self) -> str:
        """The result's element type."""
        return self._expression.results[0][1]

    def operands(
        self, arguments: Val, slot: int, shifts: Sequence[Val], column: Val
    ) -> list[Operand]:
        """Read the operands' arguments, which begin at a slot.

        ``shifts`` say how far each begins behind its address, in elements.
        """
        f = self._f
        found = []
        for index, (is_wide, shift) in enumerate(zip(self._wide, shifts, strict=True)):
            element = self._expression.operands[index + 1]
            place = slot + len(OPERAND_FIELDS) * index
            pointer = f.field(arguments, place, "ptr").at(shift, stored(element))
            if is_wide:
                pointer = pointer.at(column, stored(element))
            found.append(Operand(pointer, f.field(arguments, place + 1), element))
        return found

    def apply(
        self,
        sums: tuple[Val, Val],
        into: tuple[Val, Val],
        operands: Sequence[Operand],
        top: Val,
        rows: Val,
        columns: Val,
    ) -> None:
        """Finish so many rows and columns.

        ``sums`` and ``into`` are addresses of the first row and strides of rows in
        elements; ``top`` is the row's number for the operands.
        """
        f, lanes = self._f, self._target.lanes
        math = VectorMath(f, self._target)
        masks = [
            mask_of(f, self._target, columns - lanes * v, lanes)
            for v in range(self._vectors)
        ]
        out = stored(self.element)
        with f.loop(0, rows, runs=True) as loop:
            here = sums[0].at(loop.index * sums[1], "float")
            there = into[0].at(loop.index * into[1], out)
            row = top + loop.index
            pointers = [o.pointer.at(row * o.row, stored(o.element)) for o in operands]
            for v in range(self._vectors):
                total = f.load_masked(
                    here.at(lanes * v, "float"), vector("float", lanes), masks[v]
                )
                values = [
                    self._value(i, pointer, v, masks[v])
                    for i, pointer in enumerate(pointers)
                ]
                (result,) = evaluate(self._expression, [total, *values], math)
                place = there.at(lanes * v, out)
                write(f, self._target, result, place, self.element, masks[v])

    def _value(self, index: int, pointer: Val, v: int, mask: Val) -> Val:
        f, lanes = self._f, self._target.lanes
        element = self._expression.operands[index + 1]
        if self._wide[index]:
            place = pointer.at(lanes * v, stored(element))
            return read(f, self._target, place, element, lanes, mask)
        return f.splat(read_one(f, self._target, pointer, element), lanes)
