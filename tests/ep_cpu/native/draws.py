"""Random operands for tests of native code: types, shapes, and views of larger arrays."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from models import model, node
from onnx import TensorProto, shape_inference

TYPES = {
    "float32": (TensorProto.FLOAT, np.float32),
    "float16": (TensorProto.FLOAT16, np.float16),
    "bfloat16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
    "int64": (TensorProto.INT64, np.int64),
    "int32": (TensorProto.INT32, np.int32),
    "bool": (TensorProto.BOOL, np.bool_),
}
FLOATS = ("float32", "float32", "float16", "bfloat16")


class Draw:
    """A model being drawn: nodes, inputs with their arrays, constants.

    ``operand`` adds an input and returns a name under which its elements have the shape
    asked for, lying there straight, transposed, with gaps, backwards or repeated.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list = []
        self.feed: dict[str, np.ndarray] = {}
        self.constants: dict[str, np.ndarray] = {}

    def one(self, *choices):
        return choices[int(self.rng.integers(len(choices)))]

    def size(self, most, least=1):
        return int(self.rng.integers(least, most + 1))

    def shape(self, least, most, longest=5):
        return tuple(self.size(longest) for _ in range(self.size(most, least)))

    def narrower(self, shape):
        """Return a shape that broadcasts to another."""
        thin = [dim if self.rng.random() < 0.6 else 1 for dim in shape]
        return tuple(thin[self.size(len(thin), 0) :])

    def array(self, shape, kind="float32"):
        dtype = TYPES[kind][1]
        if kind.startswith("int"):
            return self.rng.integers(-9, 9, shape).astype(dtype)
        if kind == "bool":
            return self.rng.integers(0, 2, shape).astype(dtype)
        return self.rng.standard_normal(shape).astype(dtype)

    def constant(self, name, value):
        self.constants[name] = np.asarray(value)
        return name

    def add(self, operator, inputs, *outputs, **attributes):
        self.nodes.append(node(operator, list(inputs), list(outputs), **attributes))
        return outputs[0]

    def operand(self, name, array):
        way = self.one("straight", "turned", "sliced", "repeated")
        return getattr(self, f"_{way}")(name, array)

    def either(self, name, array):
        """Add an operand that is a constant as often as not."""
        if self.one(True, False):
            return self.constant(name, array)
        return self.operand(name, array)

    def _straight(self, name, array):
        self.feed[name] = array
        return name

    def _turned(self, name, array):
        if not array.ndim:
            return self._straight(name, array)
        order = [int(i) for i in self.rng.permutation(array.ndim)]
        self.feed[name] = np.ascontiguousarray(array.transpose(np.argsort(order)))
        return self.add("Transpose", [name], f"{name}_view", perm=order)

    def _sliced(self, name, array):
        if not array.ndim:
            return self._straight(name, array)
        axis, step = self.size(array.ndim - 1, 0), self.one(1, 2, -1, -2)
        count = array.shape[axis]
        shape = list(array.shape)
        shape[axis] = count * abs(step) + 2
        whole = self.array(shape, array.dtype.name)
        first = 1 if step > 0 else shape[axis] - 1
        last = first + count * step
        place = [slice(None)] * array.ndim
        place[axis] = slice(first, last if last >= 0 else None, step)
        whole[tuple(place)] = array
        self.feed[name] = whole
        ends = (first, last if last >= 0 else -(10**9), axis, step)
        words = [self.constant(f"{name}_{i}", [n]) for i, n in enumerate(ends)]
        return self.add("Slice", [name, *words], f"{name}_view")

    def _repeated(self, name, array):
        if not array.ndim:
            return self._straight(name, array)
        self.feed[name] = np.ascontiguousarray(array[:1])
        shape = self.constant(f"{name}_shape", array.shape)
        return self.add("Expand", [name, shape], f"{name}_view")

    def model(self, outputs, opset=20):
        """Return the model; dims of inputs are all unknown, types of outputs inferred."""
        codes = {dtype: code for code, dtype in TYPES.values()}
        inputs = {
            name: (codes[array.dtype.type], [f"{name}{i}" for i in range(array.ndim)])
            for name, array in self.feed.items()
        }
        made = model(
            self.nodes,
            inputs,
            dict.fromkeys(outputs, (TensorProto.FLOAT, None)),
            self.constants,
            opset=opset,
        )
        for info in made.graph.output:
            info.type.Clear()
        found = shape_inference.infer_shapes(made).graph
        types = {info.name: info.type for info in (*found.value_info, *found.output)}
        for info in made.graph.output:
            info.type.CopyFrom(types[info.name])
            info.type.tensor_type.ClearField("shape")
        return made


def declaring(model, feed):
    """Return a model whose inputs have the shapes of a feed, and no others."""
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for dim, size in zip(dims, feed[value.name].shape, strict=True):
            dim.dim_value = size
    return model
