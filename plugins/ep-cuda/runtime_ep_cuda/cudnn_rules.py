"""What cuDNN builds, by rules alone: the planner asks here before it fuses.

Found by building some 700 operations for each compute capability from 7.5 to 12.0 with
cuDNN 9.19 and its frontend 1.28, and held against such builds by the tests: what is not
refused here builds; what is refused may build.

| what | not refused |
|---|---|
| any operation | addresses that 16 divides, no axis of length 0 |
| Convolution: types | x, w alike float16, bfloat16, float32; y the same or float32 |
| - of int8 | x, w int8; y int32 and no epilogue, or y int8, float16, bfloat16, float32 and an epilogue that begins with ``mul`` |
| - shapes | 1 to 3 spatial axes, any pads, strides, dilations, groups; depthwise |
| - memory | x, w, y with channels innermost, or in C order; gaps, C order and a mixture cost copies in the workspace; int8: channels innermost |
| - transposed | as above (it is dgrad), with any epilogue; not int8 |
| - float32 over 3 axes without TF32 | nothing, a bias, or a bias and relu |
| - depthwise of int8 | y int32, no epilogue |
| Product: types | a, b alike float16, bfloat16, or float32 where ``tf32``; y the same or float32; int8 as for convolutions |
| - memory | (batch, rows, columns), each matrix by rows or by columns, batches apart by any stride; b may be shared |
| Attention | q, k, v, y alike float16, bfloat16, or float32 where ``tf32`` in heads of 128 at most; sizes and strides that 8 divides; the elements of a head side by side; k's heads divide q's |
| - bias | q's type or float32, four axes, each broadcast or not but the last |
| - causal | ``top_left``; ``bottom_right`` without bias and with no more queries than keys |
| Epilogue: steps | ``add sub mul max min`` with an operand or a number; ``relu sigmoid tanh softplus gelu gelu_tanh leaky_relu swish hard_swish mish``; ``elu`` of alpha 1 |
| - operands | x's type or float32 (float16, too, for int8); one number, one a channel (a column of a product), or y's shape in y's order of memory, gaps allowed; for float16, bfloat16, TF32 and int8 any other broadcast, too |
| below 8.0 | no bfloat16, no attention, no TF32 product, no other broadcast; product of float16: 8 divides K, N and all strides, b not shared; of int8: 16 divides K and N, b by columns; fused convolution of int8: 16 divides C and M, one group |

So the planner splits off what follows a depthwise convolution of int8, and leaves products
of true float32 to `cublaslt`, such attention to own kernels. uint8 is not convolved: shift
it to int8.

Clip is ``max`` then ``min`` (or ``relu`` then ``min``) with numbers; cuDNN's bounded relu
has few engines. HardSigmoid is ``mul``, ``add``, ``max``, ``min`` with numbers. Whether
``relu``, ``max`` and ``min`` keep a NaN only a device can tell.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterable

from runtime_ep_cuda.cudnn_graphs import orders_of
from runtime_ep_cuda.operations import (
    Attention,
    Convolution,
    Operation,
    Pointwise,
    Product,
    Spec,
    specs_of,
)

_HALVES = ("float16", "bfloat16")
_FLOATS = (*_HALVES, "float32")
_TURING = 75

Rule = tuple[bool, str]


def refusal(operation: Operation, sm: int) -> str:
    """Return why cuDNN is not to be asked on a compute capability; nothing if it is."""
    specs = specs_of(operation)
    common = _first(
        [
            (any(0 in spec.shape for spec in specs), "it is empty"),
            (any(spec.alignment < 16 for spec in specs), "an address is not aligned"),
            (
                sm < 80 and any(spec.dtype == "bfloat16" for spec in specs),
                "bfloat16 needs compute capability 8.0",
            ),
        ]
    )
    if common:
        return common
    if isinstance(operation, Convolution):
        return _convolution(operation, sm)
    if isinstance(operation, Product):
        return _product(operation, sm)
    return _attention(operation, sm)


def _first(rules: Iterable[Rule]) -> str:
    """Return the first reason that holds."""
    return next((reason for holds, reason in rules if holds), "")


def _convolution(operation: Convolution, sm: int) -> str:
    x, w, y = operation.x, operation.w, operation.y
    whole = x.dtype == "int8"
    orders = [orders_of(spec, len(spec.shape), True) for spec in (x, w, y)]
    depthwise = whole and operation.groups > 1 and w.shape[1] == 1
    fits = operation.groups == 1 and x.shape[1] % 16 == 0 and y.shape[1] % 16 == 0
    return (
        _types(x, w, y)
        or _first(
            [
                (not 3 <= len(x.shape) <= 5, "it has 1 to 3 spatial axes"),
                (not all(orders), "images lie with channels innermost, or in C order"),
                (
                    len(x.shape) == 5
                    and x.dtype == "float32"
                    and not operation.tf32
                    and not _is_biased(operation),
                    "float32 over 3 axes has a bias, or a bias and relu, and no more",
                ),
                (
                    whole and not all(0 in found for found in orders),
                    "int8 lies with channels innermost",
                ),
                (whole and operation.transposed, "int8 has no transposed convolution"),
                (
                    depthwise and bool(operation.epilogue),
                    "depthwise convolution of int8 has no epilogue",
                ),
                (
                    whole and sm < 80 and bool(operation.epilogue) and not fits,
                    "int8 is convolved in channels that 16 divides, without groups",
                ),
            ]
        )
        or _epilogue(operation, sm)
    )


def _is_biased(operation: Convolution) -> bool:
    """Whether nothing follows but one number for each channel, and relu after that."""
    modes = tuple(step.mode for step in operation.epilogue)
    channels = (1, operation.y.shape[1])
    return not modes or (
        modes in (("add",), ("add", "relu"))
        and operation.epilogue[0].operand == 0
        and _shown(operation.operands[0])[:2] == channels
        and all(dim == 1 for dim in _shown(operation.operands[0])[2:])
    )


def _shown(spec: Spec) -> tuple[int, ...]:
    """Return a shape with 1 for axes that repeat one element."""
    pairs = zip(spec.shape, spec.strides, strict=True)
    return tuple(dim if step else 1 for dim, step in pairs)


def _product(operation: Product, sm: int) -> str:
    a, b, y = operation.a, operation.b, operation.y
    whole = a.dtype == "int8"
    apart = [step for spec in (a, b, y) for step in spec.strides if step > 1]
    eight = all(size % 8 == 0 for size in (*b.shape[1:], *apart))
    sixteen = all(size % 16 == 0 for size in b.shape[1:]) and b.strides[1] == 1
    return (
        _types(a, b, y)
        or _first(
            [
                (
                    len(a.shape) != 3,
                    "its matrices have the shape (batch, rows, columns)",
                ),
                (
                    not all(1 in _long(spec)[-2:] for spec in (a, b, y)),
                    "its matrices lie by rows or by columns",
                ),
                (
                    a.dtype == "float32" and (not operation.tf32 or sm < 80),
                    "float32 is multiplied as TF32 only",
                ),
                (
                    sm < 80 and not whole and not (eight and a.shape[0] == b.shape[0]),
                    "8 divides all sizes and strides, and b is not shared",
                ),
                (sm < 80 and whole and not sixteen, "16 divides K and N, b in columns"),
            ]
        )
        or _epilogue(operation, sm)
    )


def _long(spec: Spec) -> list[int]:
    """Return the strides, with 1 for axes of one element, which lie anyhow."""
    return [
        step if dim > 1 else 1
        for dim, step in zip(spec.shape, spec.strides, strict=True)
    ]


def _types(first: Spec, second: Spec, y: Spec) -> str:
    known = first.dtype in (*_FLOATS, "int8") and second.dtype == first.dtype
    whole = first.dtype == "int8"
    results = ("int32", "int8", *_FLOATS) if whole else (first.dtype, "float32")
    if known and y.dtype in results:
        return ""
    return f"there is none of {first.dtype} and {second.dtype} to {y.dtype}"


def _epilogue(operation: Convolution | Product, sm: int) -> str:
    first, *_ = specs_of(operation)
    y, steps = operation.y, operation.epilogue
    whole = first.dtype == "int8"
    if whole and (y.dtype == "int32") != (not steps):
        return "int32 has no epilogue, and everything else of int8 needs one"
    if whole and steps and steps[0].mode != "mul":
        return "what follows int8 begins with a scale"
    exact = first.dtype == "float32" and not operation.tf32
    anyhow = sm >= 80 and not exact
    for step in steps:
        reason = _step(operation, step, anyhow)
        if reason:
            return reason
    return ""


def _step(operation: Convolution | Product, step: Pointwise, anyhow: bool) -> str:
    if step.mode == "elu" and step.scalar != 1.0:
        return "elu has the alpha 1"
    if step.operand < 0:
        return ""
    first, *_ = specs_of(operation)
    operand, y = operation.operands[step.operand], operation.y
    whole = first.dtype == "int8"
    types = {"float32", first.dtype, *(["float16"] if whole else [])}
    if operand.dtype not in types:
        return f"an operand of {operand.dtype} is not read"
    return _laid(operand, y, anyhow, isinstance(operation, Convolution))


def _laid(operand: Spec, y: Spec, anyhow: bool, images: bool) -> str:
    """Return why an operand does not lie under the result as it has to."""
    rank = len(y.shape)
    if len(operand.shape) > rank:
        return "an operand has more axes than the result"
    axes = _axes(operand, rank)
    vector = {1} if images else {rank - 1}
    if axes <= vector:
        straight = all(operand.strides[axis - rank] == 1 for axis in axes)
        return "" if straight else "a vector has gaps"
    mine, others = (orders_of(spec, rank, images) for spec in (operand, y))
    if not mine & others:
        return "an operand lies in another order than the result"
    if axes == _axes(y, rank) or anyhow:
        return ""
    return "an operand is neither whole nor one number a channel"


def _axes(spec: Spec, rank: int) -> set[int]:
    """Return the axes along which a tensor has more than one element of its own."""
    missing = rank - len(spec.shape)
    return {
        axis + missing
        for axis, (dim, step) in enumerate(zip(spec.shape, spec.strides, strict=True))
        if dim > 1 and step != 0
    }


def _attention(operation: Attention, sm: int) -> str:
    q, k, v, y = operation.q, operation.k, operation.v, operation.y
    bias = operation.bias
    bottom, exact = operation.causal == "bottom_right", q.dtype == "float32"
    sizes = (q.shape[3], v.shape[3])
    steps = [step for spec in (q, k, v, y) for step in spec.strides[:3]]
    return _first(
        [
            (sm < 80, "attention needs compute capability 8.0"),
            (
                q.dtype not in _FLOATS or {q.dtype} != {k.dtype, v.dtype, y.dtype},
                "attention is of float16, bfloat16 or float32 alone",
            ),
            (exact and not operation.tf32, "float32 is multiplied as TF32 only"),
            (any(size % 8 for size in sizes), "8 divides the sizes of heads"),
            (exact and max(sizes) > 128, "heads of float32 have 128 elements at most"),
            (
                any(spec.strides[3] != 1 for spec in (q, k, v, y)),
                "the elements of a head lie side by side",
            ),
            (any(step % 8 for step in steps), "8 divides all strides"),
            (
                k.shape[:3] != v.shape[:3] or q.shape[1] % k.shape[1] != 0,
                "heads of k and v are alike, and divide those of q",
            ),
            (
                bottom and (bias is not None or q.shape[2] > k.shape[2]),
                "counted from the last key there is no bias, and no query without keys",
            ),
            (
                bias is not None and not _is_bias(bias, operation),
                "the bias lies otherwise",
            ),
        ]
    )


def _is_bias(bias: Spec, operation: Attention) -> bool:
    """Whether a bias has four axes, its type, and its keys side by side."""
    keys = operation.k.shape[2]
    return (
        len(bias.shape) == 4
        and bias.dtype in (operation.q.dtype, "float32")
        and bias.shape[3] == keys
        and (bias.strides[3] == 1 or keys == 1)
    )
