"""Every module of kernels; importing this one registers all generators."""

from runtime_ep_cpu.codegen import (
    attention,
    columns,
    convolution,
    copies,
    depthwise,
    depthwise_tile,
    elementwise,
    gemm,
    lookup,
    microkernel,
    normalization,
    pooling,
    reduction,
    resampling,
    rotary,
    softmax,
)

__all__ = [
    "attention",
    "columns",
    "convolution",
    "copies",
    "depthwise",
    "depthwise_tile",
    "elementwise",
    "gemm",
    "lookup",
    "microkernel",
    "normalization",
    "pooling",
    "reduction",
    "resampling",
    "rotary",
    "softmax",
]
