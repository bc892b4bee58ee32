"""Small networks of the usual kinds, with free dims, made of standard operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.testing.samples import FLOAT, INT64, Kind, model, node

WIDTH, HEADS, VOCABULARY = 16, 4, 50


class _Layers:
    """Adds layers to a model under construction."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(node(op, inputs, [name], name=f"n_{name}", **attributes))
        return name

    def weight(self, *shape: int) -> str:
        scale = 1 / np.sqrt(shape[-1] if len(shape) < 3 else np.prod(shape[1:]))
        array = self._rng.uniform(-scale, scale, shape).astype(np.float32)
        return self.constant(array)

    def constant(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(array)
        return name

    def dense(self, x: str, wide: int, out: int) -> str:
        product = self.add("MatMul", x, self.weight(wide, out))
        return self.add("Add", product, self.weight(out))

    def conv(self, x: str, wide: int, out: int, size: int, stride: int = 1) -> str:
        kernel = self.weight(out, wide, size, size)
        pads = [size // 2] * 4
        made = self.add("Conv", x, kernel, pads=pads, strides=[stride] * 2)
        moments = [self.weight(out) for _ in range(3)]
        spread = self.constant(self._rng.uniform(0.5, 1.5, out).astype(np.float32))
        return self.add("BatchNormalization", made, *moments, spread)

    def norm(self, x: str) -> str:
        ones = self.constant(np.ones(WIDTH, np.float32))
        return self.add("LayerNormalization", x, ones, self.weight(WIDTH))

    def heads(self, x: str) -> str:
        shape = self.constant([0, 0, HEADS, WIDTH // HEADS])
        return self.add("Reshape", x, shape)

    def attention(self, x: str) -> str:
        query, key, value = (self.heads(self.dense(x, WIDTH, WIDTH)) for _ in range(3))
        q = self.add("Transpose", query, perm=[0, 2, 1, 3])
        k = self.add("Transpose", key, perm=[0, 2, 3, 1])
        v = self.add("Transpose", value, perm=[0, 2, 1, 3])
        scores = self.add("MatMul", q, k)
        scale = self.constant(np.float32(np.sqrt(WIDTH // HEADS)))
        shares = self.add("Softmax", self.add("Div", scores, scale), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", shares, v), perm=[0, 2, 1, 3])
        joined = self.add("Reshape", mixed, self.constant([0, 0, WIDTH]))
        return self.dense(joined, WIDTH, WIDTH)

    def gelu(self, x: str) -> str:
        half, one, root = (self.constant(np.float32(c)) for c in (0.5, 1, np.sqrt(2)))
        bent = self.add("Add", self.add("Erf", self.add("Div", x, root)), one)
        return self.add("Mul", self.add("Mul", x, bent), half)


def convolutional(seed: int = 0) -> bytes:
    """Return a residual network from images of any number and size to ten classes."""
    layers = _Layers(seed)
    x = layers.add("Relu", layers.conv("x", 3, 8, 3, stride=2))
    x = layers.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for _ in range(2):
        y = layers.add("Relu", layers.conv(x, 8, 8, 3))
        x = layers.add("Relu", layers.add("Add", x, layers.conv(y, 8, 8, 3)))
    x = layers.add("Flatten", layers.add("GlobalAveragePool", x))
    logits = layers.add("Gemm", x, layers.weight(8, 10), layers.weight(10))
    layers.nodes.append(node("Softmax", [logits], ["y"], axis=1))
    inputs: dict[str, Kind] = {"x": (FLOAT, ["n", 3, "h", "w"])}
    outputs: dict[str, Kind] = {"y": (FLOAT, ["n", 10])}
    return model(layers.nodes, inputs, outputs, layers.weights)


def transformer(seed: int = 0) -> bytes:
    """Return a text encoder over any number of texts of any length."""
    layers = _Layers(seed)
    x = layers.add("Gather", layers.weight(VOCABULARY, WIDTH), "ids")
    for _ in range(2):
        x = layers.norm(layers.add("Add", x, layers.attention(x)))
        wide = layers.gelu(layers.dense(x, WIDTH, 4 * WIDTH))
        x = layers.norm(layers.add("Add", x, layers.dense(wide, 4 * WIDTH, WIDTH)))
    mean = layers.add("ReduceMean", x, axes=[1], keepdims=0)
    layers.nodes.append(node("Tanh", [mean], ["y"]))
    inputs: dict[str, Kind] = {"ids": (INT64, ["n", "length"])}
    outputs: dict[str, Kind] = {"y": (FLOAT, ["n", WIDTH])}
    return model(layers.nodes, inputs, outputs, layers.weights)


def images(count: int, height: int, width: int) -> dict[str, Any]:
    """Return data for `convolutional`."""
    rng = np.random.default_rng(count)
    return {"x": rng.uniform(-1, 1, (count, 3, height, width)).astype(np.float32)}


def texts(count: int, length: int) -> dict[str, Any]:
    """Return data for `transformer`."""
    rng = np.random.default_rng(count)
    return {"ids": rng.integers(VOCABULARY, size=(count, length))}
