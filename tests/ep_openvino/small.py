"""Small models and sessions of the OpenVINO provider, for its tests."""

from __future__ import annotations

import numpy as np
import onnx.parser
import runtime as ort
from onnx import numpy_helper
from runtime.plugin import Partition
from runtime.providers import resolve, typed_options
from runtime.settings import Settings
from runtime.testing.subject import Subject

NAME = "OpenVINOExecutionProvider"
CPU = "CPUExecutionProvider"
SUBJECT = Subject((NAME, "cpu"), {})
RNG = np.random.default_rng(7)
WEIGHT = RNG.standard_normal((64, 64)).astype(np.float32)
X = RNG.standard_normal((5, 64)).astype(np.float32)


def model(text: str, opset: int = 23, **weights) -> bytes:
    """Parse a model, and add initializers to it."""
    head = f'<ir_version: 10, opset_import: ["" : {opset}]>'
    proto = onnx.parser.parse_model(f"{head} g {text}")
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto.SerializeToString()


def dense(rows: str = "n", weight=WEIGHT) -> bytes:
    """Return ``relu(x @ w)`` for any number of rows, or a fixed one."""
    text = (
        f"(float[{rows},64] x) => (float[{rows},64] y) "
        "{ m = MatMul(x, w) y = Relu(m) }"
    )
    return model(text, w=weight)


def expected(x, weight=WEIGHT):
    """Return what `dense` gives, from float64."""
    wide = x.astype(np.float64) @ weight.astype(np.float64)
    return np.maximum(wide, 0).astype(np.float32)


def session(source, strict=True, entries=(), **given):
    """Open a session on OpenVINO without the cost rule, strict unless told otherwise."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.cost_rule", "0")
    for key, value in dict(entries).items():
        options.add_session_config_entry(key, value)
    return ort.InferenceSession(
        source, options, providers=[(NAME, given), CPU], strict=strict
    )


def settings(given=(), **others) -> Settings:
    """Return what the provider is given for these options."""
    info = resolve(NAME).info
    return Settings(options=typed_options(info, dict(given)), **others)


def facts(opened) -> dict[str, str]:
    """Return what the session's only partition on OpenVINO says of itself."""
    (part,) = [p for p in opened.explain().partitions if p.provider == NAME]
    return part.facts


def program(source, **given):
    """Return the only executable that OpenVINO made of a model, and its partition."""
    subject = Subject((NAME, "cpu"), {key: str(v) for key, v in given.items()})
    (placed,) = subject.open(source, cache=False).placed
    return placed.executable, placed.partition


def partition(source) -> Partition:
    """Return the only partition of a model."""
    return program(source)[1]
