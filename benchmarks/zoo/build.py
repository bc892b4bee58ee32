"""The vocabulary of layers in which the zoo's models are written."""

from __future__ import annotations

import math

import numpy as np

from .nodes import LAST, Nodes


class Builder(Nodes):
    """Layers, spelled as torch's TorchScript exporter decomposes them."""

    scatters = True
    """Whether assignment to a slice becomes ScatterND."""

    def embedding(self, name: str, count: int, width: int, ids: str) -> str:
        """Look rows up."""
        with self.scope(name):
            return self.op("Gather", self.weight("weight", count, width, std=0.5), ids)

    def matrix(self, inputs: int, outputs: int, gain: float = 1.0) -> np.ndarray:
        """Return the present scope's weight as torch keeps it, (outputs, inputs)."""
        name = ".".join((*self._path, "weight"))
        return self._random(name, (outputs, inputs), gain / math.sqrt(inputs), 0.0)

    def linear(
        self,
        name: str,
        x: str,
        inputs: int,
        outputs: int,
        bias: bool = True,
        gain: float = 1.0,
    ) -> str:
        """Multiply the last axis by a matrix and add a bias."""
        with self.scope(name):
            matrix = np.ascontiguousarray(self.matrix(inputs, outputs, gain).T)
            y = self.op("MatMul", x, self._anonymous("MatMul", matrix))
            return self.add_bias(y, outputs) if bias else y

    def add_bias(self, x: str, width: int) -> str:
        """Add a parameter named bias, which TorchScript puts first."""
        return self.op("Add", self.weight("bias", width, std=0.1), x)

    def gemm(self, name: str, x: str, inputs: int, outputs: int) -> str:
        """Multiply a 2-D value by a matrix and add a bias."""
        with self.scope(name):
            weight = self._initializer(
                ".".join((*self._path, "weight")), self.matrix(inputs, outputs)
            )
            bias = self.weight("bias", outputs, std=0.1)
            return self.op("Gemm", x, weight, bias, alpha=1.0, beta=1.0, transB=1)

    def conv(
        self,
        name: str,
        x: str,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        gain: float = 1.0,
        rank: int = 2,
        pad: int | None = None,
        bias: bool = True,
        level: float = 0.0,
        dilation: int = 1,
    ) -> str:
        """Convolve; padding keeps the size unless given, ``level`` shifts the bias."""
        fan = inputs // groups * kernel**rank
        pad = kernel // 2 * dilation if pad is None else pad
        with self.scope(name):
            shape = (outputs, inputs // groups, *[kernel] * rank)
            parameters = [self.weight("weight", *shape, std=gain / math.sqrt(fan))]
            if bias:
                parameters.append(self.weight("bias", outputs, std=0.1, mean=level))
            return self.op(
                "Conv",
                x,
                *parameters,
                dilations=[dilation] * rank,
                group=groups,
                kernel_shape=[kernel] * rank,
                pads=[pad] * 2 * rank,
                strides=[stride] * rank,
            )

    def batch_norm(self, name: str, x: str, width: int) -> str:
        """Normalise by stored statistics, as in a model exported without folding."""
        with self.scope(name):
            parameters = [
                self.weight("weight", width, std=0.1, mean=1.0),
                self.weight("bias", width, std=0.1),
                self.weight("running_mean", width, std=0.1),
                self.weight("running_var", width, std=0.05, mean=1.0),
            ]
            return self.op("BatchNormalization", x, *parameters, epsilon=1e-5)

    def scale_shift(self, width: int, *shape: int) -> tuple[str, str]:
        """Return a normalisation's parameters."""
        shape = shape or (width,)
        return (
            self.weight("weight", *shape, std=0.1, mean=1.0),
            self.weight("bias", *shape, std=0.1),
        )

    def layer_norm(self, name: str, x: str, width: int, epsilon: float = 1e-5) -> str:
        """Normalise the last axis."""
        with self.scope(name):
            weight, bias = self.scale_shift(width)
            if self.opset >= 17:
                return self.op(
                    "LayerNormalization", x, weight, bias, axis=-1, epsilon=epsilon
                )
            centred = self.op("Sub", x, self.mean(x))
            power = self.op("Pow", centred, self.constant(2.0))
            variance = self.op("Add", self.mean(power), self.constant(epsilon))
            y = self.op("Div", centred, self.op("Sqrt", variance))
            return self.op("Add", self.op("Mul", y, weight), bias)

    def mean(self, x: str) -> str:
        """Average over the last axis, which stays."""
        return self.reduce("ReduceMean", x)

    def reduce(self, op_type: str, x: str) -> str:
        """Reduce the last axis, which stays."""
        if self.opset >= 18:
            return self.op(op_type, x, self.ints(-1), keepdims=1)
        return self.op(op_type, x, axes=[-1], keepdims=1)

    def rms_norm(self, name: str, x: str, width: int, epsilon: float = 1e-5) -> str:
        """Normalise the last axis by its root mean square, as Llama does."""
        with self.scope(name):
            x = self.recast(x)
            power = self.mean(self.op("Pow", x, self.constant(2.0)))
            root = self.op("Sqrt", self.op("Add", power, self.constant(epsilon)))
            y = self.op("Mul", x, self.op("Div", self.constant(1.0), root))
            weight = self.weight("weight", width, std=0.1, mean=1.0)
            return self.op("Mul", weight, self.recast(y))

    def group_norm(
        self,
        name: str,
        x: str,
        width: int,
        groups: int,
        epsilon: float = 1e-5,
        rank: int = 2,
    ) -> str:
        """Normalise groups of channels, by way of InstanceNormalization."""
        with self.scope(name):
            y = self.view(x, 0, groups, -1)
            ones, zeros = self.constant([1.0] * groups), self.constant([0.0] * groups)
            y = self.op("InstanceNormalization", y, ones, zeros, epsilon=epsilon)
            y = self.op("Reshape", y, self.op("Shape", x), **self.allowzero(0))
            weight, bias = self.scale_shift(width, width, *(1,) * rank)
            return self.op("Add", self.op("Mul", y, weight), bias)

    def gelu(self, x: str) -> str:
        """The exact Gelu."""
        y = self.op("Erf", self.op("Div", x, self.constant(math.sqrt(2.0))))
        y = self.op("Mul", x, self.op("Add", y, self.constant(1.0)))
        return self.op("Mul", y, self.constant(0.5))

    def gelu_tanh(self, x: str) -> str:
        """GPT-2's approximation."""
        half = self.op("Mul", x, self.constant(0.5))
        cube = self.op("Pow", x, self.constant(3.0))
        y = self.op("Add", x, self.op("Mul", cube, self.constant(0.044715)))
        y = self.op("Tanh", self.op("Mul", y, self.constant(math.sqrt(2.0 / math.pi))))
        return self.op("Mul", half, self.op("Add", y, self.constant(1.0)))

    def silu(self, x: str) -> str:
        """x · sigmoid(x)."""
        return self.op("Mul", x, self.op("Sigmoid", x))

    def relu6(self, x: str) -> str:
        """Clip to [0, 6]."""
        return self.op("Clip", x, self.constant(0.0), self.constant(6.0))

    def max_pool(self, x: str, kernel: int, stride: int, pad: int) -> str:
        """Take the maximum of square windows."""
        return self.op(
            "MaxPool",
            x,
            ceil_mode=0,
            kernel_shape=[kernel] * 2,
            pads=[pad] * 4,
            strides=[stride] * 2,
        )

    def global_pool(self, x: str, width: int) -> str:
        """Average over the image and drop its axes."""
        return self.op("Flatten", self.op("GlobalAveragePool", x), axis=1)

    def upsample(self, x: str) -> str:
        """Double height and width by repeating pixels."""
        return self.op(
            "Resize",
            x,
            "",
            self.constant([1.0, 1.0, 2.0, 2.0]),
            coordinate_transformation_mode="asymmetric",
            cubic_coeff_a=-0.75,
            mode="nearest",
            nearest_mode="floor",
        )

    def root_of_size(self, x: str, axis: int, size: int) -> str:
        """The square root of a static size, computed from the shape all the same."""
        length = self.cast(self.size(x, axis, size), np.float32)
        return self.op("Pow", length, self.constant(0.5))

    def halves(self, x: str, size: int) -> tuple[str, str]:
        """Cut the last of four axes into halves, the middle computed as in the file."""
        middle = self.op("Div", self.size(x, 3), self.constant(2, np.int64))
        middle = self.cast(self.cast(middle, np.int64), np.int64)
        first = self.slice(x, 3, 0, self.as_dim(middle))
        return first, self.slice(x, 3, self.as_dim(middle), LAST)

    def unbind(self, x: str, count: int) -> list[str]:
        """Take the first axis apart."""
        split = self.constant([1] * count, np.int64)
        parts = self.op("Split", x, split, outputs=count, axis=0)
        return [self.op("Squeeze", part, self.ints(0)) for part in parts]

    def chunk(self, x: str, width: int) -> tuple[str, str]:
        """Cut the last axis into halves, bounds computed as torch.chunk's are."""
        axis = self.ints(-1)
        size = self.op("Gather", self.op("Shape", x), axis, axis=0)
        half = self.op("Add", size, self.ints(1))
        half = self.op("Div", half, self.ints(2))
        stop = self.op("Mul", half, self.ints(1))
        end = self.op("Mul", half, self.ints(2))
        first = self.op("Slice", x, self.ints(0), stop, axis)
        return first, self.op("Slice", x, stop, end, axis)

    def sdpa(self, q: str, k: str, v: str, size: int, mask: str = "") -> str:
        """What scaled_dot_product_attention becomes."""
        length = self.op("Slice", self.op("Shape", q), self.ints(-1), self.ints(LAST))
        root = self.op("Sqrt", self.cast(length, np.float32))
        scale = self.recast(self.op("Div", self.constant([1.0]), root))
        k = self.transpose(k, 0, 1, 3, 2)
        q = self.op("Mul", q, self.op("Sqrt", scale))
        k = self.op("Mul", k, self.op("Sqrt", scale))
        return self.weigh(self.op("MatMul", q, k), v, mask)

    def weigh(self, scores: str, v: str, mask: str = "") -> str:
        """Add the mask if any, normalise the scores, average the values."""
        if mask:
            scores = self.op("Add", scores, mask)
        return self.op("MatMul", self.op("Softmax", scores, axis=-1), v)
