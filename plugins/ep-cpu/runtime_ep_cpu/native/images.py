"""Images: values ``[batch, channels, *sizes]`` whose channels lie innermost in memory.

Convolutions, pooling and what is done with their results element by element make images
and read them; all others look at one through its strides. An image may lie in the midst
of a *border* of zeros: whoever makes a value leaves as much room around it as the
convolutions that read it pad it with, so that they read on beyond its edges and have no
edges of their own to treat. What Concat joins along the channels is made in the image
that it becomes a part of, so that nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from runtime.graph import Value

from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable, of_array
from runtime_ep_cpu.native.planner import Planner

Margins = tuple[tuple[int, int], ...]
"""For each axis behind the channels, the zeros before and after."""

Filling = Callable[[Planner, Layout, Layout], None]
"""Plans a copy from one layout to another, of float32."""


class Border(NamedTuple):
    """What is known of a buffer that holds an image: where it lies, and its margins."""

    inside: Layout
    margins: Margins


class Place(NamedTuple):
    """Where an image is to be made: among the channels of another, from one on."""

    whole: Value
    channels: int
    first: int


class Bordering(Protocol):
    """A step that reads a value with zeros around it."""

    @property
    def border(self) -> tuple[Value, Margins] | None:
        """Which value, and how many zeros; ``None`` where that depends on shapes."""


def borders(
    steps: Iterable[object],
    places: Mapping[Value, Place],
    sources: Mapping[Value, Value],
) -> dict[Value, Margins]:
    """Return the margins that satisfy every reader of a value and of its parts.

    ``sources`` tells of which values others are some channels.
    """
    found: dict[Value, Margins] = {}

    def widen(value: Value, margins: Margins) -> None:
        have = found.get(value, ((0, 0),) * len(margins))
        pairs = zip(have, margins, strict=True)
        found[value] = tuple((max(a[0], b[0]), max(a[1], b[1])) for a, b in pairs)

    for step in steps:
        wanted = getattr(step, "border", None)
        if wanted is not None:
            widen(*wanted)
    for value, source in reversed(list(sources.items())):
        if value in found:
            widen(source, found[value])
    for value, place in places.items():
        if value in found:
            widen(place.whole, found[value])
    return found


def sources(groups: Iterable[Group]) -> dict[Value, Value]:
    """Return what Split has taken channels out of, for each of its results, in order."""
    found: dict[Value, Value] = {}
    for group in groups:
        node = group.anchor
        if node is None or node.op_type != "Split":
            continue
        source = node.inputs[0]
        axis = node.attribute("axis", 0)
        if source is not None and axis in (1, 1 - len(source.shape or ())):
            found |= dict.fromkeys(node.outputs, source)
    return found


def places(groups: Iterable[Group]) -> dict[Value, Place]:
    """Return which images are made where Concat wants them.

    A value that is joined twice is copied the second time. One that was split, and whose
    parts are joined beside each other again, is made there as a whole.
    """
    groups = list(groups)
    found: dict[Value, Place] = {}
    parted = sources(groups)
    makers = {value: group for group in groups for value in group.results}
    for group in groups:
        node = group.anchor
        if node is None or node.op_type != "Concat" or node.attribute("axis", 1) != 1:
            continue
        parts = [value for value in node.inputs if value is not None]
        parts = _rejoined(parts, parted)
        sizes = [_channels(value) for value in parts]
        if 0 in sizes:
            continue
        first = 0
        for value, size in zip(parts, sizes, strict=True):
            maker = makers.get(value)
            made = maker is not None and maker.kind not in _LENDING
            if made and value not in found and parts.count(value) == 1:
                found[value] = Place(node.outputs[0], sum(sizes), first)
            first += size
    return found


def _rejoined(parts: Sequence[Value], parted: Mapping[Value, Value]) -> list[Value]:
    """Return parts with what was split in the place of all of its own, in order."""
    found: list[Value] = []
    place = 0
    while place < len(parts):
        source = parted.get(parts[place])
        own = [value for value in parted if source and parted[value] is source]
        whole = bool(own) and list(parts[place : place + len(own)]) == own
        found.append(source if whole and source is not None else parts[place])
        place += len(own) if whole else 1
    return found


_LENDING = frozenset(("view",))
"""Kinds of groups that make nothing but look at what others have made."""


def _channels(value: Value) -> int:
    """Return how many channels an image has; 0 where that is not known, or it is none."""
    shape = value.shape or ()
    return shape[1] if len(shape) >= 3 and isinstance(shape[1], int) else 0


def is_image(planner: Planner, layout: Layout) -> bool:
    """Whether a layout is that of an image, or of some of its channels."""
    rank = len(layout.shape)
    border = planner.borders.get(layout.buffer)
    return (
        border is not None
        and rank >= 3
        and rank == len(border.inside.shape)
        and layout.strides[1:] == border.inside.strides[1:]
    )


def like_image(planner: Planner, shape: Sequence[int], parts: Iterable[Layout]) -> bool:
    """Whether a result of some shape is to be an image: what it is made from are some.

    Of parts in both orders the larger ones decide.
    """
    if len(shape) < 3:
        return False
    images = others = 0
    for part in parts:
        if len(part.shape) != len(shape):
            continue
        if is_image(planner, part):
            images = max(images, part.size)
        elif part.shape[1] > 1 and part.strides[1] != 1:
            others = max(others, part.size)
    return images > 0 and images >= others


def image(
    planner: Planner,
    value: Value | None,
    shape: Sequence[int],
    element: str,
    reads: Sequence[Layout],
    margins: Margins | None = None,
) -> Layout:
    """Allocate an image, with the margins its readers want unless some are given.

    ``reads`` is what it will be made from; the border is cleared when that is there.
    """
    batch, channels, *sizes = shape
    if margins is None:
        if value is not None and (place := planner.place(value)) is not None:
            return _part(planner, value, place, shape, element, reads)
        wanted = planner.margins(value)
        margins = ((0, 0),) * len(sizes) if wanted is None else wanted
    pitch = channels
    if value is None or channels > 1:
        pitch = planner.pitch(value, (channels,), SIZES[element])
    whole = [s + b + a for s, (b, a) in zip(sizes, margins, strict=True)]
    strides = [pitch]
    for size in reversed(whole[1:]):
        strides.insert(0, strides[0] * size)
    first = strides[0] * whole[0]
    made = planner.allocate(
        value, (batch, channels, *whole), element, (first, 1, *strides)
    )
    start = sum(b * s for (b, _), s in zip(margins, strides, strict=True))
    inside = made.with_dims(shape, made.strides, start)
    planner.borders[made.buffer] = Border(inside, margins)
    if value is not None:
        planner.give(value, inside)
    if any(map(any, margins)):
        clear(planner, made, margins, reads)
    return inside


def _part(
    planner: Planner,
    value: Value,
    place: Place,
    shape: Sequence[int],
    element: str,
    reads: Sequence[Layout],
) -> Layout:
    """Return an image among the channels of another, which is there or is allocated."""
    wanted = (shape[0], place.channels, *shape[2:])
    whole = planner.layouts.get(place.whole)
    if whole is None:
        whole = image(planner, place.whole, wanted, element, reads)
    if whole.shape != wanted:
        raise Unplannable(f"{tuple(shape)} does not continue {whole.shape}")
    inside = whole.with_dims(shape, whole.strides, whole.offset + place.first)
    planner.give(value, inside)
    return inside


def clear(
    planner: Planner, whole: Layout, margins: Margins, reads: Sequence[Layout]
) -> None:
    """Write zeros around an image: slabs on either side of each axis in turn."""
    zero = of_array(_ZEROS[SIZES[whole.element]])
    batch, channels, *sizes = whole.shape
    shape = [batch, channels, *sizes]
    offset = whole.offset
    for axis, (before, after) in enumerate(margins, 2):
        end = shape[axis] - after
        for start, count in ((0, before), (end, after)):
            if count:
                shape[axis] = count
                place = offset + start * whole.strides[axis]
                part = whole.with_dims(shape, whole.strides, place)
                planner.copy(zero.broadcast(shape), part, reads)
        shape[axis] = end - before
        offset += before * whole.strides[axis]


_ZEROS = {size: np.zeros((), f"i{size}") for size in (1, 2, 4, 8)}


def bordered(
    planner: Planner, layout: Layout, margins: Margins, fill: Filling | None = None
) -> Layout:
    """Return a value as an image with margins, copied where it does not lie in such.

    With ``fill``, which copies any type to float32, it is of that type.
    """
    element = layout.element if fill is None else "float"
    key = (layout._replace(element=element), margins)
    found = planner.bordered.get(key)
    if found is None:
        inside = _within(planner, layout, margins)
        if inside is None or element != layout.element:
            inside = image(planner, None, layout.shape, element, [layout], margins)
            (Planner.copy if fill is None else fill)(planner, layout, inside)
        shape = list(inside.shape)
        offset = inside.offset
        for axis, (before, after) in enumerate(margins, 2):
            shape[axis] += before + after
            offset -= before * inside.strides[axis]
        found = inside.with_dims(shape, inside.strides, offset)
        planner.bordered[key] = found
    return found


def _within(planner: Planner, layout: Layout, margins: Margins) -> Layout | None:
    """Return a layout itself where it is an image in the midst of enough zeros."""
    border = planner.borders.get(layout.buffer)
    if not any(map(any, margins)):
        whole = layout.shape[1] == 1 or layout.strides[1] == 1
        return layout if whole else None
    if border is None or not is_image(planner, layout):
        return None
    enough = all(
        have >= want
        for has, wants in zip(border.margins, margins, strict=True)
        for have, want in zip(has, wants, strict=True)
    )
    inside = border.inside
    shift = layout.offset - inside.offset
    same = layout.shape[2:] == inside.shape[2:] and layout.shape[0] == inside.shape[0]
    if not (enough and same and 0 <= shift <= inside.shape[1] - layout.shape[1]):
        return None
    return layout
