"""What is known of the CUDA provider without importing CuPy or touching the driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.plugin import Option, ProviderInfo

from runtime_ep_cuda.options import NO_LIMIT, read_address
from runtime_ep_cuda.probe import probe


def _at_least(limit: int) -> Callable[[Any], None]:
    def check(value: int) -> None:
        if value < limit:
            raise ValueError(f"expected {limit} or more")

    return check


def _address(value: str) -> None:
    read_address(value)


def _unused(kind: type, default: Any, why: str) -> Option:
    return Option(kind, default, f"Accepted without effect: {why}.")


_PRECISIONS = ("", "fp32", "tf32", "fp16", "bf16")
_SPELLINGS = {
    "float32": "fp32", "f32": "fp32", "float16": "fp16", "f16": "fp16", "half": "fp16",
    "bfloat16": "bf16",
}  # fmt: skip

OPTIONS = {
    "device_id": Option(int, 0, "The GPU, as CUDA counts them.", check=_at_least(0)),
    "precision": Option(
        _PRECISIONS,
        "",
        "What float32 values are computed in. Empty is float32, its products by TF32 where "
        "`use_tf32` is on; `fp32` is float32 without, and `tf32` with TF32. `fp16` and "
        "`bf16` keep them in 16 bits and add up in float32, except where that would lose "
        "range.",
        aliases={name.upper(): name for name in _PRECISIONS if name} | _SPELLINGS,
    ),
    "use_tf32": Option(
        bool,
        True,
        "Let tensor cores round the factors of float32 products to 10 bits of mantissa.",
    ),
    "gpu_mem_limit": Option(
        int,
        NO_LIMIT,
        "Bytes of device memory that the session may take: weights, arena, workspace and "
        "results. What a plan needs is known before it runs, and more than the limit is an "
        "error that says what is held. 0 is no limit, too.",
        check=_at_least(0),
    ),
    "arena_extend_strategy": Option(
        ("kNextPowerOfTwo", "kSameAsRequested"),
        "kNextPowerOfTwo",
        "How memory grows: by regions that double, or by what is asked for.",
        aliases={"0": "kNextPowerOfTwo", "1": "kSameAsRequested"},
    ),
    "enable_cuda_graph": Option(
        bool,
        True,
        "Record what a run does, once for each combination of shapes, and replay it. "
        "onnxruntime's default is off, since there inputs and outputs must be bound.",
    ),
    "prefer_nhwc": Option(
        bool,
        True,
        "Keep images channels last between convolutions; the model's own layout is changed "
        "at the edges. onnxruntime's default is off.",
    ),
    "cudnn_conv_algo_search": Option(
        ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
        "EXHAUSTIVE",
        "How a way is chosen for convolutions, products and attention: all are timed once "
        "and the choice is kept on disk, or the libraries' first proposal is taken "
        "(`HEURISTIC` and `DEFAULT`).",
    ),
    "cudnn_conv_use_max_workspace": Option(
        bool, True, "Let libraries have any scratch memory they want; else 32 MiB."
    ),
    "enable_cudnn": Option(
        bool, True, "Use cuDNN; without it, only cuBLAS and the provider's own kernels."
    ),
    "user_compute_stream": Option(
        str,
        "",
        "The address of a CUDA stream, as text; runs are put into it.",
        check=_address,
    ),
    "has_user_compute_stream": Option(
        bool, False, "Whether `user_compute_stream` is given even if it is 0."
    ),
    "gpu_external_alloc": Option(
        str, "", "The address of `void* (size_t)`: a caller's allocator.", check=_address
    ),
    "gpu_external_free": Option(
        str, "", "The address of `void (void*)`, which goes with it.", check=_address
    ),
    "gpu_external_empty_cache": Option(
        str, "", "The address of `void ()`, called when memory is given back.",
        check=_address,
    ),
    "do_copy_in_default_stream": _unused(
        bool, True, "copies are ordered with the work that needs them either way"
    ),
    "cudnn_conv1d_pad_to_nc1d": _unused(
        bool, False, "a convolution over one axis is given to cuDNN as it is"
    ),
    "fuse_conv_bias": _unused(
        bool, False, "biases, activations and residuals are always fused where cuDNN can"
    ),
    "enable_skip_layer_norm_strict_mode": _unused(
        bool, False, "normalizations always add up in float32"
    ),
    "sdpa_kernel": _unused(int, 0, "the fastest way of doing attention is measured"),
    "tunable_op_enable": _unused(
        bool, False, "`cudnn_conv_algo_search` says what is measured"
    ),
    "tunable_op_tuning_enable": _unused(
        bool, False, "`cudnn_conv_algo_search` says what is measured"
    ),
    "tunable_op_max_tuning_duration_ms": _unused(
        int, 0, "`cudnn_conv_algo_search` says what is measured"
    ),
    "use_ep_level_unified_stream": _unused(
        bool, False, "a session's work on a device has one stream"
    ),
}  # fmt: skip
"""onnxruntime's options of this provider, one of our own, and what they mean here."""

info = ProviderInfo(
    name="CUDAExecutionProvider",
    aliases=("cuda",),
    vendor="NVIDIA",
    description="NVIDIA GPUs, by generated kernels, cuDNN and cuBLAS in CUDA graphs",
    url="https://developer.nvidia.com/cuda",
    version="1.0.0",
    options=OPTIONS,
    device_kinds=("cuda",),
    install="pip install runtime-ep-cuda",
    probe=probe,
    flops=2e13,
    bandwidth=1e10,
    overhead=3e-5,
)
"""The description. ``flops``, ``bandwidth`` and ``overhead`` are assumptions, not measured."""
