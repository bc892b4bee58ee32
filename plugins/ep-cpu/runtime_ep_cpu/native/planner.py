"""Makes the plan of a stage for given shapes: layouts, steps, levels and one arena."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from runtime.graph import Value

from runtime_ep_cpu.codegen import copies
from runtime_ep_cpu.codegen.library import Library, Spec
from runtime_ep_cpu.codegen.walk import FRAME, FRAME_SLOTS
from runtime_ep_cpu.limits import machine_bytes
from runtime_ep_cpu.native.layout import (
    SIZES,
    Buffer,
    Home,
    Layout,
    Unplannable,
    contiguous_strides,
    of_array,
)

if TYPE_CHECKING:
    from runtime_ep_cpu.native.group import Group
    from runtime_ep_cpu.native.images import Border, Margins, Place
    from runtime_ep_cpu.native.packing import Packing


Argument = int | Layout | None

MOST_COPIES = 64
"""Steps that one copy may become."""


class Share(NamedTuple):
    """What of a step is a group's: its part of the work, what it reads and writes."""

    group: Group | None
    work: float
    reads: Sequence[Layout]
    writes: Sequence[Layout]


@dataclass(slots=True)
class PlannedStep:
    """A kernel's call: its arguments, of which some are addresses in buffers.

    ``scratch`` is how many bytes it needs for itself; ``shares`` tell what
    it does for which group, where it works for several.
    """

    address: int
    words: list[int]
    places: list[tuple[int, Buffer]]
    chunks: int
    level: int
    work: float
    group: Group | None
    reads: Sequence[Layout]
    writes: Sequence[Layout]
    scratch: int = 0
    shares: Sequence[Share] = ()


class Step(Protocol):
    """A group made ready: which kernels it may need, and how it is planned."""

    specs: Sequence[Spec]

    def plan(self, planner: Planner) -> None:
        """Add what the group does for the shapes at hand."""


class Knowledge(Protocol):
    """What a stage knows beyond the shapes a plan is made for."""

    @property
    def panels(self) -> Panels:
        """Where the panels of constant matrices lie."""

    @property
    def pitched(self) -> frozenset[Value]:
        """Results that may have gaps between their rows."""

    @property
    def margins(self) -> Mapping[Value, Margins]:
        """How many zeros readers want around values."""

    @property
    def places(self) -> Mapping[Value, Place]:
        """Which images are made among the channels of others."""

    def contents(self, value: Value, planner: Planner) -> np.ndarray[Any, Any] | None:
        """Return a value that follows from shapes, if it does."""

    def constant(self, value: Value, array: np.ndarray[Any, Any]) -> Layout:
        """Return where a constant lies."""

    def bias(self, row: np.ndarray[Any, Any] | None, count: int) -> Layout:
        """Return a row followed by zeros."""


class Panels(Protocol):
    """Where the panels of constant matrices lie."""

    def layout(self, request: Packing) -> Layout:
        """Return where."""

    def is_even(self, request: Packing) -> bool:
        """Whether a matrix that was weighed has rows and columns of similar norms."""


def check_fits(size: int) -> None:
    """Raise `Unplannable` for more bytes than the machine has; NumPy says it in words."""
    if size > machine_bytes():
        raise Unplannable(f"a result needs {size} bytes")


