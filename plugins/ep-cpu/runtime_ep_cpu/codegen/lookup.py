"""Reads and writes where indices say: Gather, GatherElements, GatherND and Scatter.

All are one nest over three operands, destination, source and indices. One side's place
depends on an index, or on a tuple of ``depth`` of them, each along an axis of its own::

    for row: place = Σ wrapped(index[d]) · axis_stride[d]
        gather   to[row] = from[row + place]      zeros where an index is out of range
        scatter  to[row + place] = from[row]      nothing where an index is out of range

Negative indices count from the back. An index out of range sets the word at ``failed``
to 1 and nothing is read or written there. ``…_rows`` moves rows of bytes and reads an
index once per row, ``…_elements`` reads one per element; so does ``gather_lanes``, vector
by vector, where elements of 4 bytes and their indices lie behind each other. Chunks of a
scatter are blocks of columns, so that of several rows for one place the last stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen import nest
from runtime_ep_cpu.codegen.builder import Function, Module, Val, kind, vector
from runtime_ep_cpu.codegen.copies import SIZES, bytes_copied
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.nest import Division
from runtime_ep_cpu.codegen.target import Target

FIELDS: Final = ("to", "from", "indices", "failed", "index_step")
"""First arguments of every kernel: four addresses, the distance between the indices of
a tuple. `AXIS_FIELDS` follow per index of a tuple, then the nest of ``to``, ``from``
and ``indices``. The rows kernels count ``to`` and ``from`` in bytes."""

AXIS_FIELDS: Final = ("axis_size", "axis_stride")

_ROW_CHUNK = 64 * 1024
_CHUNK = 8 * 1024


class Lookup(NamedTuple):
    """What runs a look-up: kernel, arguments but the four addresses, chunks."""

    spec: Spec
    numbers: list[int]
    chunks: int


class Places(NamedTuple):
    """Iteration shape, strides of the three operands, and the axes indices choose on.

    ``axes`` has a size and a stride of the indexed operand per index of a tuple, and
    ``index_step`` is the stride from one index of a tuple to the next.
    """

    shape: Sequence[int]
    to: Sequence[int]
    source: Sequence[int]
    indices: Sequence[int]
    axes: Sequence[tuple[int, int]]
    index_step: int = 0


def specs(
    size: int, index: str, depth: int = 1, way: str = "gather"
) -> tuple[Spec, ...]:
    """Return the kernels that `plan` may choose."""
    found = (_rows_spec(way, index, depth), _elements_spec(way, index, depth, size))
    return (*found, _lanes_spec(index)) if _has_lanes(size, depth, way) else found


def _has_lanes(size: int, depth: int, way: str) -> bool:
    return size == 4 and depth == 1 and way == "gather"


@cache
def _lanes_spec(index: str) -> Spec:
    return Spec.of("gather_lanes", index=index)


@cache
def _rows_spec(way: str, index: str, depth: int) -> Spec:
    return Spec.of(f"{way}_rows", index=index, depth=depth)


@cache
def _elements_spec(way: str, index: str, depth: int, size: int) -> Spec:
    return Spec.of(f"{way}_elements", index=index, depth=depth, size=size)


def plan(size: int, places: Places, index: str, way: str = "gather") -> Lookup:
    """Choose a kernel for elements of ``size`` bytes and indices ``i32`` or ``i64``.

    ``way`` is ``gather`` or ``scatter``. Raises ``ValueError`` for too many axes.
    """
    if size not in SIZES:
        raise ValueError(f"elements of {size} bytes are not moved; sizes are {SIZES}")
    space = nest.collapse(places.shape, (places.to, places.source, places.indices))
    to, source, indices = space.strides
    depth = len(places.axes)
    scale = 1
    if to[-1] == source[-1] == 1 and indices[-1] == 0:
        scale = size
        to = (*(stride * size for stride in to[:-1]), 1)
        source = (*(stride * size for stride in source[:-1]), 1)
        space = space._replace(inner=space.inner * size, strides=(to, source, indices))
        spec = _rows_spec(way, index, depth)
        division = nest.divide(space.rows, space.inner, _ROW_CHUNK)
        if way == "scatter":
            division = by_columns(space.rows, space.inner)
    else:
        spec = _elements_spec(way, index, depth, size)
        if to[-1] == indices[-1] == 1 and _has_lanes(size, depth, way):
            spec = _lanes_spec(index)
        division = nest.divide(space.rows, space.inner, _CHUNK)
        if way == "scatter":
            division = Division(space.inner, 1, space.rows, min(1, division.chunks))
    values = [places.index_step]
    for extent, stride in places.axes:
        values += (extent, stride * scale)
    return Lookup(spec, values + nest.numbers(space, division), division.chunks)


def by_columns(rows: int, inner: int) -> Division:
    """Cut all rows into blocks of columns of at least some cache lines."""
    whole = nest.divide(rows, inner, _ROW_CHUNK)
    if not whole.chunks:
        return whole
    count = max(1, min(inner // 512, rows * inner // _ROW_CHUNK))
    block = -(-inner // (count * 64)) * 64
    blocks = -(-inner // block)
    return Division(block, blocks, rows, blocks)


def gather(
    shape: Sequence[int],
    strides: Sequence[int],
    indices: Sequence[int],
    index_strides: Sequence[int],
    axis: int,
    to: Sequence[int],
) -> Places:
    """Describe Gather of data (…, axis, …) by indices of any shape, axis not negative."""
    lead, rest = tuple(shape[:axis]), tuple(shape[axis + 1 :])
    rank = len(indices)
    return Places(
        (*lead, *indices, *rest),
        to,
        (*strides[:axis], *(0,) * rank, *strides[axis + 1 :]),
        (*(0,) * axis, *index_strides, *(0,) * len(rest)),
        ((shape[axis], strides[axis]),),
    )


def gather_elements(
    shape: Sequence[int],
    strides: Sequence[int],
    indices: Sequence[int],
    index_strides: Sequence[int],
    axis: int,
    to: Sequence[int],
) -> Places:
    """Describe GatherElements; the result has the shape of the indices."""
    source = (*strides[:axis], 0, *strides[axis + 1 :])
    axes = ((shape[axis], strides[axis]),)
    return Places(indices, to, source, index_strides, axes)


def gather_nd(
    shape: Sequence[int],
    strides: Sequence[int],
    indices: Sequence[int],
    index_strides: Sequence[int],
    batch: int,
    to: Sequence[int],
) -> Places:
    """Describe GatherND: data (B…, D…, R…), indices (B…, Q…, len(D))."""
    depth = indices[-1]
    chosen = slice(batch, batch + depth)
    rest = tuple(shape[batch + depth :])
    tuples = tuple(indices[batch:-1])
    return Places(
        (*shape[:batch], *tuples, *rest),
        to,
        (*strides[:batch], *(0,) * len(tuples), *strides[batch + depth :]),
        (*index_strides[:-1], *(0,) * len(rest)),
        tuple(zip(shape[chosen], strides[chosen], strict=True)),
        index_strides[-1],
    )


def scatter(places: Places) -> Places:
    """Turn a description of a gather into that of the scatter that undoes it.

    ``source`` then holds the strides of the data written to, ``to`` of the updates.
    """
    return places._replace(to=places.source, source=places.to)


class LookupKernel:
    """One look-up being written: its function, addresses and axes."""

    def __init__(
        self, module: Module, target: Target, name: str, index: str, depth: int
    ) -> None:
        self.copy = bytes_copied(module, target)
        self.depth = depth
        self.index = index
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = f = Function(module, name, parameters)
        arguments = f.parameters[0]
        pointers = [f.field(arguments, i, "ptr") for i in range(4)]
        self.to, self.source, self.indices, self.failed = pointers
        self.step = f.field(arguments, 4)
        axes = range(len(FIELDS), self.nest, len(AXIS_FIELDS))
        self.axes = [(f.field(arguments, i), f.field(arguments, i + 1)) for i in axes]

    @property
    def nest(self) -> int:
        """Where the nest's fields begin."""
        return len(FIELDS) + len(AXIS_FIELDS) * self.depth

    def place(self, first: Val) -> tuple[Val, Val]:
        """Return whether the tuple at ``first`` is in range, and its place."""
        f = self.f
        inside, place = f.value(True, "i1"), f.value(0, "i64")
        for number, (size, stride) in enumerate(self.axes):
            where = self.indices.at(first + self.step * number, self.index)
            index = f.convert(f.load(where, self.index), "i64")
            index = index + f.select(index < 0, size, f.value(0, "i64"))
            inside = inside & index.compare("ult", size)
            place = place + index * stride
        return inside, place

    def fail(self) -> None:
        """Tell that an index was out of range."""
        self.f.store(self.f.value(1, "i64"), self.failed)


