"""Asks OpenVINO which nodes it takes: samples of them, converted side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import openvino as ov
from openvino.frontend import FrontEndManager
from runtime.graph import Graph, Node, Tensor, Value
from runtime.plugin import HOST, Partition
from runtime.valuetypes import TensorType, numpy_dtype

from runtime_ep_openvino.frontend import proto_of, used
from runtime_ep_openvino.tensors import ELEMENTS, engine, first_line


@cache
def _frontend() -> Any:
    return FrontEndManager().load_by_framework("onnx")


class Sampler:
    """Asks OpenVINO about kinds of nodes, many at once, each kind once per process."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], str] = {}

    def reasons(
        self, nodes: Sequence[Node], device: str, opset: int
    ) -> dict[Node, str]:
        """Return what stands against each node, ``""`` where nothing does."""
        kinds = {node: (device, opset, *kind(node)) for node in nodes}
        new = {key: node for node, key in kinds.items() if key not in self._known}
        if new:
            found = _ask(list(new.values()), device, opset)
            self._known.update(zip(new, found, strict=True))
        return {node: self._known[key] for node, key in kinds.items()}


def kind(node: Node) -> tuple[Any, ...]:
    """Return all that OpenVINO's answer can depend on."""
    attributes = tuple(
        (name, repr(_plain(entry.value))) for name, entry in node.attributes.items()
    )
    inputs = tuple(None if v is None else _described(v) for v in node.inputs)
    outputs = tuple(_described(v) if used(v) else None for v in node.outputs)
    return (node.domain, node.op_type, node.version, attributes, inputs, outputs)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return (value.dtype, value.shape, value.numpy().tobytes())
    return value


_SMALL = 256


def _described(value: Value) -> tuple[Any, ...]:
    data = None
    if value.is_constant and isinstance(value.const, Tensor):
        small = value.const.size <= _SMALL
        data = value.const.numpy().tobytes() if small else "large"
    shape = value.shape
    sizes = (
        None
        if shape is None
        else tuple(d if isinstance(d, int) else None for d in shape)
    )
    return (value.dtype, sizes, data)


def _ask(nodes: Sequence[Node], device: str, opset: int) -> list[str]:
    """Convert nodes side by side; if that fails as a whole, each by itself."""
    try:
        return _examined(
            [_copied(i, node) for i, node in enumerate(nodes)], device, opset
        )
    except Exception as error:
        if len(nodes) == 1:
            return [first_line(error)]
        middle = len(nodes) // 2
        parts = (nodes[:middle], nodes[middle:])
        return [reason for part in parts for reason in _ask(part, device, opset)]


def _copied(index: int, node: Node) -> Node:
    """Return a node of its own with the same inputs, under names of its own."""
    copies: dict[Value, Value] = {}
    for value in node.inputs:
        if value is not None and value not in copies:
            const = value.const if value.is_constant else None
            copies[value] = Value(f"i{index}_{len(copies)}", value.type, const)
    made = [
        Value(f"o{index}_{place}" if used(value) else "", value.type)
        for place, value in enumerate(node.outputs)
    ]
    return Node(
        node.op_type,
        [None if value is None else copies[value] for value in node.inputs],
        made,
        domain=node.domain,
        version=node.version,
        name=f"n{index}",
        attributes=node.attributes,
    )


def _examined(nodes: Sequence[Node], device: str, opset: int) -> list[str]:
    reads = dict.fromkeys(v for node in nodes for v in node.inputs if v is not None)
    outputs = tuple(v for node in nodes for v in node.outputs if v.name)
    partition = Partition(
        "",
        HOST,
        Graph(),
        tuple(nodes),
        tuple(value for value in reads if not value.is_constant),
        outputs,
        tuple(value for value in reads if value.is_constant),
    )
    text = proto_of(partition, opset).SerializeToString()
    frontend = _frontend()
    model = frontend.convert_partially(frontend.load(io.BytesIO(text)))
    taken = engine().query_model(model, device)
    results = dict(zip(outputs, model.results, strict=True))
    return [
        next(
            (
                reason
                for value in node.outputs
                if value.name and (reason := _against(results[value], value, taken))
            ),
            "",
        )
        for node in nodes
    ]


def _against(result: Any, value: Value, taken: Mapping[str, str]) -> str:
    """Say what stands against one output of a converted node."""
    seen, todo = set(), [result.input_value(0).get_node()]
    while todo:
        op = todo.pop()
        name = op.get_friendly_name()
        if name in seen:
            continue
        seen.add(name)
        type_name = op.get_type_name()
        if "ONNX" in type_name:
            return _unconverted(op)
        if name not in taken:
            return f"the device takes no {type_name} of these types and shapes"
        todo += [op.input_value(i).get_node() for i in range(op.get_input_size())]
    return _other_type(result.output(0), value)


def _unconverted(op: Any) -> str:
    attributes = op.get_attributes()
    told = attributes.get("ONNX_META_error_message") or ""
    if not told:
        return f"OpenVINO has no {attributes.get('ONNX_META_type', 'such operator')}"
    return first_line(RuntimeError(told))


def _other_type(port: Any, value: Value) -> str:
    """Compare element type and shape as OpenVINO infers them with those declared."""
    kind = value.type
    if not isinstance(kind, TensorType):
        return "only tensors are supported"
    found = port.get_element_type().get_type_name()
    if found != ELEMENTS.get(kind.dtype):
        return f"OpenVINO makes {found} of it, not {numpy_dtype(kind.dtype)}"
    shape = port.get_partial_shape()
    if kind.shape is None or shape.rank.is_dynamic:
        return "the rank is unknown"
    wanted = ov.PartialShape([d if isinstance(d, int) else -1 for d in kind.shape])
    if not shape.compatible(wanted):
        return f"OpenVINO infers the shape {shape}, and the model says {wanted}"
    return ""
