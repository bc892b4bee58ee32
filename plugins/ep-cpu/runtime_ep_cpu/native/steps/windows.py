"""The windows that convolutions and pooling slide over an image: sizes, padding, taps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

from runtime.graph import Node

from runtime_ep_cpu.native.images import Margins
from runtime_ep_cpu.native.layout import Unplannable


class Taps:
    """The places a window reads: a kernel's sizes, and how far its taps are apart."""

    def __init__(self, kernel: Sequence[int], dilations: Sequence[int]) -> None:
        self.kernel = tuple(kernel)
        self.dilations = tuple(dilations)
        pairs = zip(self.kernel, self.dilations, strict=True)
        self.reach = tuple((size - 1) * gap + 1 for size, gap in pairs)
        """How many places a window covers along each axis, its gaps counted."""

    def live(
        self, sizes: Sequence[int], margins: Margins, strides: Sequence[int]
    ) -> list[Sequence[range]]:
        """Return for each axis, and each window along it, the taps that read no padding.

        Padded ``sizes`` less ``margins`` are the image's; a window that reads nothing
        else has its first tap. Windows are ``strides`` apart.
        """
        axes = zip(self.kernel, self.dilations, sizes, margins, strides, strict=True)
        return [_live(*axis) for axis in axes]

    def runs(
        self, channels: int, strides: Sequence[int], whole: bool
    ) -> tuple[int, list[int]]:
        """Return how long runs of contiguous numbers are, and where each begins.

        ``strides`` are those of the image's axes; ``whole`` tells that all of its
        channels are read, so that taps beside each other are one run.
        """
        along = self.kernel[-1]
        joined = whole and (
            along == 1 or (self.dilations[-1] == 1 and strides[-1] == channels)
        )
        taps = (*self.kernel[:-1], 1 if joined else along)
        starts = [
            sum(
                i * gap * s
                for i, gap, s in zip(tap, self.dilations, strides, strict=True)
            )
            for tap in product(*map(range, taps))
        ]
        return (channels * along if joined else channels), starts


@lru_cache(256)
def _live(
    taps: int, gap: int, size: int, margins: tuple[int, int], stride: int
) -> tuple[range, ...]:
    """Return the taps that read no padding, of each window along one axis."""
    before, after = margins
    whole = range(taps)
    windows = []
    for start in range(0, size - (taps - 1) * gap, stride):
        first = min(max(0, -(-(before - start) // gap)), taps)
        last = min(taps, (size - after - 1 - start) // gap + 1)
        if last - first == taps:
            windows.append(whole)
        else:
            windows.append(range(first, last) if first < last else range(1))
    return tuple(windows)


class Windows(Taps):
    """Kernel, strides, dilations and padding of one node, as its attributes say."""

    def __init__(self, node: Node, kernel: Sequence[int]) -> None:
        rank = len(kernel)
        super().__init__(kernel, node.attribute("dilations") or (1,) * rank)
        self.strides = tuple(node.attribute("strides") or (1,) * rank)
        self._pads = tuple(node.attribute("pads") or (0,) * (2 * rank))
        self._mode = node.attribute("auto_pad", "NOTSET")

    def margins(self, sizes: Sequence[int] | None) -> Margins | None:
        """Return the padding for an image of some size.

        ``None`` where it depends on the size and that is not given, and where padding
        is negative.
        """
        rank = len(self.kernel)
        if self._mode == "VALID":
            return ((0, 0),) * rank
        if self._mode == "NOTSET":
            if min(self._pads) < 0:
                return None
            return tuple(zip(self._pads[:rank], self._pads[rank:], strict=True))
        if sizes is None:
            if any(stride != 1 for stride in self.strides):
                return None
            sizes = self.reach
        found = []
        for size, reach, stride in zip(sizes, self.reach, self.strides, strict=True):
            whole = max(0, (-(-size // stride) - 1) * stride + reach - size)
            less = whole // 2
            upper = (less, whole - less)
            found.append(upper if self._mode == "SAME_UPPER" else upper[::-1])
        return tuple(found)

    def counts(self, sizes: Sequence[int], margins: Margins) -> tuple[int, ...]:
        """Return how many windows there are along each axis."""
        found = tuple(
            (size + before + after - reach) // stride + 1
            for size, (before, after), reach, stride in zip(
                sizes, margins, self.reach, self.strides, strict=True
            )
        )
        if min(found) < 1:
            raise Unplannable(
                f"{tuple(sizes)} is smaller than a window of {self.kernel}"
            )
        return found