@family("gather_rows")
def gather_rows(
    module: Module, target: Target, name: str, *, index: str, depth: int
) -> None:
    """Write the gathering of rows of bytes; see the module's text."""
    kernel = LookupKernel(module, target, name, index, depth)
    f = kernel.f
    with nest.rows(f, f.parameters[0], f.parameters[1], kernel.nest, 3) as row:
        inside, place = kernel.place(row.offsets[2])
        to = kernel.to.at(row.offsets[0] + row.start, "i8")
        count = row.stop - row.start
        source = kernel.source.at(row.offsets[1] + row.start, "i8")

        def move() -> list[Val]:
            f.call(kernel.copy, "void", to, source.at(place, "i8"), count)
            return []

        def clear() -> list[Val]:
            kernel.fail()
            with f.loop(0, count) as loop:
                f.store(f.value(0, "i8"), to.at(loop.index, "i8"))
            return []

        f.choose(inside, move, clear)
    f.ret()


@family("scatter_rows")
def scatter_rows(
    module: Module, target: Target, name: str, *, index: str, depth: int
) -> None:
    """Write the scattering of rows of bytes; see the module's text."""
    kernel = LookupKernel(module, target, name, index, depth)
    f = kernel.f
    with nest.rows(f, f.parameters[0], f.parameters[1], kernel.nest, 3) as row:
        inside, place = kernel.place(row.offsets[2])
        to = kernel.to.at(row.offsets[0] + row.start, "i8")
        source = kernel.source.at(row.offsets[1] + row.start, "i8")
        with f.when(inside):
            count = row.stop - row.start
            f.call(kernel.copy, "void", to.at(place, "i8"), source, count)
        with f.when(inside ^ True):
            kernel.fail()
    f.ret()


