"""Which nodes TensorRT shall run: by its published list first, then by its parser's word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod

from onnx import ModelProto
from runtime.export import partition_proto
from runtime.graph import Graph, Node, Value
from runtime.plugin import Claim, Device, Partition, Refusal
from runtime.valuetypes import ELEMENT_TYPES, TensorType, numpy_dtype

from runtime_ep_tensorrt import context, guards
from runtime_ep_tensorrt.carve import newest
from runtime_ep_tensorrt.info import NAME
from runtime_ep_tensorrt.operators import OPERATORS
from runtime_ep_tensorrt.options import Choice

Supports = Callable[[bytes], list[tuple[bool, list[int]]]]
"""Which regions of a model the parser takes; see `runtime_ep_tensorrt.adapter`."""

LARGEST = 2_000_000_000
"""Bytes of a model as protobuf; what has more is asked about in portions."""
MOST_AXES = 8
TYPES = frozenset((1, 2, 3, 6, 7, 9, 10, 16, 17, 22, 23))
"""Element types that TensorRT has; those of 8 bits and less only around Q and DQ."""
MEASURED = {"Where": 1, "OneHot": 2}
"""Which input has the type that an operator is told to take, where it is not the first."""
WHOLE = frozenset((6, 7))
SIZES = frozenset(("Shape", "Size"))
QUANTIZED = frozenset((3, 17, 22, 23))
"""Types that values have between Q and DQ only, or as constants."""
DRAWN = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
MAKERS = frozenset(("ConstantOfShape", "EyeLike", "RandomNormal", "RandomUniform"))
SHAPES: Mapping[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (3,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Tile": (1,),
    "TopK": (1,),
}
"""Inputs that are read on the host, as they decide a shape."""


def offer(
    graph: Graph, nodes: Sequence[Node], choice: Choice, supports: Supports | None
) -> Iterator[Claim | Refusal]:
    """Claim what the list and the parser take; refuse the rest, each with its reason."""
    device = Device("cuda", choice.device)
    if any(map(context.is_compiled, graph)):
        yield from _compiled(nodes, device)
        return
    reasons = {node: refusal(node, choice.excluded) for node in nodes}
    taken = [node for node in nodes if not reasons[node]]
    if supports is not None and taken:
        reasons |= parsed(graph, taken, supports, choice.iterations)
        taken = [node for node in taken if not reasons[node]]
    reasons |= too_few(taken, choice.least)
    for node in nodes:
        if reasons[node]:
            yield Refusal(node, reasons[node])
    taken = [node for node in taken if not reasons[node]]
    if taken:
        yield Claim(taken, device, host_inputs=hosted(taken), shapes=True)


def _compiled(nodes: Sequence[Node], device: Device) -> Iterator[Claim | Refusal]:
    """Claim what carries an engine; what was left over when it was made stays so."""
    for node in nodes:
        if not context.is_compiled(node):
            yield Refusal(node, "the model is compiled, and this node was not")
        elif reason := context.against(node):
            yield Refusal(node, reason)
        else:
            yield Claim([node], device)


# the list


def refusal(node: Node, excluded: Iterable[str] = ()) -> str:
    """Say why a node is not given to the parser, or return ``""``."""
    if node.domain:
        return f"operators of {node.domain} are not parsed"
    if node.bodies:
        return "control flow stays with the host; what is in its bodies is offered"
    if node.op_type not in OPERATORS:
        return f"TensorRT's parser has no {node.op_type}"
    if node.op_type in DRAWN:
        return "random numbers are drawn by the host, where seeds hold"
    if node.op_type in excluded:
        return f"trt_op_types_to_exclude names {node.op_type}"
    if not newest([node]):
        return f"it is written for opset {node.version} and has no equal up to 24"
    values = [value for value in node.inputs if value is not None]
    values += [v for v in node.outputs if v.uses or guards.is_public(v)]
    reason = next(filter(None, map(_value, values)), "")
    return reason or _kind(node) or _quantized(node) or guards.against(node)


def _value(value: Value) -> str:
    kind = value.type
    if not isinstance(kind, TensorType) or kind.sparse:
        return f"{kind or 'a value of unknown type'} is not supported"
    if kind.dtype not in TYPES:
        name = ELEMENT_TYPES[kind.dtype].name if kind.dtype else "an unknown type"
        return f"TensorRT has no {name}"
    if kind.shape is None:
        return f"the rank of {value.name!r} is unknown"
    if len(kind.shape) > MOST_AXES:
        return f"TensorRT has no more than {MOST_AXES} axes"
    if 0 in kind.shape and not value.is_constant:
        return "a value has no elements"
    return ""


def _kind(node: Node) -> str:
    """Say what stands against the type that an operator computes in."""
    place = MEASURED.get(node.op_type, 0)
    value = node.input(place)
    if node.op_type in MAKERS or value is None:
        value = node.outputs[0]
    if value.dtype in OPERATORS[node.op_type]:
        if not node.op_type.startswith("Cast"):
            return ""
        value = node.outputs[0]
        if value.dtype in OPERATORS[node.op_type]:
            return ""
    name = ELEMENT_TYPES[value.dtype].name if value.dtype else "an unknown type"
    return f"TensorRT has no {node.op_type} of {name}"


def _quantized(node: Node) -> str:
    """Say what stands against values of 8 bits and less outside of Q and DQ."""
    for value in node.inputs:
        if value is not None and value.dtype in QUANTIZED and not value.is_constant:
            maker = value.producer
            if maker is None or maker.op_type != "QuantizeLinear":
                return "values of 8 bits and less come from QuantizeLinear alone"
    for value in node.outputs:
        readers = {user.op_type for user in value.users}
        outside = guards.is_public(value) or readers - {"DequantizeLinear"}
        if value.dtype in QUANTIZED and outside:
            return "values of 8 bits and less go to DequantizeLinear alone"
    return ""


# the parser


def parsed(
    graph: Graph, nodes: Sequence[Node], supports: Supports, iterations: int
) -> dict[Node, str]:
    """Return what the parser has against nodes; ``""`` where it takes them.

    A region that it refuses is asked about again, alone; one that it refuses as a whole,
    in halves. A node too large for any question is taken by the list.
    """
    waiting = portions(nodes, LARGEST)
    reasons = dict.fromkeys(nodes, "")
    for asked in waiting:
        reasons |= dict.fromkeys(asked, "TensorRT's parser refuses it")
    for _ in range(max(iterations, 1)):
        if not waiting:
            break
        asked = waiting.pop()
        for taken, places in supports(_question(graph, asked).SerializeToString()):
            region = [asked[place] for place in places]
            if taken:
                reasons |= dict.fromkeys(region, "")
            elif len(region) < len(asked):
                waiting.append(region)
            elif len(region) > 1:
                half = len(region) // 2
                waiting += [region[:half], region[half:]]
    return reasons


def portions(nodes: Sequence[Node], most: int) -> list[list[Node]]:
    """Return nodes in runs whose constants have so many bytes at most.

    Nodes with more of their own are in none.
    """
    found: list[list[Node]] = [[]]
    inside: set[Value] = set()
    held = 0
    for node in nodes:
        constants = {value for value in node.reads if value.is_constant}
        if sum(map(_size, constants)) > most:
            continue
        more = sum(map(_size, constants - inside))
        if held + more > most:
            found.append([])
            inside, held, more = set(), 0, sum(map(_size, constants))
        inside |= constants
        held += more
        found[-1].append(node)
    return [portion for portion in found if portion]


def _size(value: Value) -> int:
    dims = [dim for dim in value.shape or () if isinstance(dim, int)]
    return prod(dims) * int(numpy_dtype(value.dtype or 1).itemsize)


def _question(graph: Graph, nodes: Sequence[Node]) -> ModelProto:
    """Return nodes as a model, in which they have the places that they have here."""
    proto = partition_proto(part(graph, nodes))
    version = newest(nodes)
    for entry in proto.opset_import:
        if not entry.domain and version:
            entry.version = version
    return proto


def part(graph: Graph, nodes: Sequence[Node]) -> Partition:
    """Return nodes as a partition, to be looked at."""
    inside = set(nodes)
    made = {value for node in nodes for value in node.outputs}
    reads = dict.fromkeys(v for node in nodes for v in node.reads if v not in made)
    outputs = tuple(
        value
        for node in nodes
        for value in node.outputs
        if guards.is_public(value) or any(user not in inside for user in value.users)
    )
    return Partition(
        NAME,
        Device("cuda"),
        graph,
        tuple(nodes),
        tuple(value for value in reads if not value.is_constant),
        outputs,
        tuple(value for value in reads if value.is_constant),
    )


# sizes


def too_few(nodes: Sequence[Node], least: int) -> dict[Node, str]:
    """Return the nodes of connected groups that are smaller than asked for."""
    if least <= 1:
        return {}
    group: dict[Node, list[Node]] = {}
    for node in nodes:
        joined = [node]
        near = {id(g): g for v in node.reads if (g := group.get(v.producer))}  # type: ignore[arg-type]
        for other in near.values():
            joined += other
        group |= dict.fromkeys(joined, joined)
    reason = f"its subgraph is smaller than trt_min_subgraph_size={least}"
    return {node: reason for node in nodes if len(group[node]) < least}


def hosted(nodes: Sequence[Node]) -> frozenset[Value]:
    """Return the values that decide shapes, which are read on the host.

    They do by way of whole numbers that are computed of them, too. Those among them that
    stay inside of an engine are nobody's to bring anywhere.
    """
    inside: set[Node | None] = set(nodes)
    waiting = [
        node.input(place) for node in nodes for place in SHAPES.get(node.op_type, ())
    ]
    found: set[Value] = set()
    while waiting:
        value = waiting.pop()
        if value is None or value in found or value.is_constant:
            continue
        if value.dtype in WHOLE:
            found.add(value)
            maker = value.producer
            if maker in inside and maker is not None and maker.op_type not in SIZES:
                waiting += maker.inputs
    return frozenset(found)
