"""Kernels over whole rows along the last axis: what norms, softmax and sums share.

A row's elements are a *prologue* of operands; they may be written as a result of their
own. Kernels pass over them more than once: the first pass computes and keeps them in
scratch (or reads them where they lie, if the prologue changes nothing), later ones read
them again. An *epilogue* makes results of what the kernel finds. Every sum is taken in
an order that depends on the row's length alone. A result may lie where an operand lies if
their types and strides are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from runtime_ep_cpu.codegen import memory, nest
from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.expression import Expression, evaluate, widened
from runtime_ep_cpu.codegen.nest import Row
from runtime_ep_cpu.codegen.streams import Opener, Stream, room
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath

State = list[Val]
"""What a fold carries from vector to vector."""


def fields(results: int, operands: int, extra: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the arguments of a kernel over rows.

    Addresses of the results, then of the operands: the prologue's and the epilogue's
    from its second on. Then the bytes of scratch per operand, what the kernel asks for
    (``extra``), and the nest with the strides of results and operands.
    """
    names = (
        *(f"result_{i}" for i in range(results)),
        *(f"operand_{i}" for i in range(operands)),
    )
    return (*names, "room", *extra, *nest.fields(names))


class Rows(NamedTuple):
    """What runs a kernel: arguments but the addresses, chunks, bytes of scratch."""

    numbers: list[int]
    chunks: int
    scratch: int


