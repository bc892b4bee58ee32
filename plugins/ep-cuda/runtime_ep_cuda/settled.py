"""Which nodes follow from shapes alone, and which values a plan must find on the host.

A plan is made for given shapes. Whatever depends on nothing but shapes and constants is
*settled*: it is worked out once, on the host, while planning. Sizes, axes and the like
that a step must know are settled, or come from the host and become part of what a plan
is made for; what only the device knows cannot be asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from runtime.graph import Node, Value
from runtime_ep_cpu.ops import table

from runtime_ep_cuda.dtypes import BOOL, INTEGERS, dtype_of
from runtime_ep_cuda.express import is_elementwise
from runtime_ep_cuda.quantized import dequantizes_a_constant
from runtime_ep_cuda.steps.table import step_of

_SOURCES = frozenset(("Shape", "Size"))
_ARITHMETIC = frozenset((
    "Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Neg", "Abs", "Cast", "Concat",
    "Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Identity", "Where", "Equal",
    "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Not", "And", "Or",
    "ReduceProd", "ReduceSum", "ReduceMin", "ReduceMax", "Range", "ConstantOfShape",
    "Expand", "Ceil", "Floor", "Sqrt", "Split", "Flatten", "ScatterND", "GatherND",
    "ScatterElements", "Pow", "Clip", "Tile", "Trilu", "CumSum", "NonZero",
))  # fmt: skip
"""What sizes, positions and masks are made of; anything else is no business of the host."""


def settled(nodes: Iterable[Node], known: Collection[Value] = ()) -> set[Node]:
    """Return the nodes, given in order, whose results follow from shapes alone.

    Values that are ``known`` count as such results, too. Dequantized constants are among
    the nodes found, but nothing follows from them: what they hold is large.
    """
    found: set[Node] = set()
    weights: set[Node] = set()
    for node in nodes:
        if node.domain or node.bodies or table.refuses(node):
            continue
        if dequantizes_a_constant(node):
            weights.add(node)
        elif node.op_type in _SOURCES:
            found.add(node)
        elif node.op_type in _ARITHMETIC:
            reads = [value for value in node.inputs if value is not None]
            fed = any(v.producer in found or v in known for v in reads)
            sure = all(
                v.producer in found or v.is_constant or v in known for v in reads
            )
            if fed and sure:
                found.add(node)
    return found | weights


def asked(node: Node) -> list[Value]:
    """Return the inputs of a node whose contents a plan must know."""
    step = step_of(node)
    if step is None or is_elementwise(node):
        return []
    given = (node.input(place) for place in step.known)
    return [value for value in given if value is not None and not value.is_constant]


def on_the_host(nodes: Iterable[Node], sure: set[Node]) -> set[Node]:
    """Return nodes that compute sizes from what is fed: the host shall do that.

    From every value that a plan must know the way leads back over integers to inputs of
    the graph; ``sure`` are the settled nodes.
    """
    found: set[Node] = set()
    waiting = [value for node in nodes for value in asked(node)]
    while waiting:
        maker = waiting.pop().producer
        if maker is None or maker in sure or maker in found:
            continue
        if maker.op_type in _ARITHMETIC and _counts(maker):
            found.add(maker)
            waiting += [value for value in maker.inputs if value is not None]
    return found


def _counts(node: Node) -> bool:
    """Whether a node makes integers or truth values only."""
    whole = INTEGERS | {BOOL}
    return not node.domain and all(dtype_of(v) in whole for v in node.outputs)
