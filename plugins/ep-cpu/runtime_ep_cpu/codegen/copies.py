"""Copies of strided elements: transposes, slices, pieces of concatenations, expansions.

What an element is does not matter, only its size: 1, 2, 4 or 8 bytes. `plan` makes the
iteration space as flat as possible and chooses one of five kernels by the strides::

    rows        both inner strides 1: bytes, vector by vector
    repeated    the source's inner stride is 0: one element over a row (fill, Expand)
    reversed    the source's inner stride is -1
    transposed  another axis of the source has stride 1: squares through registers
    strided     everything else: element by element

A constant is filled by a source whose strides are all 0, and which may lie anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen import nest
from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.memory import mask_of
from runtime_ep_cpu.codegen.nest import Division, Space
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.transpose import transposed

FIELDS: Final = ("to", "from", *nest.fields(("to", "from")))
"""Arguments of every kernel but the transposing one; ``to`` and ``from`` are addresses
of the first elements. The rows kernel counts bytes, the others elements."""

TRANSPOSED_FIELDS: Final = (
    "to", "from", "height", "to_down", *nest.fields(("to", "from", "down"))
)  # fmt: skip
"""Arguments of the transposing kernel: its nest's last outer axis counts squares down
the axis along which the source is contiguous, of ``height`` elements; ``to_down`` is
the destination's stride along it."""

WIDER: Final = {1: (1, 4, 8), 2: (2, 4, 8), 4: (4, 8), 8: (8,)}
"""As elements of which sizes those of a size may be copied, where some lie together.

Pairs of bytes are none: they are rare, and each size costs several kernels.
"""
SIZES: Final = tuple(WIDER)
_CHUNK = 64 * 1024
"""Bytes of a chunk."""
_SHORT = 16
"""Below so many elements, a longer axis than the inner one is gone along instead."""


class Copy(NamedTuple):
    """What runs a copy: a kernel, its arguments but the two addresses, its chunks."""

    spec: Spec
    numbers: list[int]
    chunks: int


def specs(size: int, turned: bool = False) -> tuple[Spec, ...]:
    """Return every kernel that `plan` may choose for elements of a size.

    ``turned`` adds those for strides below 0.
    """
    kinds = ["copy_repeated", "copy_transposed", "copy_strided"]
    if turned:
        kinds.append("copy_reversed")
    return (
        _spec("copy_rows"),
        *(_spec(kind, s) for s in WIDER[size] for kind in kinds),
    )


@cache
def _spec(kind: str, size: int = 0) -> Spec:
    return Spec.of(kind, size=size) if size else Spec.of(kind)


