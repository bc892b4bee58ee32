"""Work for NVIDIA's libraries as data: convolution, product and attention with epilogues.

The planner makes these, `cudnn` and `cublaslt` turn them into plans, the tests' host
double computes them with NumPy, and their text is the key of the autotuner's choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any, NamedTuple

from runtime_ep_cuda.tensor import Tensor


class Spec(NamedTuple):
    """A tensor without memory: NumPy's name of its element type, shape and strides.

    ``alignment`` says by how many bytes its address can be divided, at most 16.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    alignment: int = 16

    @classmethod
    def of(cls, tensor: Tensor) -> Spec:
        """Return what a library needs to know of a tensor."""
        aligned = gcd(tensor.offset * tensor.dtype.itemsize, 16)
        return cls(tensor.dtype.name, tensor.shape, tensor.strides, aligned)


class Pointwise(NamedTuple):
    """One step of an epilogue over the running result.

    ``mode`` is ``add``, ``mul``, ``sub`` (result minus operand), ``relu``, ``sigmoid``,
    ``tanh``, ``swish``, ``hard_swish``, ``mish``, ``gelu`` (exact), ``gelu_tanh``,
    ``leaky_relu``, ``elu``, ``softplus``, ``max`` or ``min``. ``operand`` is the place
    of a tensor among the operation's ``operands``, or -1: then ``scalar`` is the second
    argument, where the mode has one (the slope of ``leaky_relu``, the alpha of ``elu``
    and ``swish``).
    """

    mode: str
    operand: int = -1
    scalar: float = 0.0


@dataclass(frozen=True, slots=True)
class Convolution:
    """x (N, C, …) by w (M, C/groups, …) gives y (N, M, …), then the epilogue.

    ``operands`` are broadcast to y's shape. ``transposed`` is ONNX's ConvTranspose: then
    w is (C, M/groups, …) and pads are taken from the result.
    """

    x: Spec
    w: Spec
    y: Spec
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    operands: tuple[Spec, ...] = ()
    epilogue: tuple[Pointwise, ...] = ()
    tf32: bool = False


@dataclass(frozen=True, slots=True)
class Product:
    """a (B, M, K) by b (B or 1, K, N) gives y (B, M, N), times alpha, then the epilogue."""

    a: Spec
    b: Spec
    y: Spec
    alpha: float = 1.0
    operands: tuple[Spec, ...] = ()
    epilogue: tuple[Pointwise, ...] = ()
    tf32: bool = False


@dataclass(frozen=True, slots=True)
class Attention:
    """softmax(q kᵀ · scale + bias) v over (batch, heads, length, size) tensors.

    k and v may have fewer heads, which q's share in groups. ``causal`` masks what comes
    after, counted from the first key (``"top_left"``) or from the last
    (``"bottom_right"``); ``bias`` is broadcast to the scores' shape.
    """

    q: Spec
    k: Spec
    v: Spec
    y: Spec
    scale: float
    causal: str = ""
    bias: Spec | None = None
    tf32: bool = False


Operation = Convolution | Product | Attention


class Call(NamedTuple):
    """An operation with the tensors it is for: inputs in order, then operands, then y.

    For `Convolution` x, w; for `Product` a, b; for `Attention` q, k, v and the bias.
    """

    operation: Operation
    tensors: tuple[Tensor, ...]
    result: Tensor


def specs_of(operation: Operation) -> list[Spec]:
    """Return an operation's tensors in the order of `Call`, the result last."""
    if isinstance(operation, Convolution):
        return [operation.x, operation.w, *operation.operands, operation.y]
    if isinstance(operation, Product):
        return [operation.a, operation.b, *operation.operands, operation.y]
    bias = [operation.bias] if operation.bias is not None else []
    return [operation.q, operation.k, operation.v, *bias, operation.y]


def text_of(operation: Operation) -> str:
    """Return the operation as text, the same for the same work: a key of caches."""
    fields: dict[str, Any] = {
        name: getattr(operation, name) for name in operation.__dataclass_fields__
    }
    return f"{type(operation).__name__}{tuple(fields.items())!r}"
