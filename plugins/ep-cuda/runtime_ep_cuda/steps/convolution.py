"""Convolutions, transposed ones too, with what follows as an epilogue."""

from __future__ import annotations

from typing import Any

import numpy as np
from runtime.graph import Node, Value

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import movement
from runtime_ep_cuda.codegen.depthwise import depthwise
from runtime_ep_cuda.dtypes import NARROW, Dtype
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.operations import Convolution, Pointwise, Spec
from runtime_ep_cuda.planner import Planner, broadcast
from runtime_ep_cuda.quantized import is_constant
from runtime_ep_cuda.steps import behind as inside
from runtime_ep_cuda.steps import filters as constant
from runtime_ep_cuda.steps.behind import Behind
from runtime_ep_cuda.steps.elementwise import finish, value_after
from runtime_ep_cuda.steps.epilogue import Follower
from runtime_ep_cuda.steps.product import of_floats
from runtime_ep_cuda.steps.rows import written
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.steps.windows import Window, channels_last, window_of
from runtime_ep_cuda.tensor import Tensor

_EVEN = 8
"""Channels of narrow floats are filled up to a multiple of these: cuDNN copies otherwise."""


def of_images(node: Node) -> str:
    x = node.inputs[0]
    rank = len(x.shape) if x is not None and x.shape is not None else 0
    if not 3 <= rank <= 5:
        return f"a {node.op_type} of {rank} axes is not supported"
    return of_floats(node)


def _order(planner: Planner, rank: int) -> tuple[int, ...]:
    return channels_last(rank) if planner.setting.channels_last else tuple(range(rank))


def convolve(planner: Planner, group: Group, behind: Behind = ()) -> None:
    """Plan a Conv of one, two or three axes, grouped and dilated.

    ``behind`` is what the anchor does itself after it and its bias.
    """
    node = anchor_of(group)
    x, w = planner.tensor(node.inputs[0]), node.inputs[1]
    dtype = planner.storage(node.outputs[0])
    wide = planner.shape(w)  # type: ignore[arg-type]
    groups = node.attribute("group", 1)
    if x.shape[1] != wide[1] * groups or wide[0] % groups:
        raise Unplannable(
            f"{list(x.shape)} is not convolved by {list(wide)} in {groups} groups"
        )
    window = window_of(node, x.shape[2:], wide[2:])
    shape = (x.shape[0], wide[0], *window.sizes)
    if 0 in shape or 0 in x.shape:
        _nothing(planner, group, x.shape, shape)
        return
    if _is_depthwise(planner, w, wide, x.shape[1], groups):  # type: ignore[arg-type]
        _depthwise(planner, group, x, window, shape, dtype, behind)
        return
    x, filters = _even(planner, group, x, dtype, groups)
    operation = Convolution(
        Spec.of(x),
        Spec.of(filters),
        Spec.of(planner.new(dtype, shape, _order(planner, len(shape)))),
        window.pads_begin,
        window.pads_end,
        window.strides,
        window.dilations,
        groups,
        tf32=_tf32(planner, dtype),
    )
    _convolve(planner, group, operation, (x, filters), shape, dtype, behind)


