"""What a strongly typed network is held to: one floating type for each operator."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import ModelProto
from runtime_ep_tensorrt.facts import element_types

FLOATS = {1: "float", 10: "float16", 11: "double", 16: "bfloat16"}
APART = frozenset(("Cast", "CastLike", "DequantizeLinear", "If", "Loop", "Scan"))


def mixtures(model: ModelProto) -> Iterator[str]:
    """Yield each node whose floating tensors of one type parameter are of several types."""
    types = element_types(model)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for node in model.graph.node:
        if node.op_type in APART:
            continue
        schema = onnx.defs.get_schema(
            node.op_type, versions[node.domain or ""], node.domain
        )
        bound: dict[str, set[str]] = {}
        ends = ((schema.inputs, node.input), (schema.outputs, node.output))
        for formals, names in ends:
            for index, name in enumerate(names):
                code = types.get(name)
                if name and code in FLOATS:
                    formal = formals[min(index, len(formals) - 1)]
                    bound.setdefault(formal.type_str, set()).add(FLOATS[code])
        for parameter, found in bound.items():
            if len(found) > 1:
                yield f"{node.op_type} {node.name}: {parameter} is {sorted(found)}"


def cancelling(model: ModelProto) -> list[str]:
    """Return casts of floats that undo another one, or cast a value once more."""
    types = element_types(model)
    casts = {n.output[0]: n for n in model.graph.node if n.op_type == "Cast"}
    seen: set[tuple[str, int | None]] = set()
    found = []
    for result, node in casts.items():
        source = node.input[0]
        if types[source] not in FLOATS or types[result] not in FLOATS:
            continue
        before = casts.get(source)
        if before is not None and types[before.input[0]] == types[result]:
            found.append(f"{before.input[0]} -> {source} -> {result}")
        if types[source] == types[result] or (source, types[result]) in seen:
            found.append(f"{source} -> {result}, again")
        seen.add((source, types[result]))
    return found
