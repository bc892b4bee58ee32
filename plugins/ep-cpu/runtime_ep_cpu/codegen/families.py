"""Every module of kernels; importing this one registers all generators."""

from runtime_ep_cpu.codegen import (
    attention,
    columns,
    copies,
    elementwise,
    gemm,
    lookup,
    microkernel,
    normalization,
    reduction,
    rotary,
    softmax,
)

__all__ = [
    "attention",
    "columns",
    "copies",
    "elementwise",
    "gemm",
    "lookup",
    "microkernel",
    "normalization",
    "reduction",
    "rotary",
    "softmax",
]
