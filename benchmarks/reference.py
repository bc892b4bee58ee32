"""A float64 reference by `onnx.reference`: the same model with every float a double.

usage: python -m benchmarks.reference MODEL.onnx FEED.npz OUTPUTS.npz
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


def widen(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with all its float32 made float64."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    del wide.graph.value_info[:]
    _widen_tensors(wide.graph.initializer)
    _widen_nodes(wide.graph.node)
    for value in (*wide.graph.input, *wide.graph.output):
        kind = value.type.tensor_type
        kind.elem_type = DOUBLE if kind.elem_type == FLOAT else kind.elem_type
    return wide


def _widen_tensors(tensors: Iterable[onnx.TensorProto]) -> None:
    for tensor in tensors:
        if tensor.data_type == FLOAT:
            array = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _widen_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen_tensors([attribute.t])
            elif attribute.type == onnx.AttributeProto.GRAPH:
                _widen_tensors(attribute.g.initializer)
                _widen_nodes(attribute.g.node)
            elif attribute.name in ("to", "dtype") and attribute.i == FLOAT:
                attribute.i = DOUBLE


class Erf(OpRun):  # type: ignore[misc]
    """The error function without `numpy.vectorize`, several times faster."""

    op_domain = ""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        values = np.fromiter(map(math.erf, x.reshape(-1).tolist()), x.dtype, x.size)
        return (values.reshape(x.shape),)


def reference(
    model: onnx.ModelProto, feed: dict[str, np.ndarray]
) -> list[np.ndarray | Any]:
    """Return the outputs in float64."""
    wide = {
        name: array.astype(np.float64) if array.dtype == np.float32 else array
        for name, array in feed.items()
    }
    evaluator = ReferenceEvaluator(widen(model), new_ops=[Erf])
    return list(evaluator.run(None, wide))


def error(got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> float:
    """Return the largest difference of any output, over that output's largest value.

    NaN and infinities must stand in the same places, else the error is infinite.
    """
    worst = 0.0
    for one, other in zip(got, want, strict=True):
        if one.shape != other.shape:
            raise ValueError(f"an output has shape {one.shape}, not {other.shape}")
        finite = np.isfinite(other)
        if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
            return math.inf
        wide, known = one[finite].astype(np.float64), other[finite].astype(np.float64)
        difference = float(np.max(np.abs(wide - known), initial=0.0))
        if not math.isfinite(difference):
            return math.inf
        worst = max(worst, difference / (np.max(np.abs(known), initial=0.0) or 1.0))
    return float(worst)


def main() -> None:
    """Compute and write."""
    path, feed, target = sys.argv[1:]
    with np.load(feed) as arrays:
        outputs = reference(onnx.load(path), dict(arrays))
    np.savez(target, *outputs)


if __name__ == "__main__":
    main()
