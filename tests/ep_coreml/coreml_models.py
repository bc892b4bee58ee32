"""Small models, and the evaluated Core ML provider as the subject of tests."""

from __future__ import annotations

import numpy as np
import onnx.parser
from onnx import numpy_helper
from runtime.testing.subject import Subject

SPEC = "evaluated:provider"
SUBJECT = Subject((SPEC, "cpu"))
RNG = np.random.default_rng(7)
WEIGHT = RNG.standard_normal((64, 64)).astype(np.float32)
X = RNG.standard_normal((5, 64)).astype(np.float32)


def subject(**options) -> Subject:
    """Return the provider with options of its own."""
    return Subject((SPEC, "cpu"), {key: str(value) for key, value in options.items()})


def model(text: str, opset: int = 23, **weights) -> bytes:
    """Parse a model, and add initializers to it."""
    head = f'<ir_version: 10, opset_import: ["" : {opset}]>'
    proto = onnx.parser.parse_model(f"{head} g {text}")
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto.SerializeToString()


def dense(rows: str = "5", weight=WEIGHT) -> bytes:
    """Return ``relu(x @ w)`` for any number of rows, or a fixed one."""
    text = (
        f"(float[{rows},64] x) => (float[{rows},64] y) "
        "{ m = MatMul(x, w) y = Relu(m) }"
    )
    return model(text, w=weight)


def expected(x=X, weight=WEIGHT):
    """Return what `dense` gives, from float64."""
    wide = x.astype(np.float64) @ weight.astype(np.float64)
    return np.maximum(wide, 0).astype(np.float32)


def program(source, settings=None, **options):
    """Return the only executable that a model is compiled to, and its partition."""
    opened = subject(**options).open(source, **{"cache": False, **(settings or {})})
    assert not opened.faults, opened.faults
    (placed,) = opened.placed
    return placed.executable, placed.partition


def agrees(source, *feeds, rtol=1e-5, atol=1e-6, **options):
    """Assert that what the saved package gives is what the CPU provider gives.

    Every node must be claimed. Returns the opened model.
    """
    opened = subject(**options).open(source, cache=False)
    assert not opened.refusals
    host = SUBJECT.alone(source)
    for feed in feeds:
        for got, want in zip(opened(feed), host(feed), strict=True):
            assert got.dtype == want.dtype
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)
        assert not opened.faults, opened.faults
    return opened
