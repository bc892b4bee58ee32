"""The small models that onnxruntime's examples ask for by name, made when asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["get_example"]


def get_example(name: str) -> str:
    """Return the path of ``mul_1.onnx``, ``sigmoid.onnx`` or ``logreg_iris.onnx``.

    Raises ``FileNotFoundError`` for any other name.
    """
    if name not in _MODELS:
        raise FileNotFoundError(
            f"Unable to find example {name!r}; there are {[*_MODELS]}"
        )
    path = Path(_folder().name) / name
    if not path.exists():
        path.write_bytes(_MODELS[name]().SerializeToString())
    return os.fspath(path)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="runtime-datasets-")


def _model(nodes: list[Any], inputs: Any, outputs: Any, **more: Any) -> Any:
    from onnx import helper

    graph = helper.make_graph(
        nodes, "example", inputs, outputs, more.pop("weights", [])
    )
    return helper.make_model(graph, ir_version=8, **more)


def _info(name: str, shape: list[Any], kind: int = 1) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, kind, shape)


def _mul() -> Any:
    import numpy as np
    from onnx import helper, numpy_helper

    table = np.arange(1, 7, dtype=np.float32).reshape(3, 2)
    return _model(
        [helper.make_node("Mul", ["X", "W"], ["Y"])],
        [_info("X", [3, 2])],
        [_info("Y", [3, 2])],
        weights=[numpy_helper.from_array(table, "W")],
        opset_imports=[helper.make_opsetid("", 13)],
    )


def _sigmoid() -> Any:
    from onnx import helper

    return _model(
        [helper.make_node("Sigmoid", ["x"], ["y"])],
        [_info("x", [3, 4, 5])],
        [_info("y", [3, 4, 5])],
        opset_imports=[helper.make_opsetid("", 13)],
    )


def _logreg_iris() -> Any:
    """Return a logistic regression over four measures of irises, three classes."""
    from onnx import TensorProto, TypeProto, helper

    coefficients = [
        [-0.42, 0.97, -2.52, -1.08],
        [0.53, -0.32, -0.21, -0.94],
        [-0.11, -0.65, 2.72, 2.02],
    ]
    scores = TypeProto()
    element = scores.sequence_type.elem_type.map_type
    element.key_type = TensorProto.INT64
    element.value_type.tensor_type.elem_type = TensorProto.FLOAT
    classifier = helper.make_node(
        "LinearClassifier",
        ["float_input"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        coefficients=[each for row in coefficients for each in row],
        intercepts=[9.85, 2.24, -12.09],
        classlabels_ints=[0, 1, 2],
        post_transform="SOFTMAX",
        multi_class=1,
    )
    table = helper.make_node(
        "ZipMap",
        ["scores"],
        ["probabilities"],
        domain="ai.onnx.ml",
        classlabels_int64s=[0, 1, 2],
    )
    return _model(
        [classifier, table],
        [_info("float_input", [3, 4])],
        [
            _info("label", [3], TensorProto.INT64),
            helper.make_value_info("probabilities", scores),
        ],
        opset_imports=[
            helper.make_opsetid("", 13),
            helper.make_opsetid("ai.onnx.ml", 1),
        ],
    )


_MODELS: dict[str, Callable[[], Any]] = {
    "logreg_iris.onnx": _logreg_iris,
    "mul_1.onnx": _mul,
    "sigmoid.onnx": _sigmoid,
}
