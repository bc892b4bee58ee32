"""Runs one node by the standard's reference and by onnxruntime, for comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper


def one_node(
    op_type: str,
    inputs: list[Any],
    attributes: dict[str, Any] | None,
    opset: int,
    domain: str,
    outputs: int,
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return a model of one typed node, and its feeds."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(
        op_type, names, results, domain=domain, **(attributes or {})
    )
    feeds = {name: x for name, x in zip(names, inputs, strict=True) if name}
    graph = helper.make_graph(
        [node],
        op_type,
        [_declared(name, x) for name, x in feeds.items()],
        [onnx.ValueInfoProto(name=name) for name in results],
    )
    imports = [helper.make_opsetid("", opset if not domain else 21)]
    if domain:
        imports.append(helper.make_opsetid(domain, opset))
    return helper.make_model(graph, opset_imports=imports, ir_version=10), feeds


def _declared(name: str, x: np.ndarray) -> onnx.ValueInfoProto:
    text = x.dtype == object
    kind = TensorProto.STRING if text else helper.np_dtype_to_tensor_dtype(x.dtype)
    return helper.make_tensor_value_info(name, kind, x.shape)


def by_reference(
    op_type: str,
    inputs: list[Any],
    attributes: dict[str, Any] | None = None,
    opset: int = 21,
    domain: str = "",
    outputs: int = 1,
) -> list[Any]:
    """Return what onnx.reference computes."""
    from onnx.reference import ReferenceEvaluator

    model, feeds = one_node(op_type, inputs, attributes, opset, domain, outputs)
    return list(ReferenceEvaluator(model).run(None, feeds))


def by_onnxruntime(
    op_type: str,
    inputs: list[Any],
    attributes: dict[str, Any] | None = None,
    opset: int = 21,
    domain: str = "",
    outputs: int = 1,
) -> list[Any]:
    """Return what onnxruntime's CPU provider computes, without optimizations."""
    model, feeds = one_node(op_type, inputs, attributes, opset, domain, outputs)
    return run_onnxruntime(model, feeds)


def run_onnxruntime(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    """Return the outputs of a model by onnxruntime; skip the test without it."""
    peer = pytest.importorskip("onnxruntime")
    options = peer.SessionOptions()
    level = peer.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = peer.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))
