"""Small models of many kinds, so that every provider finds something to claim."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.valuetypes import numpy_dtype

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64
BOOL, STRING = TensorProto.BOOL, TensorProto.STRING
SIZE = 3
"""The size of the free dim ``n`` where a test does not vary it."""

Kind = tuple[int, list[Any] | None]
node = helper.make_node


def model(
    nodes: list[Any],
    inputs: dict[str, Kind],
    outputs: dict[str, Kind],
    initializers: dict[str, Any] | None = None,
    opset: int = 17,
) -> bytes:
    """Return a model; inputs and outputs map a name to (element type, shape)."""
    made = helper.make_model(
        graph(nodes, inputs, outputs, initializers),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )
    return bytes(made.SerializeToString())


def graph(
    nodes: list[Any],
    inputs: dict[str, Kind],
    outputs: dict[str, Kind],
    initializers: dict[str, Any] | None = None,
) -> onnx.GraphProto:
    """Return a graph, for a model or a body."""
    return helper.make_graph(
        nodes,
        "sample",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
        [
            numpy_helper.from_array(np.asarray(array), name)
            for name, array in (initializers or {}).items()
        ],
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """A model whose free dims are all called ``n``, with data for any size of it.

    ``highest`` bounds integers, exclusively; ``minimum`` is the smallest legal ``n``.
    """

    name: str
    model: bytes
    highest: int = 4
    minimum: int = 0

    def feed(self, size: int = SIZE, seed: int = 0) -> dict[str, Any]:
        """Return data for every input, the same for the same size and seed."""
        rng = np.random.default_rng(seed)
        made = {}
        for info in onnx.ModelProto.FromString(self.model).graph.input:
            tensor = info.type.tensor_type
            shape = [d.dim_value if d.dim_value else size for d in tensor.shape.dim]
            made[info.name] = _values(rng, tensor.elem_type, shape, self.highest)
        return made


def _values(rng: Any, code: int, shape: list[int], highest: int) -> Any:
    dtype = numpy_dtype(code)
    if dtype.kind == "O":
        words = np.array(["", "one", "two", "Straße"], object)
        return words[rng.integers(4, size=shape)]
    if dtype.kind == "b":
        return np.asarray(rng.integers(2, size=shape), bool)
    if dtype.kind in "iu":
        return np.asarray(rng.integers(highest, size=shape), dtype)
    return np.asarray(rng.uniform(-1, 1, size=shape), dtype)


def _weights(*shape: int) -> Any:
    rng = np.random.default_rng(sum(shape))
    return rng.uniform(-1, 1, shape).astype(np.float32)


X: dict[str, Kind] = {"x": (FLOAT, ["n", 4])}
Y: dict[str, Kind] = {"y": (FLOAT, ["n", 4])}


def _arithmetic() -> list[Sample]:
    both: dict[str, Kind] = {"x": (FLOAT, ["n", 4]), "y": (FLOAT, ["n", 4])}
    scalar: dict[str, Kind] = {"x": (FLOAT, []), "y": (FLOAT, [])}
    numbers: dict[str, Kind] = {"x": (INT64, ["n", 4]), "y": (INT64, ["n", 4])}
    nodes = [
        node("Mul", ["x", "c"], ["m"]),
        node("Add", ["m", "d"], ["a"]),
        node("Relu", ["a"], ["y"]),
    ]
    constants = {"c": _weights(4), "d": _weights(1, 4)}
    fork = [node("Relu", ["x"], ["y"]), node("Neg", ["y"], ["z"])]
    choice = [
        node("Greater", ["x", "y"], ["g"]),
        node("Not", ["g"], ["f"]),
        node("Where", ["f", "x", "y"], ["z"]),
    ]
    sums = [node("Add", ["x", "y"], ["s"]), node("Mul", ["s", "y"], ["z"])]
    return [
        Sample("elementwise", model(nodes, X, Y, constants)),
        Sample("relu", model([node("Relu", ["x"], ["y"])], X, Y)),
        Sample("add", model([node("Add", ["x", "y"], ["z"])], both, _z(FLOAT))),
        Sample("twice", model([node("Add", ["x", "x"], ["y"])], X, Y)),
        Sample("fork", model(fork, X, {**Y, **_z(FLOAT)})),
        Sample("scalar", model(sums, scalar, {"z": (FLOAT, [])})),
        Sample("integers", model(sums, numbers, _z(INT64))),
        Sample("choice", model(choice, both, _z(FLOAT))),
        Sample("cast", model([node("Cast", ["x"], ["z"], to=INT32)], X, _z(INT32))),
    ]


def _z(code: int) -> dict[str, Kind]:
    return {"z": (code, ["n", 4])}


def _algebra() -> list[Sample]:
    dense = [
        node("MatMul", ["x", "w"], ["h"]),
        node("Add", ["h", "b"], ["a"]),
        node("Relu", ["a"], ["y"]),
    ]
    out: dict[str, Kind] = {"y": (FLOAT, ["n", 3])}
    weights = {"w": _weights(4, 3), "b": _weights(3)}
    image: dict[str, Kind] = {"x": (FLOAT, ["n", 2, 6, 6])}
    conv = [
        node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["y"]),
    ]
    norm = [
        node("LayerNormalization", ["x", "s", "b"], ["l"]),
        node("ReduceMean", ["l"], ["m"], axes=[1]),
        node("Sub", ["l", "m"], ["y"]),
    ]
    scale = {"s": _weights(4), "b": _weights(1, 4)[0]}
    gemm = [node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5)]
    flat: dict[str, Kind] = {"y": (FLOAT, ["n", 27])}
    return [
        Sample("dense", model(dense, X, out, weights)),
        Sample("gemm", model(gemm, X, out, weights)),
        Sample("softmax", model([node("Softmax", ["x"], ["y"])], X, Y)),
        Sample("convolution", model(conv, image, flat, {"k": _weights(3, 2, 3, 3)})),
        Sample("normalization", model(norm, X, Y, scale)),
    ]


def _movement() -> list[Sample]:
    layout = [
        node("Transpose", ["x"], ["t"]),
        node("Reshape", ["t", "shape"], ["r"]),
        node("Concat", ["r", "x"], ["y"], axis=0),
    ]
    rows: dict[str, Kind] = {"y": (FLOAT, None)}
    at: dict[str, Kind] = {"x": (INT64, ["n"])}
    gather = [node("Gather", ["table", "x"], ["y"])]
    text: dict[str, Kind] = {"x": (STRING, ["n"])}
    upper = [node("StringNormalizer", ["x"], ["y"], case_change_action="UPPER")]
    words: dict[str, Kind] = {"y": (STRING, ["n"])}
    identity = [node("Identity", ["x"], ["i"]), node("Neg", ["i"], ["y"])]
    return [
        Sample("layout", model(layout, X, rows, {"shape": np.array([-1, 4])})),
        Sample("gather", model(gather, at, Y, {"table": _weights(4, 4)})),
        Sample("identity", model(identity, X, Y)),
        Sample("text", model(upper, text, words), minimum=1),
    ]


@functools.cache
def samples() -> dict[str, Sample]:
    """Return every sample by name."""
    made = [*_arithmetic(), *_algebra(), *_movement()]
    return {sample.name: sample for sample in made}
