"""Simplifies models in tests, and compares what they compute before and after."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
from ep_cpu.evaluate import run_graph
from runtime.export import to_proto
from runtime.graph import Graph, Model, Node
from runtime.infer import infer
from runtime.model import from_proto
from runtime.passes import PASSES, simplify
from runtime.settings import Settings
from runtime_ep_cpu.ops import table


def evaluate(node: Node, inputs: list[Any]) -> list[Any] | None:
    """Compute one node by the CPU's kernels, as a session does for folding."""
    if node.bodies or table.refuses(node):
        return None
    try:
        wanted = tuple(bool(v.name or v.uses) for v in node.outputs)
        results = table.bind(node, Settings(), wanted)(*inputs)
    except Exception:
        return None
    results = results if isinstance(results, tuple) else (results,)
    return [np.asarray(result) if result is not None else None for result in results]


def loaded(proto: onnx.ModelProto) -> Model:
    """Return a typed model, as a session has it before simplification."""
    model = from_proto(proto)
    infer(model, Settings())
    return model


def _plain(proto: onnx.ModelProto) -> Model:
    """Return a model of which only the functions are inlined, to compare with."""
    model = loaded(proto)
    if model.functions:
        simplify(model, Settings(passes="none"), evaluate)
    return model


def simplified(proto: onnx.ModelProto, only: str | tuple[str, ...] = ()) -> Model:
    """Return a simplified model; ``only`` names the passes to use, all by default."""
    model = loaded(proto)
    wanted = (only,) if isinstance(only, str) else only
    disabled = tuple(name for name in PASSES if wanted and name not in wanted)
    simplify(model, Settings(disabled_passes=disabled), evaluate)
    return model


def operators(graph: Graph) -> Counter[str]:
    """Return how often each operator occurs in a graph and its bodies."""
    return Counter(node.op_type for g in graph.all_graphs() for node in g)


def check(model: Model) -> None:
    """See that a graph is consistent, typed, and valid ONNX."""
    for graph in model.graph.all_graphs():
        for node in graph:
            assert node.graph is graph
            for index, value in enumerate(node.inputs):
                assert value is None or (node, index) in value.uses
                if value is not None and value.producer is not None:
                    assert value.producer.graph is not None
                elif value is not None and value.const is not None:
                    homes = list(model.graph.all_graphs())
                    assert any(g.initializers.get(value.name) is value for g in homes)
    onnx.checker.check_model(to_proto(model), full_check=True)


def outputs(model: Model, feeds: list[np.ndarray]) -> list[np.ndarray]:
    """Return what a model computes by the CPU's kernels."""
    rest = iter(feeds)
    given = [
        next(rest) if v.const is None else v.const.numpy() for v in model.graph.inputs
    ]
    return run_graph(model.graph, given)


def same(
    proto: onnx.ModelProto,
    feeds: list[np.ndarray],
    only: str | tuple[str, ...] = (),
    tolerance: float = 0.0,
) -> Model:
    """Simplify a model, see that it computes the same and is valid; return it."""
    expected = outputs(_plain(proto), feeds)
    model = simplified(proto, only)
    check(model)
    found = outputs(model, feeds)
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape
        if tolerance and mine.dtype.kind == "f":
            np.testing.assert_allclose(mine, theirs, tolerance, tolerance)
        else:
            np.testing.assert_array_equal(mine, theirs)
    return model
