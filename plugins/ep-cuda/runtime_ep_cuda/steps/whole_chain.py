"""What follows a sum of int8 products, in a library's words and in units of a scale.

The running result is a multiple of a unit, so that a tensor of int8 can be added as it
lies: the unit is that tensor's scale, else the result's. ReLU does not mind; the bounds
of Clip are divided by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.graph import Node, Value

from runtime_ep_cuda.dtypes import FLOAT, Dtype, dtype_of
from runtime_ep_cuda.express import operation
from runtime_ep_cuda.operations import Pointwise
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.epilogue import Fit, Follower
from runtime_ep_cuda.steps.whole_sources import Source, as_int8, single, source_of


@dataclass(frozen=True, slots=True)
class Ending:
    """To what the result is quantized: whole numbers of a scale, around a zero point."""

    scale: float
    zero: int
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Chain:
    """Followers behind the scale and the offset, how many nodes they are, and the result.

    ``ending`` is ``None`` where the result stays a float.
    """

    unit: float
    followers: tuple[Follower, ...]
    taken: int
    value: Value
    ending: Ending | None


def ending_of(node: Node) -> Ending | None:
    """Return how a QuantizeLinear ends a chain, where that is known beforehand."""
    scale, zero = single(node.input(1)), single(node.input(2))
    dtype = dtype_of(node.outputs[0])
    if scale is None or (zero is None and node.input(2) is not None) or dtype is None:
        return None
    kind = dtype_of(node.input(1))
    if dtype.name not in ("int8", "uint8") or kind != FLOAT or scale <= 0:
        return None
    return Ending(scale, int(zero or 0), dtype)


def chain(
    planner: Planner,
    nodes: Sequence[Node],
    first: Value,
    fit: Fit,
    ending: Ending | None,
) -> Chain | None:
    """Return nodes in a library's words, or ``None`` where it has none for all of them.

    They are taken up to the first that quantizes; ``ending`` is the anchor's own.
    """
    kinds = [operation(node) for node in nodes]
    taken = kinds.index("quantize") + 1 if "quantize" in kinds else len(nodes)
    links = [n for n in nodes[:taken] if operation(n) != "dequantize"]
    if links and operation(links[-1]) == "quantize":
        ending = ending_of(links.pop())
        if ending is None:
            return None
    others = [_other(n, running, nodes) for n, running in _running(links, first)]
    scales = [source.scale for source in others if source is not None]
    unit = scales[0] if scales else ending.scale if ending is not None else 1.0
    found: list[Follower] = []
    for (node, running), source in zip(_running(links, first), others, strict=True):
        made = _link(planner, node, running, source, unit, fit)
        if made is None:
            return None
        found += made
    value = nodes[taken - 1].outputs[0] if taken else first
    return Chain(unit, (*found, *_last(unit, ending)), taken, value, ending)


def _running(links: Sequence[Node], first: Value) -> list[tuple[Node, Value]]:
    """Return each node with the result that it goes on with."""
    values = [first, *(node.outputs[0] for node in links)]
    return list(zip(links, values, strict=False))


def _other(node: Node, running: Value, nodes: Sequence[Node]) -> Source | None:
    """Return the quantized tensor that a node adds to the running result."""
    if operation(node) not in ("add", "total") or len(node.inputs) != 2:
        return None
    others = [value for value in node.inputs if value is not running]
    return source_of(others[0], nodes) if len(others) == 1 else None


def _last(unit: float, ending: Ending | None) -> list[Follower]:
    """Return how multiples of a unit become the result: shifted so that it is int8."""
    made: list[Follower] = []
    factor = unit if ending is None else unit / ending.scale
    if factor != 1.0:
        made.append(_number("mul", factor))
    if ending is not None:
        zero = ending.zero - (128 if ending.dtype.name == "uint8" else 0)
        made += [_number("add", zero)] if zero else []
    return made


def _number(mode: str, value: float) -> Follower:
    return Follower((Pointwise(mode, -1, float(value)),))


def _link(
    planner: Planner,
    node: Node,
    running: Value,
    source: Source | None,
    unit: float,
    fit: Fit,
) -> list[Follower] | None:
    """Return one node's followers, or ``None`` where it has none."""
    name = operation(node)
    if running not in node.inputs:
        return None
    if source is not None:
        return _sum(planner, source, unit, fit)
    if name == "relu":
        return [Follower((Pointwise("relu"),))]
    if name == "leaky_relu":
        alpha = node.attribute("alpha", 0.009999999776482582)
        return [_number("leaky_relu", alpha)]
    if name == "clip" and node.inputs[0] is running:
        return _clip(node, unit)
    return None


def _sum(
    planner: Planner, source: Source, unit: float, fit: Fit
) -> list[Follower] | None:
    """Return the addition of a tensor that is a multiple of the same unit."""
    if source.scale != unit:
        return None
    tensor, zero = as_int8(planner, source)
    seen = fit(tensor)
    if seen is None:
        return None
    made = [_number("add", -zero)] if zero else []
    return [*made, Follower((Pointwise("add"),), seen)]


def _clip(node: Node, unit: float) -> list[Follower] | None:
    made = []
    for mode, place in (("max", 1), ("min", 2)):
        bound = node.input(place)
        if bound is None:
            continue
        number = single(bound)
        if number is None:
            return None
        made.append(_number(mode, number / unit))
    return made
