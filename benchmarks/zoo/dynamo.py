"""The same vocabulary as torch's dynamo exporter spells it at opset 18 and later."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .build import Builder
from .nodes import FLOAT, INT64, LAST, Dim


class Dynamo(Builder):
    """Shapes come from the graph's inputs, constants are shared initializers."""

    producer = ("pytorch", "2.13.0+cpu")
    ir_version = 10
    scatters = False

    def __init__(self, name: str, opset: int, seed: int = 0) -> None:
        super().__init__(name, opset, seed)
        self._symbols: dict[str, tuple[str, int]] = {}
        self._made: dict[Any, str] = {}

    def input(self, name: str, dtype: type, *shape: Dim) -> str:
        """Declare a graph input; remember where its symbolic dims can be read."""
        for axis, dim in enumerate(shape):
            if isinstance(dim, str):
                self._symbols.setdefault(dim, (name, axis))
        return super().input(name, dtype, *shape)

    def op(
        self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any
    ) -> Any:
        """Append a node that says which submodule it came from."""
        values = super().op(op_type, *inputs, outputs=outputs, **attributes)
        entry = self._nodes[-1].metadata_props.add()
        entry.key, entry.value = "namespace", "/".join(self._path)
        return values

    def _names(self, op_type: str, outputs: int) -> tuple[str, list[str]]:
        stem = {"Conv": "conv2d", "Reshape": "view"}.get(op_type, op_type.lower())
        number = self._count[stem]
        self._count[stem] += 1
        value = f"{stem}_{number}" if number else stem
        parts = [value, *(f"{value}_split_{i}" for i in range(1, outputs))]
        return f"node_{value}", parts

    def _anonymous(self, op_type: str, array: np.ndarray) -> str:
        self._count["val"] += 1
        return self._initializer(f"val_{self._count['val']}", array)

    def _once(self, key: Any, make: Any) -> str:
        """Return what was made for the key, made now if it was not."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def constant(self, value: Any, dtype: type = FLOAT) -> str:
        """Return an initializer, the same for equal constants."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        return self._once(key, lambda: self._anonymous("", array))

    # shapes

    def dim(self, x: str, axis: int, symbol: Dim = "") -> Dim:
        """Return the size of one axis as a 1-D value, read off a graph input."""
        if isinstance(symbol, int):
            return symbol
        if symbol in self._made:
            return self._once((symbol, 1), lambda: self.as_dim(self._made[symbol]))
        x, axis = self._symbols.get(symbol, (x, axis))
        return self._once(
            (x, axis), lambda: self.op("Shape", x, start=axis, end=axis + 1)
        )

    def size(self, x: str, axis: int, symbol: Dim = "") -> str:
        """Return the size of one axis, a scalar."""
        if isinstance(symbol, int):
            return self.constant(symbol, INT64)
        if symbol in self._made:
            return self._made[symbol]
        x, axis = self._symbols.get(symbol, (x, axis))
        dim = self.dim(x, axis, symbol)
        return self._once((x, axis, "size"), lambda: self.op("Squeeze", dim))

    def let(self, symbol: str, size: str) -> str:
        """Declare which scalar a symbolic dim is."""
        return self._once(symbol, lambda: size)

    def as_dim(self, size: str) -> str:
        """Return a scalar size as a 1-D value."""
        return self.op("Reshape", size, self.ints(-1), allowzero=0)

    def join(self, *dims: Dim) -> str:
        """Return a shape from ints and 1-D values, the same for equal ones."""
        return self._once(("shape", dims), lambda: super(Dynamo, self).join(*dims))

    def view(self, x: str, *dims: Dim) -> str:
        """Reshape; a shape with one unknown is a constant with -1."""
        if sum(isinstance(dim, str) for dim in dims) == 1 and -1 not in dims:
            dims = tuple(-1 if isinstance(dim, str) else dim for dim in dims)
        return self.op("Reshape", x, self.join(*dims), allowzero=int(0 not in dims))

    def expand(self, x: str, *dims: Dim) -> str:
        """Broadcast to a shape in which -1 means the present size."""
        dims = tuple(1 if dim == -1 else dim for dim in dims)
        return self.op("Expand", x, self.join(*dims))

    def unsqueeze(self, x: str, *axes: int) -> str:
        """Insert axes of size 1."""
        return self.op("Unsqueeze", x, self.ints(*axes))

    def recast(self, x: str) -> str:
        """Leave a float alone."""
        return x

    def arange(self, start: str, stop: str) -> str:
        """Count from one scalar to another."""
        return self.op("Range", start, stop, self.constant(1, INT64))

    # layers

    def add_bias(self, x: str, width: int) -> str:
        """Add a parameter named bias."""
        return self.op("Add", x, self.weight("bias", width, std=0.1))

    def layer_norm(self, name: str, x: str, width: int, epsilon: float = 1e-5) -> str:
        """Normalise the last axis."""
        with self.scope(name):
            weight, bias = self.scale_shift(width)
            return self.op(
                "LayerNormalization",
                x,
                weight,
                bias,
                stash_type=1,
                epsilon=epsilon,
                axis=-1,
            )

    def rms_norm(self, name: str, x: str, width: int, epsilon: float = 1e-5) -> str:
        """Normalise the last axis by its root mean square."""
        with self.scope(name):
            weight = self.weight("weight", width, std=0.1, mean=1.0)
            if self.opset >= 23:
                return self.op(
                    "RMSNormalization",
                    x,
                    weight,
                    epsilon=epsilon,
                    axis=-1,
                    stash_type=1,
                )
            power = self.mean(self.op("Pow", x, self.constant(2.0)))
            root = self.op("Sqrt", self.op("Add", power, self.constant(epsilon)))
            y = self.op("Mul", x, self.op("Reciprocal", root))
            return self.op("Mul", weight, y)

    def group_norm(
        self,
        name: str,
        x: str,
        width: int,
        groups: int,
        epsilon: float = 1e-5,
        rank: int = 2,
    ) -> str:
        """Normalise groups of channels; one node from opset 21."""
        if self.opset < 21:
            return super().group_norm(name, x, width, groups, epsilon, rank)
        with self.scope(name):
            return self.op(
                "GroupNormalization",
                x,
                *self.scale_shift(width),
                epsilon=epsilon,
                num_groups=groups,
                stash_type=1,
            )

    def gelu(self, x: str) -> str:
        """The exact Gelu; one node from opset 20."""
        if self.opset >= 20:
            return self.op("Gelu", x, approximate="none")
        y = self.op("Erf", self.op("Div", x, self.constant(math.sqrt(2.0))))
        y = self.op("Add", y, self.constant(1.0))
        return self.op("Mul", x, self.op("Mul", self.constant(0.5), y))

    def global_pool(self, x: str, width: int) -> str:
        """Average over the image and drop its axes."""
        axes = self.ints(-1, -2)
        y = self.op("ReduceMean", x, axes, keepdims=1, noop_with_empty_axes=0)
        return self.view(y, -1, width)

    def root_of_size(self, x: str, axis: int, size: int) -> str:
        """The square root of a static size, a constant."""
        return self.constant(math.sqrt(size))

    def halves(self, x: str, size: int) -> tuple[str, str]:
        """Cut the last of four axes into halves."""
        middle = size // 2
        return self.slice(x, 3, 0, middle), self.slice(x, 3, middle, LAST)

    def unbind(self, x: str, count: int) -> list[str]:
        """Take the first axis apart."""
        axes = self.ints(0)
        parts = [
            self.op("Slice", x, self.ints(i), self.ints(i + 1), axes)
            for i in range(count)
        ]
        return [self.op("Squeeze", part, axes) for part in parts]

    def chunk(self, x: str, width: int) -> tuple[str, str]:
        """Cut the last axis into halves."""
        first, second = self.op("Split", x, outputs=2, axis=-1, num_outputs=2)
        return first, second

    def sdpa(self, q: str, k: str, v: str, size: int, mask: str = "") -> str:
        """What scaled_dot_product_attention becomes; one node from opset 23."""
        if self.opset >= 23:
            parts = (q, k, v, mask) if mask else (q, k, v)
            return self.op(
                "Attention", *parts, is_causal=0, qk_matmul_output_mode=0, softcap=0.0
            )
        scale = self.constant(size**-0.25)
        q = self.op("Mul", q, scale)
        k = self.op("Mul", self._transposed(k), scale)
        return self.weigh(self.op("MatMul", q, k), v, mask)

    def _transposed(self, k: str) -> str:
        """Swap the last two axes of a value of any rank, as torchlib does."""
        shape = self.op("Shape", k, start=0)
        last = self.op("Slice", shape, self.ints(-1), self.ints(LAST))
        second = self.op("Slice", shape, self.ints(-2), self.ints(-1))
        rest = self.op("Slice", shape, self.ints(0), self.ints(-2))
        k = self.op("Reshape", k, self.join(-1, second, last), allowzero=0)
        k = self.op("Transpose", k, perm=[0, 2, 1])
        return self.op("Reshape", k, self.join(rest, last, second), allowzero=0)
