"""Constant filters of convolutions in the panels that are slid over images directly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from runtime.graph import Tensor, Value
from runtime.valuetypes import numpy_dtype

from runtime_ep_cpu.codegen import copies
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.layout import (
    Buffer,
    Layout,
    contiguous_strides,
    native_type,
    of_array,
)
from runtime_ep_cpu.native.packing import constant_of
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.matrix import width_for

Array = np.ndarray[Any, Any]

_LARGE = 1 << 18
"""Numbers of filters, from which on native code moves them faster."""


class Parts(NamedTuple):
    """The channels' parts, several groups of Conv taken together to fill a register.

    ``channels`` and ``filters`` are those of a part.
    """

    number: int
    channels: int
    filters: int
    joined: int

    @classmethod
    def of(cls, groups: int, channels: int, filters: int, lanes: int) -> Parts:
        """Join as many groups as a register holds filters of.

        ``channels`` are those of a group, ``filters`` all of them. Filters of joined groups
        have zeros for each other's channels. Raises ``ValueError`` where filters do not
        divide into groups.
        """
        if filters % groups:
            raise ValueError(f"{filters} filters are not of {groups} groups")
        each = filters // groups
        joined = max(
            j
            for j in range(1, groups + 1)
            if not groups % j and (j == 1 or each * j <= lanes)
        )
        return cls(groups // joined, channels * joined, each * joined, joined)


class Widths(NamedTuple):
    """So many panels of a part, of some width in vectors, and maybe a narrower one.

    All are behind each other, part by part; of several parts none has a narrower one.
    """

    number: int
    vectors: int
    narrow: int

    @classmethod
    def of(cls, parts: Parts, target: Target) -> Widths:
        """Divide a part's filters into panels of the width that takes least time."""
        vectors = width_for(target, parts.filters, parts.number == 1)
        count, rest = divmod(parts.filters, target.lanes * vectors)
        narrow = -(-rest // target.lanes)
        if parts.number > 1 or not count or not 0 < narrow < vectors:
            return cls(-(-parts.filters // (target.lanes * vectors)), vectors, 0)
        return cls(count, vectors, narrow)


@dataclass(frozen=True, slots=True)
class FilterRequest:
    """Filters ``[filters, channels of a group, *kernel]`` to be packed, see `Packing`.

    Each row of a panel is what a tap reads of one channel: taps, then channels, as they
    lie in an image. Filters that are of the same parts are packed in the same way.
    """

    value: Value
    groups: int
    parts: Parts
    widths: Widths
    lanes: int

    @property
    def const(self) -> Tensor:
        """What is packed."""
        return constant_of(self.value)

    @property
    def key(self) -> tuple[Any, ...]:
        """What two requests for the same panels have in common."""
        return (id(self.const), self.groups, self.parts, self.widths, "filters")

    @property
    def specs(self) -> tuple[Spec, ...]:
        """The kernels that pack it."""
        _, *widths = self.widths
        packing = (self._spec(vectors) for vectors in widths if vectors)
        size = numpy_dtype(self.const.dtype).itemsize
        return (*packing, *(copies.specs(size) if self._is_large else ()))

    @property
    def _is_large(self) -> bool:
        """Whether the numbers of several taps are moved by native code."""
        taps = prod(self.const.shape[2:])
        return self.groups == 1 and taps > 1 and self.const.size >= _LARGE

    def _spec(self, vectors: int) -> Spec:
        dtype = (
            np.dtype(np.float32) if self.groups > 1 else numpy_dtype(self.const.dtype)
        )
        element = native_type(dtype)
        return Spec.of("pack", vectors=vectors, element=element, turned=True)

    @property
    def _reads(self) -> int:
        """How many numbers a filter reads, those of joined groups among them."""
        return self.parts.channels * prod(self.const.shape[2:])

    @property
    def _wide(self) -> int:
        """How many numbers panels of the usual width have."""
        width = self.lanes * self.widths.vectors
        return self.parts.number * self.widths.number * width * self._reads

    @property
    def numbers(self) -> int:
        """How many numbers of float32 its panels have."""
        return self._wide + self.widths.narrow * self.lanes * self._reads

    def plan(self, planner: Planner, source: Layout, buffer: Buffer) -> Layout:
        """Add its packing into a buffer to a plan; return where the panels will lie."""
        matrix = self._matrix(planner, source)
        made = Layout(buffer, "float", (self.numbers,), (1,))
        count, vectors, narrow = self.widths
        count *= self.parts.number
        self._pack(planner, matrix, made, vectors, count)
        if narrow:
            filters, reads = matrix.shape
            first = count * vectors * self.lanes
            place = matrix.offset + first * reads
            rest = matrix.with_dims((filters - first, reads), matrix.strides, place)
            self._pack(planner, rest, self.narrow(made), narrow, 1)
        return made

    def narrow(self, panels: Layout) -> Layout:
        """Return where among the panels the narrow one lies, all of them if none is."""
        if not self.widths.narrow:
            return panels
        return panels.with_dims((self.numbers - self._wide,), (1,), self._wide)

    def _matrix(self, planner: Planner, source: Layout) -> Layout:
        """Return filters as rows of what each reads, in memory order: taps, then channels.

        Every part is filled up with rows of zeros to whole panels, where there are several.
        """
        filters, channels, *kernel = source.shape
        taps = prod(kernel)
        array: Array = source.buffer.holder
        if self.groups > 1:
            return of_array(self._joined(array.astype(np.float32, copy=False)))
        whole = (filters, channels, taps)
        if self._is_large:
            order = source.with_dims(whole, contiguous_strides(whole))
            rows = planner.contiguous(order.transposed((0, 2, 1)))
        else:
            rows = of_array(array.reshape(whole).transpose((0, 2, 1)))
        return rows.with_dims((filters, self._reads), (self._reads, 1))

    def _pack(
        self, planner: Planner, matrix: Layout, made: Layout, vectors: int, panels: int
    ) -> None:
        filters, reads = matrix.shape
        fields: list[Argument] = [
            matrix, 1, reads, made, reads, filters, panels, planner.zeros(2)
        ]  # fmt: skip
        work = float(filters) * reads
        planner.step(self._spec(vectors), fields, panels, [matrix], [made], work=work)

    @property
    def _grouped(self) -> tuple[int, ...]:
        """The shape of a matrix's rows: parts, filters, taps, groups, channels."""
        parts, (count, vectors, narrow) = self.parts, self.widths
        filters = (count * vectors + narrow) * self.lanes
        channels = parts.channels // parts.joined
        taps = prod(self.const.shape[2:])
        return (parts.number, filters, taps, parts.joined, channels)

    def _joined(self, array: Array) -> Array:
        taps = self._by_group(array)
        made = np.zeros(self._grouped, np.float32)
        for member, own in self._members():
            made[:, own, :, member] = taps[member :: self.parts.joined]
        return made.reshape(-1, self._reads)

    def _by_group(self, array: Array) -> Array:
        """Return ``[groups, filters, taps, channels]`` of filters."""
        filters, channels, *kernel = array.shape
        each = (self.groups, filters // self.groups, channels, prod(kernel))
        return np.moveaxis(array.reshape(each), 2, 3)

    def _members(self) -> Iterator[tuple[int, slice]]:
        """Return the groups of a part, and which of its filters are theirs."""
        each = self.parts.filters // self.parts.joined
        for member in range(self.parts.joined):
            yield member, slice(member * each, (member + 1) * each)

    @property
    def is_lossless(self) -> bool:
        """Whether the panels give the filters back: all of them but NaNs' payloads."""
        return True

    def restored(self, panels: Array) -> Array:
        """Return the filters from their panels."""
        _, vectors, narrow = self.widths
        reads, width = self._reads, self.lanes * vectors
        wide = panels[: self._wide].reshape(-1, reads, width).transpose((0, 2, 1))
        rest = panels[self._wide :].reshape(reads, self.lanes * narrow).T
        rows = np.concatenate((wide.reshape(-1, reads), rest)).reshape(self._grouped)
        made = np.empty(self.const.shape, numpy_dtype(self.const.dtype))
        taps = self._by_group(made)
        for member, own in self._members():
            taps[member :: self.parts.joined] = rows[:, own, :, member]
        return made
