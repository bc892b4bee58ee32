"""Every module of kernels; importing this one registers all generators."""

from runtime_ep_cpu.codegen import (
    columns,
    copies,
    elementwise,
    gemm,
    lookup,
    microkernel,
    normalization,
    reduction,
    softmax,
)

__all__ = [
    "columns",
    "copies",
    "elementwise",
    "gemm",
    "lookup",
    "microkernel",
    "normalization",
    "reduction",
    "softmax",
]
