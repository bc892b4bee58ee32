"""Lines through tensors: the axes that are walked along, and the team that walks them.

::

    for row in the kept axes:        shared out among blocks and seats
        for k in the axes along:     shared out among a team's threads

Neighbouring axes that all tensors step through alike are one. A team lies along the
lines where these are contiguous in memory (*rows*), and across them where a kept axis is
(*columns*): then each thread has a few lines beside each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from runtime_ep_cuda.tensor import Tensor

SPAN = 2**31 - 1
"""The farthest that offsets of 32 bits reach."""


class Axis(NamedTuple):
    """How many elements an axis has, and how far each tensor steps for one."""

    size: int
    steps: tuple[int, ...]


class Lines(NamedTuple):
    """The kept axes and those along the lines, the innermost in memory last."""

    kept: tuple[Axis, ...]
    along: tuple[Axis, ...]

    @property
    def rows(self) -> int:
        """How many lines there are."""
        return prod(axis.size for axis in self.kept)

    @property
    def length(self) -> int:
        """How many elements a line has."""
        return prod(axis.size for axis in self.along)

    def of(self, numbers: Sequence[int]) -> Lines:
        """Return the same lines through some of the tensors."""

        def some(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
            return tuple(
                Axis(axis.size, tuple(axis.steps[number] for number in numbers))
                for axis in axes
            )

        return Lines(some(self.kept), some(self.along))

    @property
    def wide(self) -> bool:
        """Whether an offset may need 64 bits."""
        axes = (*self.kept, *self.along)
        reach = (
            sum(
                (axis.size - 1) * abs(step)
                for axis, step in zip(axes, steps, strict=True)
            )
            for steps in zip(*(axis.steps for axis in axes), strict=True)
        )
        return any(span > SPAN for span in reach)


def arrange(
    shape: Sequence[int],
    axes: Sequence[int],
    tensors: Sequence[Tensor],
    in_order: bool = False,
) -> Lines:
    """Sort the axes of tensors, broadcast to one shape, into kept ones and those along.

    ``in_order`` keeps the kept axes in the order they have.
    """
    leader = leading(tensors)
    kept: list[Axis] = []
    along: list[Axis] = []
    for number, size in enumerate(shape):
        axis = Axis(size, tuple(tensor.strides[number] for tensor in tensors))
        if size != 1:
            (along if number in axes else kept).append(axis)
    if not in_order:
        kept = _ordered(kept, leader)
    return Lines(_merged(kept), _merged(_ordered(along, leader)))


def leading(tensors: Sequence[Tensor]) -> int:
    """Return the tensor of most elements that are not repeated, the first of such."""

    def distinct(tensor: Tensor) -> int:
        pairs = zip(tensor.shape, tensor.strides, strict=True)
        return prod(size for size, step in pairs if step)

    return max(range(len(tensors)), key=lambda number: distinct(tensors[number]))


def _ordered(axes: list[Axis], leader: int) -> list[Axis]:
    return sorted(axes, key=lambda axis: -abs(axis.steps[leader] or 2**62))


def _merged(axes: list[Axis]) -> tuple[Axis, ...]:
    """Make one axis of two neighbours where every tensor can."""
    merged: list[Axis] = []
    for inner in axes:
        outer = merged[-1] if merged else None
        if outer and all(
            a == b * inner.size for a, b in zip(outer.steps, inner.steps, strict=True)
        ):
            merged[-1] = Axis(outer.size * inner.size, inner.steps)
        else:
            merged.append(inner)
    return tuple(merged)


class Team(NamedTuple):
    """How threads are shared out: a team's threads, and the seats for teams in a block.

    Each thread takes ``each`` vectors of ``vector`` elements at once; ``cached`` tells
    that this is all there is, so that a line is read once and stays in registers.
    """

    columns: bool
    vector: int
    threads: int
    seats: int
    each: int
    cached: bool

    @property
    def block(self) -> int:
        """Threads of a block."""
        return self.threads * self.seats

    @property
    def width(self) -> int:
        """Lines a thread works on."""
        return self.vector if self.columns else 1

    @property
    def step(self) -> int:
        """Elements of a line that a thread takes as one."""
        return 1 if self.columns else self.vector

    @property
    def tile(self) -> int:
        """Elements of a line that a team takes at once."""
        return self.each * self.threads * self.step

    def blocks(self, rows: int) -> int:
        """How many blocks a number of lines needs."""
        return -(-rows // (self.seats * self.width))


def choose(lines: Lines, tensors: Sequence[Tensor], most: int = 32) -> Team:
    """Choose the team for lines; a thread caches at most ``most`` elements."""
    leader = leading(tensors)
    if tensors[leader].dtype.itemsize > 4:
        most //= 2
    columns = _goes_across(lines, leader)
    vector = _vector(lines, tensors, leader, columns)
    if columns:
        return _across(lines, vector, tensors[leader].dtype.itemsize, most)
    return _along(lines, vector, most)


def _goes_across(lines: Lines, leader: int) -> bool:
    contiguous = lines.along and lines.along[-1].steps[leader] == 1
    return bool(not contiguous and lines.kept and lines.kept[-1].steps[leader] == 1)


def _vector(lines: Lines, tensors: Sequence[Tensor], leader: int, columns: bool) -> int:
    """Return the widest vector that sizes and the places of all tensors allow."""
    group = lines.kept if columns else lines.along
    if not group:
        return 1
    inner = group[-1]
    others = [axis for axis in (*lines.kept, *lines.along) if axis is not inner]
    vector = min(8, max(1, 16 // tensors[leader].dtype.itemsize))
    while vector > 1:
        fits = inner.size % vector == 0 and all(
            step != 1
            or (
                tensor.offset % vector == 0
                and all(axis.steps[number] % vector == 0 for axis in others)
            )
            for number, (tensor, step) in enumerate(
                zip(tensors, inner.steps, strict=True)
            )
        )
        if fits and inner.steps[leader] == 1:
            break
        vector //= 2
    return vector


def power_of_two(count: int) -> int:
    """Return the smallest power of two that is not below a count."""
    return 1 << max(0, count - 1).bit_length()


def _along(lines: Lines, vector: int, most: int) -> Team:
    """Choose a team of neighbours; few lines are spread over more threads."""
    vectors = max(1, -(-lines.length // vector))
    few = lines.rows * vectors < 2**16
    wanted = 1 if few else max(1, min(4, most // vector))
    threads = min(1024, power_of_two(-(-vectors // wanted)))
    each = power_of_two(-(-vectors // threads))
    room = most // 2 if threads == 1024 else most
    cached = each * vector <= room
    if not cached:
        threads = 1024 if lines.rows < 128 else 512
        each = max(1, most // 4 // vector)
    seats = 1 if threads > 32 else 128 // threads
    if threads <= 32:
        seats = max(32 // threads, min(seats, power_of_two(lines.rows)))
    return Team(False, vector, threads, seats, each, cached)


def _across(lines: Lines, vector: int, itemsize: int, most: int) -> Team:
    """Choose a team across the lines: neighbours take lines beside each other."""
    bundles = max(1, lines.rows // vector)
    seats = min(32, power_of_two(bundles))
    if lines.length >= 128 and bundles <= 4096:
        seats = min(seats, max(8, 64 // (vector * itemsize)))
    threads = min(64, 256 // seats, power_of_two(lines.length))
    each = power_of_two(-(-lines.length // threads))
    cached = each * vector <= most
    if not cached:
        each = max(1, most // 2 // vector)
    return Team(True, vector, threads, seats, each, cached)
