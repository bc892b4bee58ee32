"""Finish an exported model: describe it, check it, write it, run it as a peer would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

OPSET = 18
SIZE_LIMIT = 1_000_000


def write(
    model: onnx.ModelProto, path: Path, sentence: str, metadata: dict[str, Any]
) -> None:
    """Write `model` with a sentence of documentation and `metadata` to `path`.

    Metadata values that are not strings are stored as JSON. What an exporter notes
    about the machine it ran on (stack traces, source files) is left out, so that the
    same weights give the same bytes everywhere.
    """
    _forget_origin(model)
    model.doc_string = sentence
    texts = {key: _text(value) for key, value in metadata.items()}
    onnx.helper.set_model_props(model, texts)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    if len(data) > SIZE_LIMIT:
        raise ValueError(f"{path.name} has {len(data):,} bytes, over {SIZE_LIMIT:,}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    print(f"{path.name}: {len(data):,} bytes")


def session(path: Path) -> onnxruntime.InferenceSession:
    """Open `path` in onnxruntime, the independent witness of every export."""
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def agree(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    """Fail unless the exported model computes what the trained one computes."""
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _forget_origin(model: onnx.ModelProto) -> None:
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for item in (*graph.node, *values):
        item.doc_string = ""
        del item.metadata_props[:]
