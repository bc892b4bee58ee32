"""Operands along a row: read vector by vector, whatever their inner strides are.

When a row begins, an operand is opened according to its inner stride: at 1 it is read
where it lies; at 0 its one element is laid into every lane of a small buffer, which is
read again and again; at any other stride its elements are gathered into scratch. One
loop serves every combination, as an index is ``and``-ed with 0 or with all ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from runtime_ep_cpu.codegen import memory
from runtime_ep_cpu.codegen.builder import Function, Module, Val
from runtime_ep_cpu.codegen.nest import Row, Space
from runtime_ep_cpu.codegen.target import Target


class Stream(NamedTuple):
    """An open operand: element, where column 0 lies, and what indices are ``and``-ed
    with."""

    element: str
    pointer: Val
    moves: Val

    def at(self, index: Val) -> Val:
        """Return where a column's element lies, and a vector of them begins."""
        return self.pointer.at(index & self.moves, memory.stored(self.element))

    def read(self, target: Target, index: Val, mask: Val | None = None) -> Val:
        """Read a vector of columns, as it is computed."""
        f = self.pointer.function
        place = self.at(index)
        return memory.read(f, target, place, self.element, target.lanes, mask)


class Opener:
    """Opens operands; made before the nest, as it needs room on the stack.

    ``scratch`` is where elements are gathered, ``room`` bytes for each operand.
    """

    def __init__(
        self,
        f: Function,
        target: Target,
        elements: Sequence[str],
        scratch: Val,
        room: Val,
    ) -> None:
        self.f = f
        self.target = target
        self.elements = elements
        self.rooms = [scratch.at(room * i, "i8") for i in range(len(elements))]
        self.buffers = [
            f.allocate(memory.stored(element), target.lanes) for element in elements
        ]
        self.gather = {
            size: _gather(f.module, size) for size in map(memory.size, elements)
        }

    def open(
        self, number: int, pointer: Val, offset: Val, stride: Val, row: Row
    ) -> Stream:
        """Open an operand for the columns of a row."""
        f, element = self.f, self.elements[number]
        held = memory.stored(element)
        base = pointer.at(offset, held)
        buffer, room = self.buffers[number], self.rooms[number]
        every = f.value(-1, "i64")

        def splat() -> list[Val]:
            number = f"i{8 * memory.size(element)}"
            f.store(f.splat(f.load(base, number), self.target.lanes), buffer)
            return [buffer, f.value(0, "i64")]

        def gather() -> list[Val]:
            first = base.at(row.start * stride, held)
            function = self.gather[memory.size(element)]
            f.call(function, "void", room, first, stride, row.stop - row.start)
            return [room.at(0 - row.start, held), every]

        def elsewhere() -> list[Val]:
            return f.choose(stride.equals(0), splat, gather)

        return Stream(
            element, *f.choose(stride.equals(1), lambda: [base, every], elsewhere)
        )


def room(space: Space, operands: Sequence[int], columns: int) -> int:
    """Return the bytes an operand of so many columns may need to be gathered."""
    if all(space.strides[operand][-1] in (0, 1) for operand in operands):
        return 0
    return -(-columns * 8 // 64) * 64


def _gather(module: Module, size: int) -> str:
    """Add ``gather_N(to, from, stride, count)`` once: to[i] = from[i · stride]."""
    name = f"gather_{size}"
    if module.has(name):
        return name
    parameters = [("ptr", "to"), ("ptr", "from"), ("i64", "stride"), ("i64", "count")]
    f = Function(module, name, parameters, internal=True, noinline=True)
    to, source, stride, count = f.parameters
    element = f"i{8 * size}"
    with f.loop(0, count) as loop:
        value = f.load(source.at(loop.index * stride, element), element)
        f.store(value, to.at(loop.index, element))
    f.ret()
    return name
