"""Compares operators of com.microsoft with onnxruntime's."""

import numpy as np
from evaluate import run_node
from peers import by_onnxruntime

MS = "com.microsoft"


class Numbers:
    def __init__(self, seed, dtype=np.float32):
        self.random = np.random.default_rng(seed)
        self.dtype = dtype

    def floats(self, *shape):
        return self.random.standard_normal(shape).astype(self.dtype)


def run(op, inputs, outputs=1, **attributes):
    return run_node(op, inputs, attributes, 1, MS, outputs)


def check(op, inputs, outputs=1, steps=0, **attributes):
    """Compare with onnxruntime: within rounding, or within quantization ``steps``."""
    want = by_onnxruntime(op, inputs, attributes, 1, MS, outputs)
    got = run(op, inputs, outputs, **attributes)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        half = theirs.dtype == np.float16
        tolerance = steps or (2e-2 if half else 1e-3)
        ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
        np.testing.assert_allclose(
            ours, theirs, rtol=0.0 if steps else tolerance, atol=tolerance
        )