class Planner:
    """What steps use while a plan is made.

    ``layouts`` tells where values lie; a known value gets one when a step asks for it.
    ``inputs`` is how many arrays a run is given. ``wanted`` are the values that are to be
    made in an output's memory. ``borders`` and ``bordered`` are kept by `native.images`:
    which buffers hold an image, and the images with zeros around them that have been
    asked for; ``sums`` by `steps.strassen`: those of the rows of a matrix.
    """

    def __init__(self, library: Library, knowledge: Knowledge | None = None) -> None:
        self.library = library
        self.target = library.target
        self.layouts: dict[Value, Layout] = {}
        self.steps: list[PlannedStep] = []
        self._apart: list[PlannedStep] | None = None
        self.buffers: list[Buffer] = []
        self.scratch = 0
        self.inputs = 0
        self.tables = array("q")
        self.wanted: dict[Value, Buffer] = {}
        self.borders: dict[Buffer, Border] = {}
        self.bordered: dict[tuple[Layout, Margins], Layout] = {}
        self.sums: dict[Value, tuple[Layout, Layout]] = {}
        self.group: Group | None = None
        self._knowledge = knowledge
        self._table_home = Buffer(Home.TABLE)
        self._frame_home = Buffer(Home.FRAME)
        self._ready: dict[Buffer, int] = {}
        self._zeros: dict[int, Layout] = {}
        self.counts: dict[Value, int] = {}
        """Slots of the frame in which a run finds how many rows of a result there are."""
        self._tile_tables: dict[tuple[Spec, Spec, int], Layout] = {}

    # values

    def layout(self, value: Value) -> Layout:
        """Return where a value lies."""
        found = self.layouts.get(value)
        if found is None:
            array = value.constant()
            if array is None or self._knowledge is None:
                found = of_array(self.contents(value))
            else:
                found = self._knowledge.constant(value, array)
            self.layouts[value] = found
        return found

    def contents(self, value: Value) -> np.ndarray[Any, Any]:
        """Return a value that is constant or known; raises `Unplannable` for others."""
        array = value.constant()
        if array is None and self._knowledge is not None:
            array = self._knowledge.contents(value, self)
        if array is None:
            raise Unplannable(f"the contents of {value.name!r} are not known")
        return array

    def numbers(self, value: Value | None) -> list[int] | None:
        """Return the contents of a small integer tensor, flat; ``None`` if absent."""
        return None if value is None else self.contents(value).reshape(-1).tolist()

    @property
    def all_panels(self) -> Panels:
        """Where the panels of constant matrices lie; raises `Unplannable` without any."""
        if self._knowledge is None:
            raise Unplannable("there are no panels")
        return self._knowledge.panels

    def panels(self, request: Packing | None) -> Layout | None:
        """Return the panels of a constant matrix, packed when the session was made."""
        if request is None or self._knowledge is None:
            return None
        return self._knowledge.panels.layout(request)

    def is_even(self, request: Packing) -> bool:
        """Whether a constant matrix was weighed, and has rows and columns alike."""
        return self._knowledge is not None and self._knowledge.panels.is_even(request)

    def bias(self, row: np.ndarray[Any, Any] | None, count: int) -> Layout:
        """Return ``count`` numbers a product begins with: a row and zeros, or zeros."""
        if self._knowledge is None:
            return of_array(np.zeros(count, np.float32))
        return self._knowledge.bias(row, count)

    def pitch(self, value: Value | None, shape: Sequence[int], size: int) -> int:
        """Return how far apart the rows of a result shall be, in elements.

        Rows whose distance is a multiple of a large power of two compete for the same
        few cache lines; where its readers do not mind, a result has gaps between them.
        """
        columns = shape[-1]
        if columns * size % 1024 or value in self.wanted or self._knowledge is None:
            return columns
        if value is None or value in self._knowledge.pitched:
            return columns + 16
        return columns

    def margins(self, value: Value | None) -> Margins | None:
        """Return how many zeros the readers of a value want around it."""
        if value is None or self._knowledge is None:
            return None
        return self._knowledge.margins.get(value)

    def place(self, value: Value) -> Place | None:
        """Return where an image is to be made, if among the channels of another."""
        return None if self._knowledge is None else self._knowledge.places.get(value)

    def give(self, value: Value, layout: Layout) -> None:
        """Say where a value lies."""
        self.layouts[value] = layout

    def allocate(
        self,
        value: Value | None,
        shape: Sequence[int],
        element: str,
        strides: Sequence[int] | None = None,
    ) -> Layout:
        """Return memory for a result, in the arena or where an output is wanted.

        A shape or strides that an output must not have go to the arena.
        """
        count = prod(shape)
        if count <= 0:
            raise Unplannable(f"a value has the shape {tuple(shape)}, with no elements")
        check_fits(count * SIZES[element])
        steps = contiguous_strides(shape) if strides is None else tuple(strides)
        buffer = self.wanted.pop(value, None) if value is not None else None
        if buffer is not None and strides is None:
            buffer.size = count * SIZES[element]
        else:
            if buffer is not None and value is not None:
                self.wanted[value] = buffer
            extent = 1 + sum((d - 1) * s for d, s in zip(shape, steps, strict=True))
            buffer = Buffer(Home.ARENA, extent * SIZES[element])
            self.buffers.append(buffer)
        layout = Layout(buffer, element, tuple(shape), steps)
        if value is not None:
            self.layouts[value] = layout
        return layout

    def contiguous(self, layout: Layout) -> Layout:
        """Return a layout in C order: the same one, or that of a copy."""
        if layout.is_contiguous:
            return layout
        made = self.allocate(None, layout.shape, layout.element)
        self.copy(layout, made)
        return made

    def copy(
        self, source: Layout, target: Layout, after: Sequence[Layout] = ()
    ) -> None:
        """Copy elements from one layout to another of the same shape.

        It happens when what lies ``after`` is there too. More axes than a kernel goes
        along are taken apart along a short one.
        """
        if not source.size:
            return
        size = SIZES[source.element]
        try:
            made = copies.plan(
                self.target, size, source.shape, target.strides, source.strides
            )
        except ValueError as error:
            axis, count = _shortest(source.shape)
            if count > MOST_COPIES:
                raise Unplannable(str(error)) from error
            for index in range(count):
                self.copy(source.at(axis, index), target.at(axis, index), after)
            return
        self.step(
            made.spec,
            [target, source, *made.numbers],
            made.chunks,
            [source, *after],
            [target],
            work=2.0 * source.size * size / 8,
        )  # fmt: skip

    def table(self, numbers: Iterable[int]) -> Layout:
        """Return constant numbers a step may point to."""
        start = len(self.tables)
        self.tables.extend(numbers)
        count = len(self.tables) - start
        return Layout(self._table_home, "i64", (count,), (1,), start)

    def zeros(self, count: int) -> Layout:
        """Return so many zeros, the same for all who need as many."""
        found = self._zeros.get(count)
        if found is None:
            found = self._zeros[count] = self.table([0] * count)
        return found

    def tile_table(self, tiles: Sequence[Spec]) -> Layout:
        """Return the addresses of tiles, for products to choose from."""
        key = (tiles[0], tiles[-1], len(tiles))
        found = self._tile_tables.get(key)
        if found is None:
            found = self.table(self.library.address(tile) for tile in tiles)
            self._tile_tables[key] = found
        return found

    def failed(self) -> Layout:
        """Return the word that a kernel sets when its input is wrong."""
        return Layout(self._frame_home, "i64", (1,), (1,), FRAME["failed"])

    def count(self, value: Value) -> Layout:
        """Return the word in which a kernel says how many rows of a result there are."""
        slot = self.counts.setdefault(value, FRAME["counts"] + len(self.counts))
        if slot >= FRAME_SLOTS:
            raise Unplannable("more results than frames have room for are counted")
        return Layout(self._frame_home, "i64", (1,), (1,), slot)

    # steps

    def step(
        self,
        spec: Spec,
        arguments: Sequence[Argument],
        chunks: int,
        reads: Sequence[Layout],
        writes: Sequence[Layout],
        scratch: int = 0,
        work: float = 0.0,
        shares: Sequence[Share] = (),
    ) -> None:
        """Add a kernel's call; layouts among the arguments become addresses.

        What has no elements is left to NumPy, but for what is only copied.
        """
        if any(0 in layout.shape for layout in reads):
            raise Unplannable("a value has no elements")
        words: list[int] = []
        places: list[tuple[int, Buffer]] = []
        for slot, argument in enumerate(arguments):
            if isinstance(argument, Layout):
                words.append(argument.offset * SIZES[argument.element])
                places.append((slot, argument.buffer))
            else:
                words.append(argument or 0)
        self.call(spec, words, places, chunks, reads, writes, scratch, work, shares)

    def call(
        self,
        spec: Spec,
        words: list[int],
        places: list[tuple[int, Buffer]],
        chunks: int,
        reads: Sequence[Layout],
        writes: Sequence[Layout],
        scratch: int = 0,
        work: float = 0.0,
        shares: Sequence[Share] = (),
    ) -> None:
        """Add a kernel's call; to the words at ``places`` buffers' addresses are added."""
        made = PlannedStep(
            self.library.address(spec),
            words,
            places,
            chunks,
            0,
            work,
            self.group,
            reads,
            writes,
            scratch,
            shares,
        )
        if self._apart is not None:
            self._apart.append(made)
            return
        made.level = self._level(reads, writes)
        self.scratch = max(self.scratch, scratch)
        self.steps.append(made)

    def _level(self, reads: Sequence[Layout], writes: Sequence[Layout]) -> int:
        """Return when a step can run, and note what is in use then."""
        ready = self._ready
        level = 0
        for layout in reads:
            level = max(level, ready.get(layout.buffer, 0))
        for layout in reads:
            if layout.buffer.last < level:
                layout.buffer.last = level
        for layout in writes:
            buffer = layout.buffer
            buffer.first = min(buffer.first, level)
            buffer.last = max(buffer.last, level)
            ready[buffer] = max(ready.get(buffer, 0), level + 1)
        return level

    @contextmanager
    def apart(self) -> Iterator[list[PlannedStep]]:
        """Give a list that steps come into, instead of the plan, while it is open."""
        kept, self._apart = self._apart, []
        try:
            yield self._apart
        finally:
            self._apart = kept


def _shortest(shape: Sequence[int]) -> tuple[int, int]:
    """Return the shortest axis of more than one element, and its size."""
    count, axis = min((dim, axis) for axis, dim in enumerate(shape) if dim > 1)
    return axis, count
