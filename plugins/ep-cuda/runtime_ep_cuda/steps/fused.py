"""Products and convolutions of com.microsoft that do more than those of ai.onnx."""

from __future__ import annotations

from runtime.graph import Node

from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.operations import Convolution, Spec
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps import behind as inside
from runtime_ep_cuda.steps import epilogue
from runtime_ep_cuda.steps.behind import NAMES, Stage, activated, summed
from runtime_ep_cuda.steps.convolution import channel_bias, convolve, of_images
from runtime_ep_cuda.steps.product import (
    factors,
    gemm,
    multiply,
    of_floats,
)
from runtime_ep_cuda.steps.table import plans
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.steps.windows import channels_last, window_of
from runtime_ep_cuda.tensor import Tensor

MS = "com.microsoft"


def _known_activation(node: Node) -> str:
    name = node.attribute("activation")
    if not name or name in NAMES:
        return ""
    return f"{name} as an activation of {node.op_type} is not supported"


@plans("FusedMatMul", "TransposeMatMul", domain=MS, refuse=of_floats, after=True)
def fused_matmul(planner: Planner, group: Group) -> None:
    """FusedMatMul: factors transposed, batches too, and a number times the product."""
    node = anchor_of(group)
    a, b = factors(planner, node)
    a, b = _turned(node, a, "A"), _turned(node, b, "B")
    multiply(planner, group, a, b, float(node.attribute("alpha", 1.0)))


def _turned(node: Node, x: Tensor, side: str) -> Tensor:
    if x.rank < 2:
        return x
    axes = list(range(x.rank))
    if node.attribute(f"transBatch{side}", 0):
        axes = [*axes[1:-1], 0, axes[-1]]
    if node.attribute(f"trans{side}", 0):
        axes = [*axes[:-2], axes[-1], axes[-2]]
    return x.transposed(axes)


def _refuses_gemm(node: Node) -> str:
    return _known_activation(node) or of_floats(node)


@plans("FusedGemm", domain=MS, refuse=_refuses_gemm, after=True)
def fused_gemm(planner: Planner, group: Group) -> None:
    """FusedGemm: Gemm and an activation."""
    node = anchor_of(group)
    name = node.attribute("activation")
    words = ("alpha", "beta", "gamma")
    given = {word: node.attribute(f"activation_{word}") for word in words}
    stages = [activated(name, given)] if name else []
    gemm(planner, group, stages)


def _refuses_conv(node: Node) -> str:
    return _known_activation(node) or of_images(node)


def _stages(planner: Planner, node: Node, other: Tensor | None) -> list[Stage]:
    """Return what FusedConv does: a sum, and an activation with parameters in order."""
    stages = [] if other is None else [summed(other)]
    name = node.attribute("activation")
    if name:
        values = node.attribute("activation_params") or ()
        stages.append(activated(name, dict(zip(NAMES[name][1], values, strict=False))))
    return stages


@plans("FusedConv", domain=MS, refuse=_refuses_conv, after=True)
def fused_conv(planner: Planner, group: Group) -> None:
    """FusedConv: Conv, a sum and an activation."""
    node = anchor_of(group)
    value = node.input(3)
    other = None
    if value is not None:
        other = planner.typed(planner.tensor(value), planner.storage(node.outputs[0]))
    convolve(planner, group, _stages(planner, node, other))


@plans("NhwcConv", "NhwcFusedConv", domain=MS, refuse=_refuses_conv)
def nhwc_conv(planner: Planner, group: Group) -> None:
    """NhwcConv and NhwcFusedConv: channels last; of the former's filters, too."""
    node = anchor_of(group)
    dtype = planner.storage(node.outputs[0])
    x, w = (planner.typed(planner.tensor(v), dtype) for v in node.inputs[:2])
    inward = (0, x.rank - 1, *range(1, x.rank - 1))
    x = x.transposed(inward)
    if node.op_type == "NhwcConv":
        w = w.transposed(inward)
    groups = node.attribute("group", 1)
    if x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        told = f"{list(x.shape)} is not convolved by {list(w.shape)}"
        raise Unplannable(f"{told} in {groups} groups")
    window = window_of(node, x.shape[2:], w.shape[2:])
    sizes = (x.shape[0], *window.sizes, w.shape[0])
    if 0 in sizes or 0 in x.shape:
        raise Unplannable(f"a convolution of {list(x.shape)} has no elements")
    order = channels_last(x.rank)
    x, w = (planner.dense(tensor, order) for tensor in (x, w))
    y = planner.new(dtype, sizes).transposed(inward)
    operation = Convolution(
        Spec.of(x),
        Spec.of(w),
        Spec.of(y),
        window.pads_begin,
        window.pads_end,
        window.strides,
        window.dilations,
        groups,
        tf32=planner.setting.tf32 and dtype.name == "float32",
    )
    _convolved(planner, node, operation, (x, w), sizes)


def _convolved(
    planner: Planner,
    node: Node,
    operation: Convolution,
    inputs: tuple[Tensor, Tensor],
    sizes: tuple[int, ...],
) -> None:
    """Plan a convolution whose result has its channels last, and what the node adds."""
    rank, value = len(sizes), node.outputs[0]
    inward = (0, rank - 1, *range(1, rank - 1))
    dtype = planner.storage(value)
    given = node.input(3) if node.op_type == "NhwcFusedConv" else None
    other = None
    if given is not None:
        other = planner.typed(planner.tensor(given), dtype)
    stages = _stages(planner, node, other)

    def fit(operand: Tensor) -> Tensor | None:
        return operand.transposed(inward) if operand.shape == sizes else None

    made: list[Tensor] = []

    def result_for(count: int) -> tuple[Tensor, Tensor]:
        whole = count == len(stages)
        made[:] = [planner.result(value, sizes) if whole else planner.new(dtype, sizes)]
        return made[0], made[0].transposed(inward)

    bias, before = node.input(2), []
    if bias is not None:
        tensor = planner.typed(planner.tensor(bias), dtype)
        before = [channel_bias(tensor, rank)]
    after = inside.followers(stages, fit)
    done = epilogue.call(planner, operation, inputs, before, after, result_for)
    if done is None:
        raise Unplannable(f"no library convolves {list(operation.x.shape)} of {dtype}")
    if done < len(stages):
        inside.follow(planner, stages[done:], made[0], value)