def _nothing(
    planner: Planner, group: Group, given: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    """Plan a convolution of no images."""
    if 0 not in shape:
        raise Unplannable(f"a convolution of {list(given)} has no elements")
    planner.result(value_after(group, 0), shape)
    finish(planner, group)


def _is_depthwise(
    planner: Planner, w: Value, wide: tuple[int, ...], channels: int, groups: int
) -> bool:
    """Whether each channel has one window of its own, and our kernel is the one for it."""
    alone = groups == channels == wide[0] and groups > 1
    return alone and is_constant(w) and planner.setting.channels_last


def _depthwise(
    planner: Planner,
    group: Group,
    x: Tensor,
    window: Window,
    shape: tuple[int, ...],
    dtype: Dtype,
    behind: Behind,
) -> None:
    """Plan windows of single channels, with all that follows, as one kernel."""
    order, taps = channels_last(x.rank), (*range(2, x.rank), 0, 1)
    weights = constant.filters(
        planner,
        group,
        "depthwise",
        lambda array: array.transpose(taps)[..., 0],
        dtype,
    )
    if behind:
        after, further, done = *inside.expression_of(behind), 0
    else:
        after, further, done = written(planner, group, shape)
    y = planner.result(value_after(group, done), shape, order)
    planner.launch(
        depthwise(
            planner.dense(x, order),
            weights,
            y,
            window,
            constant.bias_of(planner, group, dtype),
            after,
            further,
        )
    )
    finish(planner, group, done)


@plans("ConvTranspose", refuse=of_images, since=11, after=True)
def conv_transpose(planner: Planner, group: Group) -> None:
    """ConvTranspose: a convolution's gradient."""
    node = anchor_of(group)
    x, w = planner.tensor(node.inputs[0]), node.inputs[1]
    dtype = planner.storage(node.outputs[0])
    wide = planner.shape(w)  # type: ignore[arg-type]
    groups = node.attribute("group", 1)
    if x.shape[1] != wide[0]:
        raise Unplannable(f"{list(x.shape)} is not convolved by {list(wide)}")
    window = _spread(node, x.shape[2:], wide[2:])
    shape = (x.shape[0], wide[1] * groups, *window.sizes)
    if 0 in shape or 0 in x.shape:
        _nothing(planner, group, x.shape, shape)
        return
    order = _order(planner, x.rank)
    x = planner.dense(x, order, dtype)
    filters = _filters(planner, group, dtype, order)
    operation = Convolution(
        Spec.of(x),
        Spec.of(filters),
        Spec.of(planner.new(dtype, shape, order)),
        window.pads_begin,
        window.pads_end,
        window.strides,
        window.dilations,
        groups,
        transposed=True,
        tf32=_tf32(planner, dtype),
    )
    _convolve(planner, group, operation, (x, filters), shape, dtype)


def _tf32(planner: Planner, dtype: Dtype) -> bool:
    return planner.setting.tf32 and dtype.name == "float32"


def _spread(node: Node, image: tuple[int, ...], kernel: tuple[int, ...]) -> Window:
    """Return the window of a ConvTranspose; ``sizes`` are the result's."""
    rank = len(image)
    plain = window_of(node, image, kernel)  # for strides, dilations and checks
    extra = tuple(node.attribute("output_padding") or (0,) * rank)
    spans = [d * (k - 1) + 1 for d, k in zip(plain.dilations, kernel, strict=True)]
    full = [
        (size - 1) * step + span + more
        for size, step, span, more in zip(
            image, plain.strides, spans, extra, strict=True
        )
    ]
    wanted = node.attribute("output_shape")
    auto = node.attribute("auto_pad", "NOTSET")
    if wanted:
        sizes = list(wanted)[-rank:]
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        sizes = [size * step for size, step in zip(image, plain.strides, strict=True)]
    else:
        pads = (
            [0] * (2 * rank) if auto == "VALID" else list(node.attribute("pads") or ())
        )
        pads = pads or [0] * (2 * rank)
        begin, end = pads[:rank], pads[rank:]
        sizes = [f - a - b for f, a, b in zip(full, begin, end, strict=True)]
        return _window(plain, begin, end, sizes)
    total = [f - size for f, size in zip(full, sizes, strict=True)]
    upper = auto == "SAME_UPPER"
    begin = [t // 2 if upper else t - t // 2 for t in total]
    return _window(
        plain, begin, [t - b for t, b in zip(total, begin, strict=True)], sizes
    )


def _window(
    plain: Window, begin: list[int], end: list[int], sizes: list[int]
) -> Window:
    return Window(
        plain.kernel,
        plain.strides,
        plain.dilations,
        tuple(begin),
        tuple(end),
        tuple(max(size, 0) for size in sizes),
    )


def _even(
    planner: Planner, group: Group, x: Tensor, dtype: Dtype, groups: int
) -> tuple[Tensor, Tensor]:
    """Return image and filters in the library's order, few channels filled up by zeros."""
    order = _order(planner, x.rank)
    channels, w = x.shape[1], anchor_of(group).inputs[1]
    even = groups > 1 or dtype not in NARROW or channels % _EVEN == 0
    if even or w is None or not is_constant(w):
        return planner.dense(x, order, dtype), _filters(planner, group, dtype, order)
    more = -(-channels // _EVEN) * _EVEN
    wide = planner.new(dtype, (x.shape[0], more, *x.shape[2:]), order)
    rest = wide.sliced(1, channels, more - channels)
    planner.launch(movement.fill(rest, 0))
    planner.launch(movement.copy(x, wide.sliced(1, 0, channels)))

    def fill_up(array: Any) -> Any:
        shape = (array.shape[0], more, *array.shape[2:])
        made = np.zeros(shape, array.dtype)
        made[:, :channels] = array
        return made.transpose(order)

    laid = constant.filters(planner, group, ("filled", more, order), fill_up, dtype)
    return wide, laid.transposed(_inverse(order))


def _filters(
    planner: Planner, group: Group, dtype: Dtype, order: tuple[int, ...]
) -> Tensor:
    """Return filters whose axes lie in an order."""
    w = anchor_of(group).inputs[1]
    if w is None or not is_constant(w):
        return planner.dense(planner.tensor(w), order, dtype)

    def laid_out(array: Any) -> Any:
        return array.transpose(order)

    laid = constant.filters(planner, group, order, laid_out, dtype)
    return laid.transposed(_inverse(order))


def _inverse(order: tuple[int, ...]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


def _convolve(
    planner: Planner,
    group: Group,
    operation: Convolution,
    inputs: tuple[Tensor, Tensor],
    shape: tuple[int, ...],
    dtype: Dtype,
    behind: Behind = (),
) -> None:
    """Plan a convolution, its bias and as much of what follows as is taken along."""

    def fit(operand: Tensor) -> Tensor | None:
        if operand.dtype != dtype or broadcast([operand.shape, shape]) != shape:
            return None
        return operand.broadcast(shape)

    def place(value: Value | None) -> tuple[Tensor, Tensor]:
        order = _order(planner, len(shape))
        made = planner.new(dtype, shape, order)
        if value is not None:
            made = planner.result(value, shape, order)
        return made, made

    bias = constant.bias_of(planner, group, dtype)
    before = [] if bias is None else [channel_bias(bias, len(shape))]
    if not inside.done(planner, group, operation, inputs, before, behind, fit, place):
        raise Unplannable(
            f"no library convolves {list(operation.x.shape)} by "
            f"{list(operation.w.shape)} of {dtype}"
        )


def channel_bias(bias: Tensor, rank: int) -> Follower:
    seen = bias.reshaped((1, bias.size, *(1,) * (rank - 2)))
    return Follower((Pointwise("add"),), seen)
