"""Sliding windows over spatial axes: their geometry, and walks over their taps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product as combinations
from typing import Any, NamedTuple

from runtime_ep_cpu.limits import check_size

Ints = tuple[int, ...]


class Windows(NamedTuple):
    """Where windows lie over the spatial axes, one entry per axis.

    ``begin`` and ``end`` count the padding, ``out`` the windows.
    """

    kernel: Ints
    strides: Ints
    dilations: Ints
    begin: Ints
    end: Ints
    out: Ints

    def __len__(self) -> int:
        return len(self.kernel)

    @property
    def padded(self) -> bool:
        """Whether any axis has padding."""
        return any(self.begin) or any(self.end)

    @property
    def pointwise(self) -> bool:
        """Whether each window is one element and every element has its window."""
        plain = {*self.kernel, *self.strides} == {1}
        return plain and not self.padded


def place(
    spatial: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
) -> Windows:
    """Place windows over axes of the given sizes by the attributes of the standard."""
    rank = len(spatial)
    kernel = per_axis("kernel_shape", kernel, rank)
    strides = per_axis("strides", strides, rank)
    dilations = per_axis("dilations", dilations, rank)
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        out = tuple(-(-n // s) for n, s in zip(spatial, strides, strict=True))
        totals = [
            max(0, (o - 1) * s + span - n)
            for n, o, s, span in zip(spatial, out, strides, spans, strict=True)
        ]
        begin, end = split_evenly(totals, extra_first=auto_pad == "SAME_LOWER")
        return Windows(kernel, strides, dilations, begin, end, out)
    begin, end = explicit_pads(pads, rank, auto_pad)
    out = tuple(
        _count(*axis, ceil_mode)
        for axis in zip(spatial, begin, end, strides, spans, strict=True)
    )
    return Windows(kernel, strides, dilations, begin, end, out)


def _count(n: int, begin: int, end: int, stride: int, span: int, ceil: int) -> int:
    """Count the windows along one axis; with ``ceil`` none begins in end padding."""
    room = n + begin + end - span
    if room < 0:
        raise ValueError(
            f"a window over {span} elements does not fit {n} with padding "
            f"{begin} and {end}"
        )
    if not ceil:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= n + begin else count


def per_axis(name: str, values: Sequence[int] | None, rank: int) -> Ints:
    if not values:
        return (1,) * rank
    if len(values) != rank or min(values, default=1) < 1:
        raise ValueError(
            f"{name} must be {rank} positive numbers, found {list(values)}"
        )
    return tuple(int(value) for value in values)


def explicit_pads(
    pads: Sequence[int] | None, rank: int, auto_pad: str = "NOTSET"
) -> tuple[Ints, Ints]:
    """Return the padding before and after each axis that ``pads`` spells out."""
    if auto_pad not in ("NOTSET", "VALID", ""):
        raise ValueError(f"auto_pad cannot be {auto_pad!r}")
    if pads is None or auto_pad == "VALID":
        return (0,) * rank, (0,) * rank
    if len(pads) != 2 * rank or min(pads, default=0) < 0:
        raise ValueError(
            f"pads must be {2 * rank} numbers, none negative, found {list(pads)}"
        )
    pads = tuple(int(pad) for pad in pads)
    return pads[:rank], pads[rank:]


def split_evenly(totals: Sequence[int], extra_first: bool) -> tuple[Ints, Ints]:
    """Split padding between both sides; an odd element goes first or last."""
    small = tuple(total // 2 for total in totals)
    large = tuple(total - total // 2 for total in totals)
    return (large, small) if extra_first else (small, large)


def pad(xp: Any, x: Any, windows: Windows) -> Any:
    """Return ``x`` with zeros around its spatial axes; ``x`` itself without padding."""
    if not windows.padded:
        return x
    lead, sizes = x.shape[: -len(windows)], x.shape[-len(windows) :]
    room = [
        b + n + e for b, n, e in zip(windows.begin, sizes, windows.end, strict=True)
    ]
    check_size((*lead, *room), x.dtype)
    padded = xp.zeros((*lead, *room), x.dtype)
    inside = (slice(b, b + n) for b, n in zip(windows.begin, sizes, strict=True))
    padded[(..., *inside)] = x
    return padded


def view(xp: Any, padded: Any, windows: Windows) -> Any:
    """Return every window of a padded array, uncopied: ``(..., *kernel, *out)``."""
    lead = padded.ndim - len(windows)
    steps = padded.strides[lead:]
    taps = tuple(d * step for d, step in zip(windows.dilations, steps, strict=True))
    strides = (
        s if n > 1 else 1 for s, n in zip(windows.strides, windows.out, strict=True)
    )
    moves = tuple(s * step for s, step in zip(strides, steps, strict=True))
    return xp.lib.stride_tricks.as_strided(
        padded,
        (*padded.shape[:lead], *windows.kernel, *windows.out),
        (*padded.strides[:lead], *taps, *moves),
    )


def taps(windows: Windows, axis: int, size: int) -> Iterator[tuple[slice, slice, int]]:
    """Walk the taps of an axis: the windows where it meets an element, and those.

    Yields slices over the windows and over the ``size`` elements; padding meets none.
    """
    stride, out = windows.strides[axis], windows.out[axis]
    for tap in range(windows.kernel[axis]):
        offset = tap * windows.dilations[axis] - windows.begin[axis]
        first = max(0, -(offset // stride))
        last = min(out, (size - 1 - offset) // stride + 1)
        if first < last:
            start = first * stride + offset
            stop = (last - 1) * stride + offset + 1
            yield slice(first, last), slice(start, stop, stride), tap


def reduce_windows(
    xp: Any, x: Any, windows: Windows, combine: Any, neutral: Any
) -> Any:
    """Combine each window's elements by a ufunc, axis after axis, into a new array."""
    lead = x.ndim - len(windows)
    moving = [axis for axis in range(len(windows)) if not _still(windows, axis)]
    for axis in moving or [0]:
        x = _reduce_axis(xp, x, windows, axis, lead, combine, neutral)
    return x


def _still(windows: Windows, axis: int) -> bool:
    """Whether along an axis every element is a window of its own."""
    begin, end = windows.begin[axis], windows.end[axis]
    return windows.kernel[axis] == windows.strides[axis] == 1 and begin == end == 0


def _reduce_axis(
    xp: Any, x: Any, windows: Windows, axis: int, lead: int, combine: Any, neutral: Any
) -> Any:
    axis_of_x = lead + axis
    out = windows.out[axis]
    before, after = (slice(None),) * axis_of_x, x.shape[axis_of_x + 1 :]
    steps = [step[:2] for step in taps(windows, axis, x.shape[axis_of_x])]
    whole = next((step for step in steps if step[0] == slice(0, out)), None)
    y = xp.empty((*x.shape[:axis_of_x], out, *after), x.dtype)
    if whole is None:
        y[...] = neutral
    else:
        steps.remove(whole)
        y[...] = x[(*before, whole[1])]
    for target, source in steps:
        part = y[(*before, target)]
        combine(part, x[(*before, source)], out=part)
    return y


def fold(y: Any, columns: Any, windows: Windows) -> None:
    """Add columns ``(..., *kernel, *out)`` onto the elements they stand for."""
    lead = y.ndim - len(windows)
    axes = [
        list(taps(windows, axis, y.shape[lead + axis])) for axis in range(len(windows))
    ]
    for steps in combinations(*axes):
        tap = tuple(step[2] for step in steps)
        out = tuple(step[0] for step in steps)
        y[(..., *(step[1] for step in steps))] += columns[(..., *tap, *out)]