@family("gather_elements")
def gathered_elements(
    module: Module, target: Target, name: str, *, index: str, depth: int, size: int
) -> None:
    """Write the gathering of single elements, without a branch; see the module's text."""
    kernel = LookupKernel(module, target, name, index, depth)
    f, element = kernel.f, f"i{8 * size}"
    nowhere = f.value(0, "i64")
    with nest.rows(f, f.parameters[0], f.parameters[1], kernel.nest, 3) as row:
        to = kernel.to.at(row.offsets[0], element)
        source = kernel.source.at(row.offsets[1], element)
        to_step, source_step, index_step = row.strides
        steps = [to_step, source_step, index_step]
        begin = [f.value(True, "i1"), *(row.start * step for step in steps)]
        with f.loop(row.start, row.stop, carried=begin, runs=True) as loop:
            fine, *places = loop.carried
            inside, place = kernel.place(row.offsets[2] + places[2])
            there = f.select(inside, places[1] + place, nowhere)
            found = f.load(source.at(there, element), element)
            found = f.select(inside, found, f.value(0, element))
            f.store(found, to.at(places[0], element))
            following = (p + step for p, step in zip(places, steps, strict=True))
            loop.next(fine & inside, *following)
        with f.when(~loop.results[0]):
            kernel.fail()
    f.ret()


