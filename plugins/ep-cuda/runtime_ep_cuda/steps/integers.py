"""Products and convolutions of bytes as operators: QLinear…, …Integer."""

from __future__ import annotations

from runtime.graph import Node, Value

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.dtypes import FLOAT, dtype_of
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.quantized import constant_of
from runtime_ep_cuda.steps import whole, whole_images, whole_products
from runtime_ep_cuda.steps.quantize import Steps
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.steps.whole_chain import Ending
from runtime_ep_cuda.steps.whole_columns import Columns
from runtime_ep_cuda.steps.whole_images import Images
from runtime_ep_cuda.steps.whole_products import Factors
from runtime_ep_cuda.steps.whole_sources import (
    BYTES,
    Source,
    Weights,
    single,
    source,
    weights,
)
from runtime_ep_cuda.tensor import Tensor

MS = "com.microsoft"


def _ending(node: Node, scale: int) -> Ending | None:
    factor, zero = single(node.input(scale)), single(node.input(scale + 1))
    dtype = dtype_of(node.outputs[0])
    if factor is None or factor <= 0 or zero is None or dtype not in BYTES:
        return None
    return Ending(factor, int(zero), dtype)


def _images(node: Node) -> Images | None:
    """Return the operands of a QLinearConv."""
    x = source(*node.inputs[:3])
    w, ending = weights(*node.inputs[3:6]), _ending(node, 6)
    if x is None or w is None or ending is None or not w.fits(0):
        return None
    bias, value = None, node.input(8)
    if value is not None:
        array = constant_of(value)
        if array is None:
            return None
        bias = array.astype(float) * (w.scale.reshape(-1) * x.scale)
    return Images(x, w, bias, ending)


def _refuses_images(node: Node) -> str:
    if node.attribute("channels_last", 0):
        return f"{node.op_type} with channels last is not supported"
    if dtype_of(node.input(1)) != FLOAT or _images(node) is None:
        return (
            f"{node.op_type} of anything but bytes, by constant weights and scales that "
            "are int8 without their zero points, is not supported"
        )
    return ""


@plans("QLinearConv", refuse=_refuses_images, since=10)
@plans("QLinearConv", domain=MS, refuse=_refuses_images)
def qlinear_conv(planner: Planner, group: Group) -> None:
    """QLinearConv: a convolution of bytes, quantized again."""
    node = anchor_of(group)
    images = _images(node)
    work = None if images is None else whole_images.work_of(planner, node, images)
    if work is None or not whole.done(planner, group, work):
        raise Unplannable("no library convolves these bytes")


def _factors(node: Node) -> Factors | None:
    """Return the factors of a QLinearMatMul."""
    a, ending = source(*node.inputs[:3]), _ending(node, 6)
    b: Weights | Source | None = weights(*node.inputs[3:6])
    second = node.inputs[3]
    if b is not None and (len(second.shape or ()) != 2 or not b.fits(1)):  # type: ignore[union-attr]
        b = None
    if b is None:
        b = source(*node.inputs[3:6])
        alone = a is not None and _is_centred(a) and b is not None and _is_centred(b)
        b = b if alone else None
    if a is None or b is None or ending is None:
        return None
    return Factors(a, b, ending=ending)


def _is_centred(source: Source) -> bool:
    shift = 128 if dtype_of(source.value) != "int8" else 0
    return source.zero == shift


def _refuses_factors(node: Node) -> str:
    if dtype_of(node.input(1)) != FLOAT or _factors(node) is None:
        return (
            f"{node.op_type} of anything but bytes, by constants that are int8 without "
            "their zero points or by bytes around 0, is not supported"
        )
    return ""


@plans("QLinearMatMul", refuse=_refuses_factors, since=10)
def qlinear_matmul(planner: Planner, group: Group) -> None:
    """QLinearMatMul: a product of bytes, quantized again."""
    found = _factors(anchor_of(group))
    work = None if found is None else whole_products.work_of(planner, found)
    if work is None or not whole.done(planner, group, work):
        raise Unplannable("no library multiplies these bytes")


def _refuses_sums(node: Node) -> str:
    x, w = dtype_of(node.inputs[0]), dtype_of(node.inputs[1])
    if not {x, w} <= BYTES:
        return f"{node.op_type} of these element types is not supported"
    made = weights(node.inputs[1], None, node.input(3))
    axis = 0 if node.op_type == "ConvInteger" else 1
    matrix = len(node.inputs[1].shape or ()) == 2 or not axis  # type: ignore[union-attr]
    if made is None or not matrix or not made.fits(axis):
        return f"{node.op_type} by anything but constant weights is not supported"
    zero = node.input(2)
    if zero is not None and not zero.is_constant and not axis:
        return "a zero point of images that is no constant is not supported"
    if zero is not None and zero.shape not in ((), (1,)):
        return "zero points of rows are not supported"
    return ""


@plans("ConvInteger", refuse=_refuses_sums, since=10, after=True)
def conv_integer(planner: Planner, group: Group) -> None:
    """ConvInteger: exact sums."""
    node = anchor_of(group)
    zero, made = node.input(2), weights(node.inputs[1], None, node.input(3))
    if made is None or node.inputs[0] is None:
        raise Unplannable("weights that are no constants")
    shift = 0 if zero is None else int(single(zero) or 0)
    images = Images(Source(node.inputs[0], 1.0, shift), made)
    work = whole_images.work_of(planner, node, images)
    laid = (1, -1, *(1,) * (len(node.inputs[0].shape or ()) - 2))
    _sums(planner, group, work, Columns(planner, made, 0, laid), node.inputs[0], zero)


@plans("MatMulInteger", refuse=_refuses_sums, since=10, after=True)
def matmul_integer(planner: Planner, group: Group) -> None:
    """MatMulInteger: exact sums; the zero point may come from the device."""
    node = anchor_of(group)
    made = weights(node.inputs[1], None, node.input(3))
    if made is None or node.inputs[0] is None:
        raise Unplannable("weights that are no constants")
    factors = Factors(Source(node.inputs[0], 1.0, 0), made)
    work = whole_products.work_of(planner, factors)
    columns = Columns(planner, made, 1, (1, 1, -1))
    _sums(planner, group, work, columns, node.inputs[0], node.input(2))


def _sums(
    planner: Planner,
    group: Group,
    work: whole.Work | None,
    columns: Columns,
    x: Value,
    zero: Value | None,
) -> None:
    """Sum, and take away what the zero point and a shift to int8 have added."""
    sums = None if work is None else whole.summed(planner, work)
    if sums is None or work is None:
        raise Unplannable("no library multiplies these bytes")
    shift = 128 if dtype_of(x) != "int8" else 0
    operands: list[Tensor] = [sums]
    if zero is None and not shift:
        whole.follow(planner, group, work, operands, Steps(1), 0)
        return
    operands.append(whole.under(columns.totals(), work))
    if zero is not None:
        operands.append(planner.reshape(planner.tensor(zero), ()))
    steps = Steps(len(operands))
    place = steps("constant", (), type="int32", value=-shift)
    if zero is not None:
        place = steps("add", (place, steps("convert", (2,), type="int32")))
    number = steps("subtract", (0, steps("multiply", (place, 1))))
    whole.follow(planner, group, work, operands, steps, number)
