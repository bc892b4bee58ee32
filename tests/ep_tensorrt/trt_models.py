"""Models of the tests, carved as the provider carves them."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnx.parser
from onnx import ModelProto, numpy_helper
from runtime.partition import make_partition
from runtime.plugin import HOST, Partition
from runtime.testing.subject import Subject

from benchmarks.zoo import ZOO

HOSTED = Subject(("cpu",))
RNG = np.random.default_rng(9)


def model(text: str, opset: int = 20, **weights) -> ModelProto:
    """Parse a model, and add initializers to it."""
    head = f'<ir_version: 10, opset_import: ["" : {opset}]>'
    proto = onnx.parser.parse_model(f"{head} g {text}")
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def whole(source: bytes, **settings) -> Partition:
    """Return all of a simplified model as one partition."""
    graph = HOSTED.open(source, dry=True, cache=False, **settings).runnable.graph
    return make_partition("TensorrtExecutionProvider", HOST, list(graph), graph)


@cache
def zoo(name: str) -> ModelProto:
    """Return a tiny model of the zoo; a detector ends where its boxes are chosen."""
    made = ZOO[name].build("tiny")
    if any(node.op_type == "NonMaxSuppression" for node in made.graph.node):
        return before(made, "NonMaxSuppression")
    return made


def feed(name: str) -> dict[str, np.ndarray]:
    """Return inputs of a model of the zoo."""
    entry = ZOO[name]
    return entry.feeds("tiny", **entry.cases("tiny")[0])


def before(made: ModelProto, op_type: str) -> ModelProto:
    """Return what a model computes up to the tensors that an operator reads.

    Which boxes are chosen, and in which order, hangs on the last bit of a score.
    """
    (last,) = (node for node in made.graph.node if node.op_type == op_type)
    known = {tensor.name for tensor in made.graph.initializer}
    known |= {n.output[0] for n in made.graph.node if n.op_type == "Constant"}
    ends = [name for name in last.input if name not in known]
    kept = onnx.shape_inference.infer_shapes(made)
    told = {value.name: value for value in kept.graph.value_info}
    extractor = onnx.utils.Extractor(kept)
    starts = [value.name for value in made.graph.input]
    found: ModelProto = extractor.extract_model(starts, [told[n].name for n in ends])
    return found


def distance(got: np.ndarray, want: np.ndarray) -> float:
    """Return the largest error relative to the largest number; equal where whole."""
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return 0.0
    wide = want.astype(np.float64)
    error = np.abs(got.astype(np.float64) - wide).max(initial=0)
    return float(error / max(np.abs(wide).max(initial=0), 1e-12))
