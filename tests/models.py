"""Small models for tests, written with onnx.helper."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def model(
    nodes: list[Any],
    inputs: dict[str, Any],
    outputs: dict[str, Any],
    initializers: dict[str, Any] | None = None,
    opset: int = 17,
    **fields: Any,
) -> onnx.ModelProto:
    """Return a model; inputs and outputs map a name to (element type, shape)."""
    graph = helper.make_graph(
        nodes,
        "test",
        [_info(name, kind) for name, kind in inputs.items()],
        [_info(name, kind) for name, kind in outputs.items()],
        [
            numpy_helper.from_array(np.asarray(array), name)
            for name, array in (initializers or {}).items()
        ],
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(d, v) for d, v in fields.pop("domains", {}).items()]
    fields.setdefault("ir_version", 10)
    return helper.make_model(graph, opset_imports=imports, **fields)


def _info(name: str, kind: Any) -> onnx.ValueInfoProto:
    dtype, shape = kind if isinstance(kind, tuple) else (kind, None)
    return helper.make_tensor_value_info(name, dtype, shape)


FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
node = helper.make_node


def dense(batch: Any = "batch") -> bytes:
    """Return Relu(x @ w + b) over (batch, 4) → (batch, 3), then Softmax."""
    rng = np.random.default_rng(0)
    return model(
        [
            node("MatMul", ["x", "w"], ["h"], name="matmul"),
            node("Add", ["h", "b"], ["a"], name="add"),
            node("Relu", ["a"], ["r"], name="relu"),
            node("Softmax", ["r"], ["y"], name="softmax", axis=-1),
        ],
        {"x": (FLOAT, [batch, 4])},
        {"y": (FLOAT, [batch, 3])},
        {
            "w": rng.standard_normal((4, 3)).astype(np.float32),
            "b": rng.standard_normal(3).astype(np.float32),
        },
    ).SerializeToString()


def dense_reference(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return what `dense` computes, in float64."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 3)).astype(np.float32).astype(np.float64)
    b = rng.standard_normal(3).astype(np.float32).astype(np.float64)
    h = np.maximum(x.astype(np.float64) @ w + b, 0)
    e = np.exp(h - h.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


_UNARY = ("Relu", "Neg", "Abs", "Sigmoid", "Tanh", "Floor")
_BINARY = ("Add", "Sub", "Mul", "Max", "Min")


def random_graph(seed: int, size: int = 20) -> onnx.ModelProto:
    """Return a random directed acyclic model of elementwise float operators, (2, 3)."""
    rng = np.random.default_rng(seed)
    known, nodes = ["x0", "x1", "c"], []
    for index in range(size):
        name = f"v{index}"
        if rng.random() < 0.5:
            op, ins = str(rng.choice(_UNARY)), [str(rng.choice(known))]
        else:
            op = str(rng.choice(_BINARY))
            ins = [str(rng.choice(known)), str(rng.choice(known))]
        nodes.append(node(op, ins, [name], name=f"n{index}"))
        known.append(name)
    outputs = sorted({*known[-2:], str(rng.choice(known[3:]))})
    constant = rng.standard_normal((2, 3)).astype(np.float32)
    return model(
        nodes,
        {"x0": (FLOAT, [2, 3]), "x1": (FLOAT, [2, 3])},
        {name: (FLOAT, [2, 3]) for name in outputs},
        {"c": constant},
    )
