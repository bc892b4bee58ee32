"""One model in the making: nodes and their names, weights, constants, shapes."""

from __future__ import annotations

import contextlib
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

FORMER_ATTRIBUTES = {
    "Squeeze": "axes",
    "Unsqueeze": "axes",
    "ReduceSum": "axes",
    "Split": "split",
}
"""Operators whose second input was an attribute before opset 13."""

MINIMUM = float(np.finfo(np.float32).min)
LAST = 2**63 - 1
FLOAT, INT64, BOOL = np.float32, np.int64, np.bool_
Dim = int | str


class Nodes:
    """One model in the making, spelled as torch's TorchScript exporter spells it.

    Values are names. A dim of a view is an int or a 1-D value made by `dim`. Weights
    depend on the seed and on their own dotted name only, so that a model has the same
    weights in every spelling.
    """

    producer = ("pytorch", "2.4.0")
    ir_version = 7

    def __init__(self, name: str, opset: int, seed: int = 0) -> None:
        self.name, self.opset, self.seed = name, opset, seed
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._path: list[str] = []
        self._count: Counter[str] = Counter()

    # the graph

    def input(self, name: str, dtype: type, *shape: Dim) -> str:
        """Declare a graph input; strings in the shape are symbolic dims."""
        self._inputs.append(_value_info(name, dtype, shape))
        return name

    def output(self, value: str, name: str, *shape: Dim, dtype: type = FLOAT) -> str:
        """Make a node's output a graph output; return the name it has from now on."""
        for node in reversed(self._nodes):
            _rename(node.input, value, name)
            if _rename(node.output, value, name):
                break
        self._outputs.append(_value_info(name, dtype, shape))
        return name

    @contextlib.contextmanager
    def scope(self, *parts: str) -> Iterator[None]:
        """Name what is built inside after a submodule."""
        self._path += parts
        yield
        del self._path[-len(parts) :]

    def op(
        self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any
    ) -> Any:
        """Append a node; return its output's name, a tuple if there are several."""
        if self.opset < 13 and op_type in FORMER_ATTRIBUTES and len(inputs) > 1:
            attributes[FORMER_ATTRIBUTES[op_type]] = self._taken(inputs[1])
            inputs = inputs[:1]
        name, names = self._names(op_type, outputs)
        node = onnx.NodeProto(op_type=op_type, name=name, input=inputs, output=names)
        node.attribute.extend(
            helper.make_attribute(k, v) for k, v in attributes.items()
        )
        self._nodes.append(node)
        return names[0] if outputs == 1 else tuple(names)

    def _taken(self, constant: str) -> list[int]:
        """Remove a Constant that only the node in the making would read; its values."""
        (index,) = (i for i, n in enumerate(self._nodes) if n.output[0] == constant)
        node = self._nodes.pop(index)
        return [int(v) for v in numpy_helper.to_array(node.attribute[0].t).reshape(-1)]

    def _names(self, op_type: str, outputs: int) -> tuple[str, list[str]]:
        name = "/".join(("", *self._path, op_type))
        number = self._count[name]
        self._count[name] += 1
        name += f"_{number}" if number else ""
        return name, [f"{name}_output_{i}" for i in range(outputs)]

    def model(self) -> onnx.ModelProto:
        """Return the finished model."""
        graph = helper.make_graph(
            self._nodes,
            self.name,
            self._inputs,
            self._outputs,
            list(self._weights.values()),
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=self.ir_version,
            producer_name=self.producer[0],
            producer_version=self.producer[1],
        )

    # constants

    def weight(
        self, name: str, *shape: int, std: float = 0.0, mean: float = 0.0
    ) -> str:
        """Add a random parameter of the present scope; return its name."""
        name = ".".join((*self._path, name))
        return self._initializer(name, self._random(name, shape, std, mean))

    def _random(
        self, name: str, shape: tuple[int, ...], std: float, mean: float
    ) -> np.ndarray:
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        array = rng.standard_normal(shape, FLOAT)
        array *= FLOAT(std)
        array += FLOAT(mean)
        return array

    def _initializer(self, name: str, array: np.ndarray) -> str:
        if name in self._weights:
            raise ValueError(f"two parameters are named {name}")
        self._weights[name] = numpy_helper.from_array(array, name)
        return name

    def _anonymous(self, op_type: str, array: np.ndarray) -> str:
        """Add a parameter that constant folding made, nameless as in the real files."""
        number = self._count["onnx::"] = self._count["onnx::"] + 1
        return self._initializer(f"onnx::{op_type}_{number}", array)

    def constant(self, value: Any, dtype: type = FLOAT) -> str:
        """Return a constant of a given type."""
        tensor = numpy_helper.from_array(np.asarray(value, dtype))
        return self.op("Constant", value=tensor)

    def ints(self, *values: int) -> str:
        """Return a 1-D int64 constant."""
        return self.constant(values, INT64)

    # shapes

    def size(self, x: str, axis: int, symbol: Dim = "") -> str:
        """Return the size of one axis, a scalar.

        ``symbol`` is the dim's name, or its value where it is static. TorchScript reads
        it off the value, the dynamo exporter off a graph input, or knows it.
        """
        return self.op(
            "Gather", self.op("Shape", x), self.constant(axis, INT64), axis=0
        )

    def dim(self, x: str, axis: int, symbol: Dim = "") -> Dim:
        """Return the size of one axis as a 1-D value, for `view` and `expand`.

        Where torch is given -1 for an unknown axis, so is this, as the ``symbol``.
        """
        if symbol == -1:
            return -1
        return self.as_dim(self.size(x, axis, symbol))

    def as_dim(self, size: str) -> str:
        """Return a scalar size as a 1-D value."""
        return self.op("Unsqueeze", size, self.ints(0))

    def let(self, symbol: str, size: str) -> str:
        """Declare which scalar a symbolic dim is; only the dynamo exporter knows."""
        return size

    def join(self, *dims: Dim) -> str:
        """Return a shape from ints and 1-D values."""
        if all(isinstance(dim, int) for dim in dims):
            return self.ints(*dims)  # type: ignore[arg-type]
        parts = [self.ints(dim) if isinstance(dim, int) else dim for dim in dims]
        return self.op("Concat", *parts, axis=0)

    def view(self, x: str, *dims: Dim) -> str:
        """Reshape."""
        shape = self.join(*dims)
        return self.op("Reshape", x, shape, **self.allowzero(0))

    def allowzero(self, value: int) -> dict[str, int]:
        """Return the attribute of that name where Reshape has it."""
        return {"allowzero": value} if self.opset >= 14 else {}

    def expand(self, x: str, *dims: Dim) -> str:
        """Broadcast to a shape in which -1 means the present size."""
        shape = self.op("Reshape", self.join(*dims), self.ints(-1))
        ones = self.op(
            "ConstantOfShape",
            self.op("Shape", shape),
            value=numpy_helper.from_array(np.ones(1, INT64)),
        )
        kept = self.op("Equal", shape, self.op("Mul", ones, self.constant(-1, INT64)))
        return self.op("Expand", x, self.op("Where", kept, ones, shape))

    def unsqueeze(self, x: str, *axes: int) -> str:
        """Insert axes of size 1."""
        for axis in axes:
            x = self.op("Unsqueeze", x, self.ints(axis))
        return x

    def transpose(self, x: str, *perm: int) -> str:
        """Permute axes."""
        return self.op("Transpose", x, perm=perm)

    def recast(self, x: str) -> str:
        """Convert a float to float, as TorchScript likes to."""
        return self.cast(x, FLOAT)

    def cast(self, x: str, dtype: type) -> str:
        """Convert to another element type."""
        return self.op("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def slice(self, x: str, axis: int, start: Dim, stop: Dim) -> str:
        """Cut along one axis; bounds are ints or 1-D values."""
        start, stop = (self.ints(v) if isinstance(v, int) else v for v in (start, stop))
        return self.op("Slice", x, start, stop, self.ints(axis), self.ints(1))

    def arange(self, start: str, stop: str) -> str:
        """Count from one scalar to another."""
        start, stop = self.cast(start, INT64), self.cast(stop, INT64)
        return self.op("Range", start, stop, self.constant(1, INT64))


def _value_info(name: str, dtype: type, shape: tuple[Dim, ...]) -> onnx.ValueInfoProto:
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, code, shape)


def _rename(names: Any, old: str, new: str) -> bool:
    found = [index for index, name in enumerate(names) if name == old]
    for index in found:
        names[index] = new
    return bool(found)
