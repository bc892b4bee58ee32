"""Calls that are right but for one thing: a number, a rank, a length or an attribute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx
from evaluate import run_graph
from onnx import helper
from retyped import Key, Template, schemas, templates
from runtime.model import from_proto

HUGE = 1 << 60
LEAST, MOST = (np.iinfo(np.int64).min, np.iinfo(np.int64).max)
NUMBERS = (-1, 0, 2, 1000, -1000, HUGE, -HUGE, LEAST, MOST)
FLOATS = (np.nan, np.inf, -np.inf, 0.0, -1.0, 3e38)
WORDS = ("", "bogus")


class Spoiled(NamedTuple):
    """A call, and what was done to it."""

    what: str
    node: onnx.NodeProto
    inputs: tuple[Any, ...]


def run(call: Spoiled) -> list[Any]:
    """Return the outputs of a call, by the kernel table alone."""
    node = onnx.NodeProto()
    node.CopyFrom(call.node)
    names = [f"x{n}" if x is not None else "" for n, x in enumerate(call.inputs)]
    node.input[:] = names
    graph = onnx.helper.make_graph(
        [node],
        "spoiled",
        [onnx.ValueInfoProto(name=name) for name in names if name],
        [onnx.ValueInfoProto(name=name) for name in node.output if name],
    )
    imports = [onnx.helper.make_opsetid("", onnx.defs.onnx_opset_version())]
    if node.domain:
        version = schemas()[node.domain, node.op_type].since_version
        imports.append(onnx.helper.make_opsetid(node.domain, version))
    model = onnx.helper.make_model(graph, opset_imports=imports)
    given = [item for item in call.inputs if item is not None]
    return run_graph(from_proto(model).graph, given)


def spoiled(key: Key) -> Iterator[Spoiled]:
    """Yield an operator's call, each time with one thing changed."""
    template = templates()[key]
    for place, item in enumerate(template.inputs):
        for what, changed in _other_values(item):
            inputs = list(template.inputs)
            inputs[place] = changed
            yield Spoiled(f"input {place} {what}", template.node, tuple(inputs))
    for name, attribute in schemas()[key].attributes.items():
        for value in _other_attributes(name, attribute, template):
            node = onnx.NodeProto()
            node.CopyFrom(template.node)
            kept = [entry for entry in node.attribute if entry.name != name]
            del node.attribute[:]
            made = helper.make_attribute(name, value, attr_type=int(attribute.type))
            node.attribute.extend([*kept, made])
            yield Spoiled(f"{name} = {value!r}", node, template.inputs)


def _other_values(item: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(item, list):
        yield "without items", []
        return
    if not isinstance(item, np.ndarray):
        return
    numbers = {"i": NUMBERS, "f": FLOATS}.get(item.dtype.kind, ())
    for number in numbers if 0 < item.size <= 4096 else ():
        for place in {0, item.size - 1}:
            with np.errstate(over="ignore"):
                changed = item.copy()
                bits = np.asarray(number).astype(item.dtype)
            changed.reshape(-1)[place] = bits
            yield f"[{place}] = {number}", changed
    yield "of one rank more", item[None]
    if item.ndim:
        yield "without its last", item[:-1]
        yield "of no rows", item[:0]
        yield "with one more", np.concatenate([item, item[:1]])
        yield "narrower", item[..., :-1]
    if item.ndim and item.shape[0]:
        yield "of one rank less", item[0, ...]
    if item.size:
        yield "a scalar", item.reshape(-1)[:1].reshape(())


def _other_attributes(
    name: str, attribute: onnx.defs.OpSchema.Attribute, template: Template
) -> Iterator[Any]:
    kinds = onnx.AttributeProto
    match int(attribute.type):
        case kinds.INT:
            yield from NUMBERS
        case kinds.FLOAT:
            yield from map(float, FLOATS)
        case kinds.STRING:
            yield from WORDS
        case kinds.INTS:
            given = (list(a.ints) for a in template.node.attribute if a.name == name)
            old = next(given, [1, 1])
            for number in NUMBERS:
                yield [*old[:-1], number]
                yield [number, *old[1:]]
            yield from (old[:-1], [*old, 1], [])
