"""Operations as cuDNN graphs: tensors with fixed uids, one anchor, pointwise steps.

Inputs have the uids 1, 2, … in the order of `operations.Call`, the result comes last;
numbers of an epilogue lie in the graph itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from runtime_ep_cuda.operations import (
    Attention,
    Convolution,
    Operation,
    Pointwise,
    Product,
    Spec,
    specs_of,
)

TYPES = {
    "float16": "HALF",
    "bfloat16": "BFLOAT16",
    "float32": "FLOAT",
    "int8": "INT8",
    "uint8": "UINT8",
    "int32": "INT32",
}
"""Element types by NumPy's names and by cuDNN's."""

_NUMBERS = 1000
"""The uids of an epilogue's numbers begin here."""

_BINARY = {"add", "sub", "mul", "max", "min"}
_UNARY = {
    "relu": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softplus": "softplus",
    "gelu": "gelu",
    "gelu_tanh": "gelu_approx_tanh",
    "elu": "elu",
}


def describe(operation: Operation, make: Callable[..., Any]) -> Any:
    """Return the graph of an operation, its tensors and nodes set, not yet validated.

    ``make`` returns an empty graph for the element types it is given by keyword.
    """
    return _Description(_with_height(operation), make).graph


def _with_height(operation: Operation) -> Operation:
    """See a convolution over one axis as one over images of one row.

    More engines know those.
    """
    if not isinstance(operation, Convolution) or len(operation.y.shape) != 3:
        return operation

    def high(spec: Spec) -> Spec:
        if len(spec.shape) < 2:
            return spec
        shape, strides = (
            (*each[:-1], one, each[-1])
            for each, one in ((spec.shape, 1), (spec.strides, 0))
        )
        return spec._replace(shape=shape, strides=strides)

    return replace(
        operation,
        x=high(operation.x),
        w=high(operation.w),
        y=high(operation.y),
        pads_begin=(0, *operation.pads_begin),
        pads_end=(0, *operation.pads_end),
        strides=(1, *operation.strides),
        dilations=(1, *operation.dilations),
        operands=tuple(map(high, operation.operands)),
    )


