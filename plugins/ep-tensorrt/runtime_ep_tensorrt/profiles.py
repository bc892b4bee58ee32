"""Ranges of shapes that an engine is built for: told by a user, or grown from those seen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import Any

from runtime.graph import Value
from runtime.valuetypes import Bounds

from runtime_ep_tensorrt.orders import Ranges
from runtime_ep_tensorrt.spellings import Range, Shape


def told(
    inputs: Sequence[Value],
    hosted: Collection[Value],
    profiles: Sequence[Mapping[str, Range]],
) -> tuple[list[Ranges], list[str]]:
    """Return a user's ranges for a partition's inputs, or none and which inputs lack one.

    For inputs that are sizes, they are of their values, as in onnxruntime.
    """
    sizes = [value for value in inputs if value in hosted]
    open_ = [v for v in inputs if not is_fixed(v) and v not in hosted]
    found, lacking = [], dict[str, None]()
    for profile in profiles:
        lacking |= dict.fromkeys(
            [v.name for v in open_ if not fits(v, profile.get(v.name))]
            + [v.name for v in sizes if not counts(v, profile.get(v.name))]
        )
        if not lacking:
            shapes = {v.name: profile[v.name] for v in open_}
            values = {v.name: profile[v.name] for v in sizes}
            shapes |= {
                v.name: _vector(len(values[v.name].least))
                for v in sizes
                if not is_fixed(v)
            }
            found.append(Ranges(shapes, values))
    return ([], [*lacking]) if lacking else (found, [])


def counts(value: Value, span: Range | None) -> bool:
    """Whether a range has as many numbers as an input of sizes."""
    dims = value.shape or ()
    return span is not None and (
        prod(d for d in dims if isinstance(d, int)) == len(span.least)
        or (len(dims) == 1 and not isinstance(dims[0], int))
    )


def _vector(size: int) -> Range:
    return Range((size,), (size,), (size,))


def fits(value: Value, span: Range | None) -> bool:
    """Whether a range agrees with what is fixed of an input's shape."""
    shape = value.shape or ()
    return (
        span is not None
        and len(shape) == len(span.least)
        and all(
            not isinstance(dim, int) or dim == low == high
            for dim, low, high in zip(shape, span.least, span.most, strict=True)
        )
    )


def is_fixed(value: Value) -> bool:
    """Whether an input has one shape."""
    return all(isinstance(dim, int) for dim in value.shape or ())


def bounded(
    inputs: Sequence[Value], bounds: Mapping[str, Bounds]
) -> dict[str, Range] | None:
    """Return ranges from what a session knows of symbolic dims; ``None`` if not of all."""
    found = {}
    for value in inputs:
        if is_fixed(value):
            continue
        dims = [_span(dim, bounds) for dim in value.shape or ()]
        if any(dim is None for dim in dims):
            return None
        found[value.name] = Range(*map(tuple, zip(*dims, strict=True)))
    return found


def _span(dim: Any, bounds: Mapping[str, Bounds]) -> tuple[int, int, int] | None:
    if isinstance(dim, int):
        return dim, dim, dim
    known = bounds.get(dim)
    if known is None or known.maximum is None:
        return None
    least = max(known.minimum or 1, 1)
    usual = known.typical or known.maximum
    return least, min(max(usual, least), known.maximum), known.maximum


def seen(shapes: Mapping[str, Shape]) -> dict[str, Range]:
    """Return ranges of nothing but the shapes that came."""
    return {name: Range(shape, shape, shape) for name, shape in shapes.items()}


def grown(ranges: Mapping[str, Range], shapes: Mapping[str, Shape]) -> dict[str, Range]:
    """Return ranges that hold what came as well, which they shall be fastest for."""
    return {name: _widened(ranges.get(name), shape) for name, shape in shapes.items()}


def _widened(span: Range | None, shape: Shape) -> Range:
    if span is None or len(span.least) != len(shape):
        return Range(shape, shape, shape)
    return Range(
        tuple(map(min, span.least, shape)), shape, tuple(map(max, span.most, shape))
    )


def admitted(ranges: Mapping[str, Range], shapes: Mapping[str, Shape]) -> bool:
    """Whether shapes lie within ranges."""
    return all(
        name in ranges and ranges[name].admits(shape) for name, shape in shapes.items()
    )


def same(one: Sequence[Ranges], other: Sequence[Ranges]) -> bool:
    """Whether two engines would be built for the same shapes."""
    return [(r.shapes, r.values) for r in one] == [(r.shapes, r.values) for r in other]
