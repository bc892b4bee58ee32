"""Lowers each kind of node once on its own, to know what coremltools refuses."""

from __future__ import annotations

from typing import Any

from runtime.graph import Node, Value

from runtime_ep_coreml.guards import used
from runtime_ep_coreml.mil import MilEmitter, function, unknown
from runtime_ep_coreml.scope import KINDS, Refused
from runtime_ep_coreml.tools import first_line, writing
from runtime_ep_coreml.writer import Writer, input_name, interface

SMALL = 64
"""Elements up to which a constant's numbers make nodes different ones."""


class Trial:
    """Remembers for each kind of node why it cannot be lowered, or that it can."""

    def __init__(self) -> None:
        self._reasons: dict[Any, str] = {}

    def reason(self, node: Node, number: int, halves: bool = False) -> str:
        """Say why a node cannot be lowered, or return ``""``."""
        key = (number, halves, *_kind(node))
        if key not in self._reasons:
            self._reasons[key] = _tried(node, number, halves)
        return self._reasons[key]


def _kind(node: Node) -> tuple[Any, ...]:
    inputs = [None if value is None else _value(value) for value in node.inputs]
    places = {value: place for place, value in reversed(list(enumerate(node.inputs)))}
    same = [places[value] for value in node.inputs]
    outputs = [(v.dtype, v.shape, used(v)) for v in node.outputs]
    attributes = sorted((name, _told(a.value)) for name, a in node.attributes.items())
    return (
        node.op_type, node.version, tuple(inputs), tuple(same), tuple(outputs),
        tuple(attributes),
    )  # fmt: skip


def _told(value: Any) -> str:
    return repr(value.numpy().tolist()) if hasattr(value, "numpy") else repr(value)


def _value(value: Value) -> tuple[Any, ...]:
    """Return what matters of an input; the constants in which integers matter, whole."""
    found: tuple[Any, ...] = (value.dtype, value.shape)
    if not value.is_constant:
        return found
    array = value.constant()
    if array is None:
        return found
    if array.size <= SMALL:
        return (*found, "constant", repr(array.tolist()))
    if array.dtype.kind in "iu":
        return (*found, "constant", int(array.min()), int(array.max()))
    return (*found, "constant")


def _tried(node: Node, number: int, halves: bool) -> str:
    try:
        with writing():
            return _written(node, number, halves)
    except Refused as reason:
        return str(reason).partition(": ")[2] or str(reason)
    except Exception as error:
        return f"lowering fails: {first_line(error)}"


def _written(node: Node, number: int, halves: bool) -> str:
    """Lower a node; say what is wrong with its results."""
    reads = dict.fromkeys(
        value for value in node.inputs if value is not None and not value.is_constant
    )
    symbols: dict[str, Any] = {}
    shapes = {
        input_name(index): (_shape(value, symbols), interface(value))
        for index, value in enumerate(reads)
    }
    shapes = shapes or {input_name(0): ((1,), "fp32")}
    with function(shapes, number) as main:
        writer = Writer(MilEmitter(number, halves))
        for index, value in enumerate(reads):
            writer.read(value, main.inputs[input_name(index)])
        writer.lower([node])
        main.set_outputs(
            [writer.give(v, f"out_{v.name}") for v in writer.results(node)]
        )
        return _wrong(node, writer)


def _shape(value: Value, symbols: dict[str, Any]) -> tuple[Any, ...]:
    sizes: list[Any] = []
    for dim in value.shape or (1,):
        if isinstance(dim, int):
            sizes.append(dim)
        elif dim is None:
            sizes.append(unknown())
        else:
            sizes.append(symbols.setdefault(dim, unknown()))
    return tuple(sizes)


def _wrong(node: Node, writer: Writer) -> str:
    """Say which output is missing or has another shape or type than ONNX says."""
    emitter = writer.emitter
    results = writer.results(node)
    for value in node.outputs:
        if not used(value):
            continue
        if value not in results:
            return f"the output {value.name!r} is not made"
        made = emitter.sizes(results[value])
        shape = value.shape or ()
        if len(made) != len(shape) or any(
            isinstance(want, int) and have is not None and want != have
            for have, want in zip(made, shape, strict=True)
        ):
            return f"coremltools infers the shape {made}, not {shape}"
        kind, wanted = emitter.kind(results[value]), KINDS[value.dtype or 1]
        if kind != wanted and not (wanted == "int32" and kind in ("int8", "uint8")):
            return f"it would be made as {kind}, not {wanted}"
    return ""