def plan(
    target: Target,
    size: int,
    shape: Sequence[int],
    to: Sequence[int],
    source: Sequence[int],
) -> Copy:
    """Choose a kernel for a shape and strides in elements, and cut it into chunks.

    The destination's strides are not 0 where there is more than one element. Raises
    ``ValueError`` for copies of more than six axes that cannot be made one.
    """
    if any(abs(to[i]) < abs(to[i + 1]) for i in range(len(to) - 1)):
        order = sorted(range(len(to)), key=lambda axis: -abs(to[axis]))
        shape = [shape[axis] for axis in order]
        to, source = [to[axis] for axis in order], [source[axis] for axis in order]
    sizes, (to, source) = nest.merged(shape, (to, source))
    while sizes and to[-1] == source[-1] == 1 and len(sizes) > 1:
        inner = sizes[-1]
        if size * inner not in WIDER[size] or any(
            stride % inner for stride in (*to[:-1], *source[:-1])
        ):
            break
        size *= inner
        sizes = sizes[:-1]
        to = [stride // inner for stride in to[:-1]]
        source = [stride // inner for stride in source[:-1]]
    if not sizes:
        sizes, to, source = [1], [1], [1]
    return _chosen(target, size, sizes, to, source)


def _chosen(
    target: Target, size: int, sizes: list[int], to: list[int], source: list[int]
) -> Copy:
    kind = "copy_strided"
    if to[-1] == 1:
        if source[-1] == 1:
            sizes = [*sizes[:-1], sizes[-1] * size]
            to = [*(s * size for s in to[:-1]), 1]
            source = [*(s * size for s in source[:-1]), 1]
            return _divided(_spec("copy_rows"), 1, sizes, to, source)
        if source[-1] in (0, -1):
            kind = "copy_reversed" if source[-1] else "copy_repeated"
        else:
            edge = square(target, size)
            for axis in range(len(sizes) - 1):
                if source[axis] == 1 and sizes[axis] >= edge <= sizes[-1]:
                    return _squares(size, edge, axis, sizes, to, source)
    if kind == "copy_strided" and sizes[-1] < _SHORT:
        longest = max(range(len(sizes)), key=sizes.__getitem__)
        for values in (sizes, to, source):
            values.append(values.pop(longest))
    return _divided(_spec(kind, size), size, sizes, to, source)


def _divided(
    spec: Spec, size: int, sizes: list[int], to: list[int], source: list[int]
) -> Copy:
    space = nest.collapse(sizes, (to, source), keep_inner=True)
    division = nest.divide(space.rows, space.inner, _CHUNK // size)
    return Copy(spec, nest.numbers(space, division), division.chunks)


def _squares(
    size: int,
    edge: int,
    down: int,
    sizes: list[int],
    to: list[int],
    source: list[int],
) -> Copy:
    """Lay out a transposition: outer axes, squares down, and across the inner axis."""
    others = [axis for axis in range(len(sizes) - 1) if axis != down]
    spare = nest.OUTER - 1 - len(others)
    if spare < 0:
        raise ValueError(f"a copy of sizes {sizes} has more axes than kernels take")
    height = sizes[down]
    squares = -(-height // edge)
    outer = (*(1,) * spare, *(sizes[axis] for axis in others), squares)
    ahead = (0,) * spare
    strides = (
        (*ahead, *(to[axis] for axis in others), edge * to[down], 1),
        (*ahead, *(source[axis] for axis in others), edge, source[-1]),
        (0,) * (nest.OUTER - 1) + (edge, 0),
    )
    space = Space(outer, sizes[-1], strides)
    count = max(edge, _CHUNK // size // edge)
    division = nest.divide(space.rows, space.inner, count, edge)
    if not height:
        division = Division(1, 1, 1, 0)
    values = [height, to[down], *nest.numbers(space, division)]
    return Copy(_spec("copy_transposed", size), values, division.chunks)


def square(target: Target, size: int) -> int:
    """Return the edge of the squares that go through registers, half of them at most."""
    if size > 2:
        return target.bits // 8 // size
    line = max(1, 16 * size * 8 // target.bits)
    return 16 if 16 * line <= target.registers // 2 else 8


Body = Callable[[Function, list[Val], nest.Row], None]


def _kernel(module: Module, name: str, body: Body, fields: int, operands: int) -> None:
    """Write a function that runs a body for each row of a nest."""
    f = Function(module, name, [("ptr", "args"), ("i64", "chunk"), ("ptr", "scratch")])
    arguments, chunk, _ = f.parameters
    front = [f.field(arguments, i, "ptr" if i < 2 else "i64") for i in range(fields)]
    with nest.rows(f, arguments, chunk, fields, operands) as row:
        body(f, front, row)
    f.ret()


@family("copy_rows")
def rows(module: Module, target: Target, name: str) -> None:
    """Write copies of rows of bytes::

    for row: to[row, start:stop] = from[row, start:stop]
    """
    copy = bytes_copied(module, target)

    def body(f: Function, front: list[Val], row: nest.Row) -> None:
        to, source = (
            pointer.at(offset + row.start, "i8")
            for pointer, offset in zip(front, row.offsets, strict=True)
        )
        f.call(copy, "void", to, source, row.stop - row.start)

    _kernel(module, name, body, 2, 2)


def bytes_copied(module: Module, target: Target) -> str:
    """Add ``copy_bytes(to, from, count)``, once per module, and return its name::

    count >= V: four vectors at a time, one at a time, then one that ends with the row
    count < V:  a masked vector, or two halves, quarters, … that overlap
    """
    name = f"copy_bytes_{target.bits}"
    if module.has(name):
        return name
    f = Function(
        module,
        name,
        [("ptr", "to"), ("ptr", "from"), ("i64", "count")],
        internal=True,
        noinline=True,
    )
    to, source, count = f.parameters
    wide = target.bits // 8
    type = vector("i8", wide)

    def move(place: Val, type: str) -> None:
        f.store(f.load(source.at(place, "i8"), type, 1), to.at(place, "i8"), 1)

    with f.when(count >= wide):
        fours = count & -(4 * wide)
        with f.loop(0, fours, 4 * wide) as loop:
            values = [
                f.load(source.at(loop.index + i * wide, "i8"), type, 1)
                for i in range(4)
            ]
            for i, value in enumerate(values):
                f.store(value, to.at(loop.index + i * wide, "i8"), 1)
        with f.loop(fours, count & -wide, wide) as loop:
            move(loop.index, type)
        with f.when((count & (wide - 1)).differs(0)):
            move(count - wide, type)
        f.ret()
        f.label(f.fresh("never"))
    if target.name == "avx512":
        mask = mask_of(f, target, count, wide)
        f.store_masked(f.load_masked(source, type, mask), to, mask)
    else:
        _overlapping_halves(f, move, count, wide // 2)
    f.ret()
    return name


def _overlapping_halves(
    f: Function, move: Callable[[Val, str], None], count: Val, width: int
) -> None:
    zero = f.value(0, "i64")
    while width:
        with f.when(count >= width):
            move(zero, f"i{8 * width}")
            move(count - width, f"i{8 * width}")
            f.ret()
            f.label(f.fresh("never"))
        width //= 2


def _whole(row: nest.Row, lanes: int) -> Val:
    """Return where the whole vectors of a row end."""
    return row.start + ((row.stop - row.start) & -lanes)


@family("copy_repeated")
def repeated(module: Module, target: Target, name: str, *, size: int) -> None:
    """Write rows that hold one element of the source each::

    for row: to[row, start:stop] = from[row]
    """
    element = f"i{8 * size}"
    lanes = target.bits // 8 // size

    def body(f: Function, front: list[Val], row: nest.Row) -> None:
        value = f.load(front[1].at(row.offsets[1], element), element, 1)
        many = f.splat(value, lanes)
        to = front[0].at(row.offsets[0], element)
        with f.loop(row.start, _whole(row, lanes), lanes) as loop:
            f.store(many, to.at(loop.index, element), 1)
        with f.loop(_whole(row, lanes), row.stop) as loop:
            f.store(value, to.at(loop.index, element), 1)

    _kernel(module, name, body, 2, 2)


@family("copy_reversed")
def reversed_rows(module: Module, target: Target, name: str, *, size: int) -> None:
    """Write rows read from their end::

    for row: to[row, i] = from[row - i] for i in range(start, stop)
    """
    element = f"i{8 * size}"
    lanes = target.bits // 8 // size
    type = vector(element, lanes)

    def body(f: Function, front: list[Val], row: nest.Row) -> None:
        to, source = (
            pointer.at(offset, element)
            for pointer, offset in zip(front, row.offsets, strict=True)
        )
        with f.loop(row.start, _whole(row, lanes), lanes) as loop:
            found = f.load(source.at(1 - lanes - loop.index, element), type, 1)
            turned = f.shuffle(found, found, range(lanes - 1, -1, -1))
            f.store(turned, to.at(loop.index, element), 1)
        with f.loop(_whole(row, lanes), row.stop) as loop:
            found = f.load(source.at(0 - loop.index, element), element, 1)
            f.store(found, to.at(loop.index, element), 1)

    _kernel(module, name, body, 2, 2)


@family("copy_strided")
def strided(module: Module, target: Target, name: str, *, size: int) -> None:
    """Write copies of single elements, four a round::

    for row: to[row, i · to_stride] = from[row, i · from_stride]
    """
    element = f"i{8 * size}"

    def body(f: Function, front: list[Val], row: nest.Row) -> None:
        places = [
            pointer.at(offset + row.start * stride, element)
            for pointer, offset, stride in zip(
                front, row.offsets, row.strides, strict=True
            )
        ]
        for width in (4, 1):
            jumps = [[stride * i for i in range(width + 1)] for stride in row.strides]
            start = row.start if width > 1 else _whole(row, 4)
            stop = row.stop if width == 1 else _whole(row, 4)
            with f.loop(start, stop, width, places) as loop:
                to, source = (
                    [place.at(jump, element) for jump in steps]
                    for place, steps in zip(loop.carried, jumps, strict=True)
                )
                values = [f.load(place, element, 1) for place in source[:-1]]
                for value, place in zip(values, to[:-1], strict=True):
                    f.store(value, place, 1)
                loop.next(to[-1], source[-1])
            places = loop.results

    _kernel(module, name, body, 2, 2)


@family("copy_transposed")
def transposing(module: Module, target: Target, name: str, *, size: int) -> None:
    """Write transpositions by squares in registers; the last of a row or column begins
    earlier, so that it is a whole one::

    for outer, down in steps of the edge:
        for across in steps of the edge:
            to[outer, down + i, across + j] = from[outer, across + j, down + i]
    """
    element = f"i{8 * size}"
    edge = square(target, size)
    type = vector(element, edge)

    def body(f: Function, front: list[Val], row: nest.Row) -> None:
        to, source, height, to_down = front
        down = row.offsets[2]
        back = f.minimum(height - edge - down, 0)
        to = to.at(row.offsets[0] + back * to_down, element)
        source = source.at(row.offsets[1] + back, element)
        from_across = row.strides[1]
        last = f.field(f.parameters[0], TRANSPOSED_FIELDS.index("inner")) - edge
        with f.loop(row.start, row.stop, edge, runs=True) as loop:
            across = f.minimum(loop.index, last)
            lines = [
                f.load(source.at((across + i) * from_across, element), type, 1)
                for i in range(edge)
            ]
            for i, line in enumerate(transposed(f, lines)):
                f.store(line, to.at(across + to_down * i, element), 1)

    _kernel(module, name, body, 4, 3)