@family("gather_lanes")
def gather_lanes(module: Module, target: Target, name: str, *, index: str) -> None:
    """Write the gathering of elements of 4 bytes by vectors of addresses.

    Where the processor has no instruction for it, they are gathered one by one.
    """
    if target.name not in ("avx512", "avx2"):
        gathered_elements(module, target, name, index=index, depth=1, size=4)
        return
    kernel = LookupKernel(module, target, name, index, 1)
    f, lanes = kernel.f, target.bits // 64
    ((size, stride),) = kernel.axes
    sizes, strides = f.splat(size, lanes), f.splat(stride, lanes)
    numbers = ", ".join(f"i64 {lane}" for lane in range(lanes))
    places = Val(f, vector("i64", lanes), f"<{numbers}>")
    zeros = f.value(0, vector("i32", lanes))
    with nest.rows(f, f.parameters[0], f.parameters[1], kernel.nest, 3) as row:
        to = kernel.to.at(row.offsets[0], "i32")
        source = kernel.source.at(row.offsets[1], "i32")
        indices = kernel.indices.at(row.offsets[2], index)
        step = row.strides[1]
        beside = places * f.splat(step, lanes)

        def look(column: Val, mask: Val | None) -> None:
            first = indices.at(column, index)
            type = vector(index, lanes)
            read = (
                f.load(first, type)
                if mask is None
                else f.load_masked(first, type, mask)
            )
            chosen = f.convert(read, "i64")
            chosen = chosen + f.select(chosen < 0, sizes, f.value(0, chosen.type))
            inside = chosen.compare("ult", sizes)
            alive = inside if mask is None else inside & mask
            place = chosen * strides + beside + f.splat(column * step, lanes)
            found = _gathered(f, source, place, alive, zeros)
            here = to.at(column, "i32")
            if mask is None:
                f.store(found, here)
            else:
                f.store_masked(found, here, mask)
            wrong = ~inside if mask is None else ~inside & mask
            with f.when(f.bitcast(wrong, f"i{lanes}").differs(0)):
                kernel.fail()

        whole = row.start + ((row.stop - row.start) & -lanes)
        with f.loop(row.start, whole, lanes) as loop:
            look(loop.index, None)
        with f.when(whole < row.stop):
            look(whole, f.tail(row.stop - whole, lanes))
    f.ret()


def _gathered(f: Function, base: Val, places: Val, mask: Val, rest: Val) -> Val:
    """Return elements of 4 bytes at some places, and of ``rest`` where there are none."""
    lanes = kind(places.type).lanes
    pointers = vector("ptr", lanes)
    text = f"getelementptr i32, ptr {base.name}, {places!r}"
    addresses = f.emit(text, pointers)
    name = f"llvm.masked.gather.v{lanes}i32.v{lanes}p0"
    f.module.declare(name, rest.type, [pointers, mask.type, rest.type])
    listed = f"{pointers} align 4 {addresses.name}, {mask!r}, {rest!r}"
    return f.emit(f"call {rest.type} @{name}({listed})", rest.type)


@family("scatter_elements")
def scattered_elements(
    module: Module, target: Target, name: str, *, index: str, depth: int, size: int
) -> None:
    """Write the scattering of single elements; see the module's text."""
    kernel = LookupKernel(module, target, name, index, depth)
    f, element = kernel.f, f"i{8 * size}"
    with nest.rows(f, f.parameters[0], f.parameters[1], kernel.nest, 3) as row:
        to = kernel.to.at(row.offsets[0], element)
        source = kernel.source.at(row.offsets[1], element)
        to_step, source_step, index_step = row.strides
        with f.loop(row.start, row.stop) as loop:
            inside, place = kernel.place(row.offsets[2] + loop.index * index_step)
            with f.when(inside):
                there = source.at(loop.index * source_step, element)
                here = to.at(loop.index * to_step + place, element)
                f.store(f.load(there, element), here)
            with f.when(~inside):
                kernel.fail()
    f.ret()