def plan(
    elements: int,
    shape: Sequence[int],
    results: Sequence[Sequence[int]],
    operands: Sequence[Sequence[int]],
    extra: Sequence[int] = (),
    pieces: int = 1,
) -> Rows:
    """Lay out rows along the last axis, in chunks of about so many elements (see
    `cost.chunk_elements`).

    Strides are in elements, one per axis of ``shape``; results with one value per row
    have the stride 0 along the last. Rows are not empty. Raises ``ValueError`` for too
    many axes, and for results that are not contiguous along the last.
    """
    space = nest.collapse(shape, (*results, *operands), keep_inner=True)
    count = len(results)
    for strides in space.strides[:count]:
        if strides[-1] not in (0, 1) and space.inner > 1:
            raise ValueError(
                f"a result has the stride {strides[-1]} along the last axis; "
                "compute into contiguous memory and copy from there"
            )
    division = nest.divide(space.rows, space.inner, elements, unit=0)
    if pieces > 1:
        block = -(-space.inner // (pieces * 64)) * 64
        blocks = -(-space.inner // block)
        division = nest.Division(block, blocks, 1, space.rows * blocks)
    each = room(space, range(count, len(space.strides)), space.inner)
    scratch = each * len(operands) + -(-space.inner * 8 // 64) * 64
    values = [each, *extra, *nest.numbers(space, division)]
    return Rows(values, division.chunks, scratch)


class RowKernel:
    """A kernel over rows being written, and the row it is at."""

    def __init__(
        self,
        module: Module,
        target: Target,
        name: str,
        results: Sequence[str],
        prologue: Expression,
        operands: Sequence[str] = (),
        extra: Sequence[str] = (),
    ) -> None:
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = f = Function(module, name, parameters)
        self.target, self.lanes = target, target.lanes
        self.math = VectorMath(f, target)
        self.prologue = prologue
        self.element = widened(prologue.results[0][1])
        self.type = vector(self.element, target.lanes)
        self.results = list(results)
        self.operands = [*prologue.operands, *operands]
        count = len(self.results) + len(self.operands)
        self._arguments, self._chunk, scratch = f.parameters
        pointers = [f.field(self._arguments, i, "ptr") for i in range(count)]
        self._written = pointers[: len(self.results)]
        self._given = pointers[len(self.results) :]
        each = f.field(self._arguments, count)
        self._opener = Opener(f, target, self.operands, scratch, each)
        self.buffer = scratch.at(each * len(self.operands), "i8")
        self._extra = {word: count + 1 + i for i, word in enumerate(extra)}
        self._nest = count + 1 + len(extra)

    def extra(self, word: str, type: str = "i64") -> Val:
        """Read one of the kernel's own arguments."""
        return self.f.field(self._arguments, self._extra[word], type)

    @contextmanager
    def rows(self, opened: int = 0) -> Iterator[Row]:
        """Write the nest around a body, and the function's end.

        Operands are opened from number ``opened`` on, see `Stream`.
        """
        count = len(self.results) + len(self.operands)
        with nest.rows(self.f, self._arguments, self._chunk, self._nest, count) as row:
            self.row = row
            first = len(self.results)
            self.streams = [
                self._opener.open(
                    i,
                    self.pointer(i),
                    row.offsets[first + i],
                    row.strides[first + i],
                    row,
                )
                for i in range(opened, len(self.operands))
            ]
            yield row
        self.f.ret()

    def pointer(self, operand: int) -> Val:
        """Return an operand's address."""
        return self._given[operand]

    @property
    def is_direct(self) -> bool:
        """Whether the prologue leaves its only operand what it is."""
        _, steps, results = self.prologue
        return not steps and results[0][0] == 0

    def first(self, index: Val, mask: Val | None, stored: int | None = None) -> Val:
        """Compute a vector of the row, keep it, and write it as result ``stored``."""
        given = self.streams[: len(self.prologue.operands)]
        values = [stream.read(self.target, index, mask) for stream in given]
        value = evaluate(self.prologue, values, self.math)[0]
        if not self.is_direct:
            self.keep(index, value, mask)
        if stored is not None:
            self.write(stored, index, value, mask)
        return value

    def again(self, index: Val, mask: Val | None) -> Val:
        """Read a vector of the row once more."""
        if self.is_direct:
            return self.streams[0].read(self.target, index, mask)
        return self.kept(index, mask)

    def fetch_following(self, index: Val) -> None:
        """Ask for a vector of the next row, while this one is computed."""
        if not self.is_direct:
            return
        element = memory.stored(self.operands[0])
        place = self.streams[0].at(index).at(self.row.steps[len(self.results)], element)
        self.f.prefetch(place)

    def keep(self, index: Val, value: Val, mask: Val | None) -> None:
        """Write a vector into the row's place in scratch."""
        place = self.buffer.at(index, self.element)
        memory.write(self.f, self.target, value, place, self.element, mask)

    def kept(self, index: Val, mask: Val | None) -> Val:
        """Read a vector from the row's place in scratch."""
        place = self.buffer.at(index, self.element)
        return memory.read(self.f, self.target, place, self.element, self.lanes, mask)

    def place(self, result: int) -> Val:
        """Return where the row begins in a result."""
        element = memory.stored(self.results[result])
        return self._written[result].at(self.row.offsets[result], element)

    def write(self, result: int, index: Val, value: Val, mask: Val | None) -> None:
        """Write a vector of a result."""
        element = self.results[result]
        place = self.place(result).at(index, memory.stored(element))
        memory.write(self.f, self.target, value, place, element, mask)

    def write_one(self, result: int, value: Val, index: Val | int = 0) -> None:
        """Write a scalar as a result that has one value per row."""
        element = self.results[result]
        place = self.place(result).at(index, memory.stored(element))
        memory.write(self.f, self.target, value, place, element)

    def others(self) -> list[Stream]:
        """Return the operands of the epilogue from its second on."""
        return self.streams[len(self.prologue.operands) :]

    def sweep(self, body: Callable[[Val, Val | None], None]) -> None:
        """Write a pass over the row's columns."""
        sweep(self.f, self.target, self.row.start, self.row.stop, body)

    def fold(
        self,
        zero: Callable[[], State],
        step: Callable[[State, Val, Val | None], State],
        merge: Callable[[State, State], State],
        ways: int = 4,
    ) -> State:
        """Fold the row's columns; every lane of the result holds the whole row's."""
        row = self.row
        state = fold(self.f, self.target, row.start, row.stop, zero, step, merge, ways)
        return across(self.f, state, merge, self.lanes)

    def sum(self, element: Callable[[Val, Val | None], Val], ways: int = 4) -> Val:
        """Return the sum over the row's columns, a scalar."""

        def step(state: State, index: Val, mask: Val | None) -> State:
            return [state[0] + element(index, mask)]

        return self._total(step, ways)

    def sum_of_squares(self, element: Callable[[Val, Val | None], Val]) -> Val:
        """Return the sum of squares over the row's columns, a scalar."""

        def step(state: State, index: Val, mask: Val | None) -> State:
            x = element(index, mask)
            return [self.math.fma(x, x, state[0])]

        return self._total(step)

    def _total(
        self, step: Callable[[State, Val, Val | None], State], ways: int = 4
    ) -> Val:
        (total,) = self.fold(lambda: [self.number(0)], step, _added, ways)
        return self.f.extract(total, 0)

    def number(self, value: float) -> Val:
        """Return a number as a vector of the row's type."""
        return self.f.value(value, self.type)

    def scalar(self, value: Val) -> Val:
        """Return a scalar converted to the row's type."""
        return self.f.convert(value, self.element)

    def splat(self, value: Val) -> Val:
        """Return a scalar as a vector."""
        return self.f.splat(value, self.lanes)


def _added(one: State, other: State) -> State:
    return [one[0] + other[0]]


def sweep(
    f: Function,
    target: Target,
    start: Val,
    stop: Val,
    body: Callable[[Val, Val | None], None],
) -> None:
    """Write a body for whole vectors of columns, and once more, masked, for the rest."""
    lanes = target.lanes
    whole = start + ((stop - start) & -lanes)
    with f.loop(start, whole, lanes) as loop:
        body(loop.index, None)
    with f.when(whole < stop):
        body(whole, memory.mask_of(f, target, stop - whole, lanes))


SPAN = 32
"""Rounds whose results are added up by themselves, and so are as many of these: errors
grow with the length of a sum, and so of a million numbers stay below 1e-6."""


def fold(
    f: Function,
    target: Target,
    start: Val,
    stop: Val,
    zero: Callable[[], State],
    step: Callable[[State, Val, Val | None], State],
    merge: Callable[[State, State], State],
    ways: int = 4,
) -> State:
    """Write a fold over columns, vector by vector; its state is lane by lane::

    for block in columns by ways · lanes · SPAN²:
        part = zero
        for span in block by ways · lanes · SPAN:
            states = zero, …
            for column in span by ways · lanes: each state steps over a vector
            part = merge(part, all states)
        total = merge(total, part)
    for column in the rest by lanes: total steps, at last masked
    """
    lanes = target.lanes
    group = lanes * ways
    many = start + ((stop - start) & -group)
    whole = start + ((stop - start) & -lanes)
    width = len(zero())

    def span(first: Val, end: Val) -> State:
        initial = [value for _ in range(ways) for value in zero()]
        with f.loop(first, end, group, initial, runs=True) as loop:
            states = [
                step(
                    loop.carried[i * width : (i + 1) * width],
                    loop.index + lanes * i,
                    None,
                )
                for i in range(ways)
            ]
            loop.next(*(value for state in states for value in state))
        found = [loop.results[i * width : (i + 1) * width] for i in range(ways)]
        while len(found) > 1:
            found = [merge(a, b) for a, b in zip(found[::2], found[1::2], strict=True)]
        return found[0]

    length = group * SPAN
    with f.loop(start, many, length * SPAN, carried=zero()) as blocks:
        last = f.minimum(blocks.index + length * SPAN, many)
        with f.loop(blocks.index, last, length, zero(), runs=True) as spans:
            end = f.minimum(spans.index + length, last)
            spans.next(*merge(spans.carried, span(spans.index, end)))
        blocks.next(*merge(blocks.carried, spans.results))
    with f.loop(many, whole, lanes, blocks.results) as singles:
        singles.next(*step(singles.carried, singles.index, None))

    def rest() -> State:
        mask = memory.mask_of(f, target, stop - whole, lanes)
        stepped = step(singles.results, whole, mask)
        pairs = zip(stepped, singles.results, strict=True)
        return [f.select(mask, new, old) for new, old in pairs]

    return f.choose(whole < stop, rest, lambda: singles.results)


def across(
    f: Function, state: State, merge: Callable[[State, State], State], lanes: int
) -> State:
    """Merge the lanes of a state; each then holds what belongs to all."""
    distance = lanes // 2
    while distance:
        order = [lane ^ distance for lane in range(lanes)]
        state = merge(state, [f.shuffle(value, value, order) for value in state])
        distance //= 2
    return state
