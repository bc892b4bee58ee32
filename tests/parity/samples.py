"""The models, arrays and objects that probes use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from models import FLOAT, INT64, model, node

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
BAD = X.astype(np.float64)


def _proto() -> Any:
    made = model(
        [
            node("Relu", ["x"], ["r"], name="relu"),
            node("Add", ["r", "w"], ["y"], name="add"),
        ],
        {"x": (FLOAT, ["rows", 3]), "w": (FLOAT, [3])},
        {"y": (FLOAT, ["rows", 3])},
        {"w": np.ones(3, np.float32)},
    )
    made.producer_name, made.domain, made.doc_string = "maker", "here", "words"
    made.model_version = 7
    made.graph.doc_string = "graph words"
    made.metadata_props.add(key="task", value="test")
    return made


MODEL = _proto().SerializeToString()

FIXED = model(
    [node("Mul", ["x", "k"], ["y"], name="mul")],
    {"x": (FLOAT, ["rows", 3])},
    {"y": (FLOAT, ["rows", 3])},
    {"k": np.full(3, 2, np.float32)},
).SerializeToString()
"""A model whose initializer is no input."""

BRANCHES = model(
    [
        node("Relu", ["x"], ["a"], name="wanted"),
        node("Reshape", ["x", "shape"], ["b"], name="fails"),
    ],
    {"x": (FLOAT, [4]), "shape": (INT64, [1])},
    {"a": (FLOAT, [4]), "b": (FLOAT, None)},
).SerializeToString()
"""A model of two outputs, one of which fails for what it is fed."""


def options(ort: Any, **fields: Any) -> Any:
    """Return session options with some attributes set, quiet, with two threads."""
    made = ort.SessionOptions()
    made.log_severity_level = 4
    made.intra_op_num_threads = 2
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def session(ort: Any, source: Any = MODEL, **fields: Any) -> Any:
    """Return a session on the host."""
    return ort.InferenceSession(
        source, options(ort, **fields), providers=["CPUExecutionProvider"]
    )


def bound(ort: Any) -> tuple[Any, Any]:
    """Return a session and a binding with its input and its output bound."""
    made = session(ort)
    binding = made.io_binding()
    binding.bind_cpu_input("x", X)
    binding.bind_output("y")
    return made, binding


def value(ort: Any, array: Any = X) -> Any:
    """Return an OrtValue on the host."""
    return ort.OrtValue.ortvalue_from_numpy(array.copy())


def sparse(ort: Any, layout: str = "coo") -> Any:
    """Return a sparse tensor of three values in three rows."""
    values = np.array([1, 2, 3], np.float32)
    device = ort.OrtDevice.make("cpu", 0)
    if layout == "coo":
        at = np.array([0, 4, 8])
        return ort.SparseTensor.sparse_coo_from_numpy([3, 3], values, at, device)
    return ort.SparseTensor.sparse_csr_from_numpy(
        [3, 3], values, np.arange(3), np.arange(4), device
    )


def compiler(ort: Any, source: Any = FIXED, **keywords: Any) -> Any:
    """Return a model compiler for the host."""
    return ort.ModelCompiler(options(ort), source, **keywords)


def written(name: str, data: bytes) -> str:
    """Return the path of a file with some bytes, in a folder of this process."""
    import atexit
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="parity-")
    atexit.register(shutil.rmtree, folder, True)
    path = Path(folder) / name
    path.write_bytes(data)
    return str(path)
