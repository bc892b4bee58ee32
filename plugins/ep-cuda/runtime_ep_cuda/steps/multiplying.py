"""Conv, MatMul and Gemm: of int8 where dequantized bytes are multiplied, else of floats."""

from __future__ import annotations

from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps import whole_images, whole_products
from runtime_ep_cuda.steps.convolution import convolve, of_images
from runtime_ep_cuda.steps.elementwise import compute
from runtime_ep_cuda.steps.product import gemm, matmul, of_floats
from runtime_ep_cuda.steps.table import plans


def _dequantized(planner: Planner, group: Group) -> None:
    """Write dequantized operands, where nobody has."""
    for node in group.before:
        if not planner.has(node.outputs[0]):
            compute(planner, [node], node.outputs[:1])


@plans("Conv", refuse=of_images, after=True, quantized=True)
def plan_convolution(planner: Planner, group: Group) -> None:
    """Conv of one, two or three axes."""
    if not whole_images.convolved(planner, group):
        _dequantized(planner, group)
        convolve(planner, group)


@plans("MatMul", refuse=of_floats, after=True, quantized=True)
def plan_matmul(planner: Planner, group: Group) -> None:
    """MatMul, broadcast over batches."""
    if not whole_products.multiplied(planner, group):
        _dequantized(planner, group)
        matmul(planner, group)


@plans("Gemm", refuse=of_floats, since=7, after=True, quantized=True)
def plan_gemm(planner: Planner, group: Group) -> None:
    """Gemm: a product, a number times it, and a sum."""
    if not whole_products.multiplied(planner, group):
        _dequantized(planner, group)
        gemm(planner, group)