class _Description:
    def __init__(self, operation: Operation, make: Callable[..., Any]):
        import cudnn

        self.cudnn = cudnn
        *inputs, self.y = specs_of(operation)
        self.images = isinstance(operation, Convolution)
        self.whole = inputs[0].dtype.endswith("int8")
        self.graph = make(
            io_data_type=self.type(inputs[0].dtype),
            intermediate_data_type=cudnn.data_type.FLOAT,
            compute_data_type=cudnn.data_type.FLOAT,
        )
        rank = len(self.y.shape)
        self.tensors = [
            self.tensor(spec, uid, rank) for uid, spec in enumerate(inputs, 1)
        ]
        self.numbers = _NUMBERS
        if isinstance(operation, Attention):
            result = self.attention(operation)
        else:
            anchor = self.anchor(operation)
            result = self.epilogue(anchor, operation.epilogue)
        self.result(result)

    def type(self, dtype: str) -> Any:
        return getattr(self.cudnn.data_type, TYPES[dtype])

    def tensor(self, spec: Spec, uid: int, rank: int) -> Any:
        shape, strides = laid_out(spec, rank, self.images)
        tensor = self.graph._make_tensor(
            dim=shape,
            stride=strides,
            data_type=self.type(spec.dtype),
            uid=uid,
            name=f"t{uid}",
        )
        if spec.alignment != 16:
            tensor.set_alignment(spec.alignment)
        return tensor

    def anchor(self, operation: Convolution | Product) -> Any:
        first, second = self.tensors[:2]
        exact = {"compute_data_type": self.cudnn.data_type.INT32} if self.whole else {}
        if isinstance(operation, Product):
            y = self.graph.matmul(A=first, B=second, name="product", **exact)
        else:
            places = {
                "pre_padding": list(operation.pads_begin),
                "post_padding": list(operation.pads_end),
                "stride": list(operation.strides),
                "dilation": list(operation.dilations),
                "name": "convolution",
                **exact,
            }
            if operation.transposed:
                y = self.graph.conv_dgrad(loss=first, filter=second, **places)
            else:
                y = self.graph.conv_fprop(image=first, weight=second, **places)
            y.set_dim(list(self.y.shape))
        if self.whole:
            y._set_data_type(self.cudnn.data_type.INT32)
        if isinstance(operation, Product) and operation.alpha != 1.0:
            y = self.graph.mul(y, self.number(operation.alpha))
        return y

    def epilogue(self, y: Any, steps: Sequence[Pointwise]) -> Any:
        for step in steps:
            if step.mode in _BINARY:
                second = (
                    self.tensors[2 + step.operand]
                    if step.operand >= 0
                    else self.number(step.scalar)
                )
                y = getattr(self.graph, step.mode)(y, second)
            elif step.mode == "hard_swish":
                y = self.hard_swish(y)
            elif step.mode == "mish":
                y = self.graph.mul(y, self.graph.tanh(self.graph.softplus(y)))
            elif step.mode == "leaky_relu":
                y = self.graph.leaky_relu(y, negative_slope=step.scalar)
            elif step.mode == "swish":
                y = self.graph.swish(y, swish_beta=step.scalar)
            else:
                y = getattr(self.graph, _UNARY[step.mode])(y)
        return y

    def hard_swish(self, y: Any) -> Any:
        """Return y · min(max(y + 3, 0), 6) / 6; cuDNN's bounded relu has few engines."""
        gate = self.graph.relu(self.graph.add(y, self.number(3.0)))
        gate = self.graph.min(gate, self.number(6.0))
        return self.graph.mul(self.graph.mul(y, gate), self.number(1 / 6))

    def number(self, value: float) -> Any:
        """Return a number as a tensor, which plans take as an argument."""
        kind = self.cudnn.scalar_type.RUNTIME_PARAM
        number = self.graph.tensor_scalar(float(value), kind)
        ones = [1] * len(self.y.shape)
        number.set_dim(ones).set_stride(ones).set_uid(self.numbers)
        number._set_data_type(self.cudnn.data_type.FLOAT)
        self.numbers += 1
        return number

    def attention(self, operation: Attention) -> Any:
        q, k, v, *bias = self.tensors
        options: dict[str, Any] = {}
        if bias:
            options["bias"] = bias[0]
        if operation.causal:
            ends = self.cudnn.diagonal_alignment
            bottom = operation.causal == "bottom_right"
            options["diagonal_alignment"] = (
                ends.BOTTOM_RIGHT if bottom else ends.TOP_LEFT
            )
            options["diagonal_band_right_bound"] = 0
        y, _ = self.graph.sdpa(
            q=q,
            k=k,
            v=v,
            attn_scale=float(operation.scale),
            generate_stats=False,
            name="attention",
            **options,
        )
        return y

    def result(self, y: Any) -> None:
        shape, strides = laid_out(self.y, len(self.y.shape), self.images)
        y.set_output(True).set_dim(shape).set_stride(strides)
        y.set_uid(len(self.tensors) + 1)
        y._set_data_type(self.type(self.y.dtype))
        if self.y.alignment != 16:
            y.set_alignment(self.y.alignment)


def laid_out(spec: Spec, rank: int, images: bool) -> tuple[list[int], list[int]]:
    """Return shape and strides as cuDNN wants them.

    Missing axes are added in front, broadcast axes become axes of one element, and
    those get the stride that they would have if they were longer: cuDNN tells layouts
    by it. Where both would do, channels of ``images`` are innermost.
    """
    shape, strides = _aligned(spec, rank)
    for order in _orders(rank, images):
        found = _filled(shape, strides, order)
        if found is not None:
            return shape, found
    return shape, [step or 1 for step in strides]


def orders_of(spec: Spec, rank: int, images: bool) -> set[int]:
    """Return the orders of memory that a tensor fits: 0 and 1.

    Those are channels innermost and C order for ``images``, rows and columns otherwise.
    """
    shape, strides = _aligned(spec, rank)
    return {
        number
        for number, order in enumerate(_orders(rank, images))
        if _filled(shape, strides, order) is not None
    }


def _orders(rank: int, images: bool) -> list[list[int]]:
    rows = list(range(rank))
    if images:
        return [[0, *range(2, rank), 1], rows]
    return [rows, [*rows[:-2], rank - 1, rank - 2]]


def _aligned(spec: Spec, rank: int) -> tuple[list[int], list[int]]:
    missing = rank - len(spec.shape)
    shape = [1] * missing + [
        1 if step == 0 else dim
        for dim, step in zip(spec.shape, spec.strides, strict=True)
    ]
    return shape, [0] * missing + list(spec.strides)


def _filled(shape: list[int], strides: list[int], order: list[int]) -> list[int] | None:
    """Return strides with those of short axes filled in, if the others fit an order."""
    filled, step = [0] * len(shape), 1
    for axis in reversed(order):
        if shape[axis] != 1:
            if strides[axis] < step:
                return None
            step = strides[axis]
        filled[axis] = step
        step *= shape[axis]
    return filled
