"""Runs one node through the CPU kernel table, without a session."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from runtime.abilities import Context
from runtime.graph import Graph
from runtime.model import from_proto
from runtime.plugin import HOST, Partition
from runtime.settings import Settings
from runtime_ep_cpu.ops import table


def run_node(
    op_type: str,
    inputs: list[Any],
    attributes: dict[str, Any] | None = None,
    opset: int = 0,
    domain: str = "",
    outputs: int = 1,
) -> list[Any]:
    """Return the outputs of one operator call; ``None`` inputs are left out."""
    opset = opset or onnx.defs.onnx_opset_version()
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)]
    node = onnx.helper.make_node(
        op_type, names, results, domain=domain, **(attributes or {})
    )
    graph = onnx.helper.make_graph(
        [node],
        op_type,
        [onnx.ValueInfoProto(name=name) for name in names if name],
        [onnx.ValueInfoProto(name=name) for name in results],
    )
    imports = [onnx.helper.make_opsetid("", opset if not domain else 21)]
    if domain:
        imports.append(onnx.helper.make_opsetid(domain, opset))
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)
    feeds = [x for x in inputs if x is not None]
    return run_graph(from_proto(model).graph, feeds)


def run_model(model: onnx.ModelProto, inputs: list[Any]) -> list[Any]:
    """Return a model's outputs, every node run by the kernel table."""
    return run_graph(from_proto(model).graph, inputs)


def run_graph(graph: Graph, inputs: list[Any]) -> list[Any]:
    """Return a graph's outputs, every node run by the kernel table.

    Array inputs are handed on read-only: a kernel that writes into one fails.
    """
    return _compiled(graph, ())([_read_only(value) for value in inputs])


def _read_only(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    view = value.view()
    view.flags.writeable = False
    return view


def _compiled(graph: Graph, captures: tuple[Any, ...]) -> Any:
    bodies = {}
    for node in graph:
        for name, body in node.bodies:
            bodies[node, name] = _body(body, node)
    constants = tuple(v for v in graph.initializers.values() if v not in graph.inputs)
    partition = Partition(
        "CPUExecutionProvider",
        HOST,
        graph,
        tuple(graph),
        (*graph.inputs, *captures),
        tuple(graph.outputs),
        constants,
        bodies=bodies,
    )
    executable = table.executable(partition, Settings())

    def run(arguments: list[Any]) -> list[Any]:
        return executable.run(arguments, [None] * len(graph.outputs), Context())

    return run


def _body(body: Graph, node: Any) -> Any:
    captures = body.captures
    run = _compiled(body, captures)
    chosen = [node.captures.index(value) for value in captures]
    return lambda inputs, captured, context: run(
        [*inputs, *(captured[i] for i in chosen)]
    )


def narrow(array: np.ndarray) -> np.ndarray:
    """Return an array as float64 for comparisons, whatever float type it has."""
    return array.astype(np.float64)
