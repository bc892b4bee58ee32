"""Providers that onnxruntime knows by name: their options, and how to get them here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from runtime.providers import HOST_ALIAS, Elsewhere, registry, resolve

logger = logging.getLogger("runtime")

_CUDA = """device_id gpu_mem_limit arena_extend_strategy cudnn_conv_algo_search
do_copy_in_default_stream cudnn_conv_use_max_workspace cudnn_conv1d_pad_to_nc1d
enable_cuda_graph tunable_op_enable tunable_op_tuning_enable
tunable_op_max_tuning_duration_ms enable_skip_layer_norm_strict_mode prefer_nhwc
use_ep_level_unified_stream use_tf32 fuse_conv_bias sdpa_kernel user_compute_stream
has_user_compute_stream gpu_external_alloc gpu_external_free gpu_external_empty_cache
enable_cudnn"""

_TENSORRT = """device_id user_compute_stream has_user_compute_stream
trt_max_partition_iterations trt_min_subgraph_size trt_max_workspace_size
trt_fp16_enable trt_bf16_enable trt_int8_enable trt_int8_calibration_table_name
trt_int8_use_native_calibration_table trt_dla_enable trt_dla_core
trt_engine_cache_enable trt_engine_cache_path trt_engine_cache_prefix
trt_timing_cache_enable trt_timing_cache_path trt_force_timing_cache
trt_engine_hw_compatible trt_engine_decryption_enable trt_engine_decryption_lib_path
trt_weight_stripped_engine_enable trt_onnx_model_folder_path trt_onnx_bytestream
trt_onnx_bytestream_size trt_external_data_bytestream trt_external_data_bytestream_size
trt_load_user_initializer trt_dump_ep_context_model trt_ep_context_file_path
trt_ep_context_embed_mode trt_profile_min_shapes trt_profile_opt_shapes
trt_profile_max_shapes trt_builder_optimization_level trt_auxiliary_streams
trt_tactic_sources trt_extra_plugin_lib_paths trt_context_memory_sharing_enable
trt_layer_norm_fp32_fallback trt_force_sequential_engine_build
trt_build_heuristics_enable trt_sparsity_enable trt_detailed_build_log
trt_dump_subgraphs trt_cuda_graph_enable trt_op_types_to_exclude trt_preview_features
trt_strict_type_constraints"""

_COREML = """ModelFormat MLComputeUnits RequireStaticInputShapes EnableOnSubgraphs
SpecializationStrategy ProfileComputePlan AllowLowPrecisionAccumulationOnGPU
ModelCacheDirectory"""

_OPENVINO = """device_type device_id device_luid precision num_of_threads num_streams
cache_dir load_config context enable_opencl_throttling disable_dynamic_shapes
enable_qdq_optimizer enable_causallm model_priority reshape_input layout"""

_DML = "device_id performance_preference device_filter disable_metacommands"

_MIGRAPHX = """device_id migraphx_fp16_enable migraphx_bf16_enable migraphx_fp8_enable
migraphx_int8_enable migraphx_int8_calibration_table_name
migraphx_int8_use_native_calibration_table migraphx_exhaustive_tune migraphx_mem_limit
migraphx_arena_extend_strategy migraphx_external_alloc migraphx_external_free
migraphx_external_empty_cache migraphx_model_cache_dir migraphx_max_dynamic_batch
migraphx_max_compiled_models"""

_ROCM = """device_id gpu_mem_limit arena_extend_strategy miopen_conv_exhaustive_search
miopen_conv_use_max_workspace do_copy_in_default_stream user_compute_stream
has_user_compute_stream enable_hip_graph tunable_op_enable tunable_op_tuning_enable
tunable_op_max_tuning_duration_ms gpu_external_alloc gpu_external_free
gpu_external_empty_cache"""

_PLUGIN = "install a distribution that offers it (entry point group runtime.ep)"

# name (without the suffix) → (options or None where the set is open, platform or "")
_KNOWN: Mapping[str, tuple[str | None, str]] = {
    "NvTensorRTRTX": (None, ""),
    "Tensorrt": (_TENSORRT, ""),
    "CUDA": (_CUDA, ""),
    "MIGraphX": (_MIGRAPHX, ""),
    "ROCM": (_ROCM, ""),
    "OpenVINO": (_OPENVINO, ""),
    "Dnnl": (None, ""),
    "VitisAI": (None, ""),
    "QNN": (None, ""),
    "Nnapi": ("", "Android"),
    "VSINPU": (None, ""),
    "Js": (None, "a browser"),
    "CoreML": (_COREML, "macOS"),
    "ACL": ("enable_fast_math", ""),
    "Acl": ("enable_fast_math", ""),
    "Dml": (_DML, "Windows"),
    "Rknpu": (None, ""),
    "WebNN": (None, "a browser"),
    "WebGpu": (None, ""),
    "Xnnpack": (None, ""),
    "CANN": (None, ""),
    "Azure": (None, ""),
}
_PLATFORMS = {"macOS": "darwin", "Windows": "win32"}
SUFFIX = "ExecutionProvider"


def elsewhere() -> dict[str, Elsewhere]:
    """Return the known providers that are not installed, with reason and remedy."""
    import sys

    found = {}
    installed = registry.all()
    for short, (options, platform) in _KNOWN.items():
        name = short + SUFFIX
        if name in installed:
            continue
        reason = "it is not installed"
        if platform and _PLATFORMS.get(platform) != sys.platform:
            reason = f"it runs on {platform} only"
        names = None if options is None else frozenset(options.split())
        found[name] = Elsewhere(_PLUGIN, reason, names)
    return found


def that_act(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a provider's options without those that have no effect on the host.

    onnxruntime takes any option for the host's provider, and programs give it those of
    others. Such a one is logged and left out; one that no provider knows stays, to be
    refused as the mistake it is.
    """
    entry = resolve(name)
    if entry is None or HOST_ALIAS not in entry.info.aliases:
        return dict(options)
    foreign = {key for key in options if key not in entry.info.options} & _foreign()
    for key in sorted(foreign):
        logger.info("option %s has no effect on %s", key, entry.name)
    return {key: value for key, value in options.items() if key not in foreign}


@cache
def _foreign() -> frozenset[str]:
    """Return the options that onnxruntime's providers have."""
    known = (options for options, _ in _KNOWN.values() if options)
    return frozenset(word for options in known for word in options.split()) | {
        "use_arena"
    }


def all_names() -> list[str]:
    """Return every provider name that is known or installed, the host's last."""
    installed = registry.all()
    names = [short + SUFFIX for short in _KNOWN if short != "Acl"]
    names += [name for name in installed if name not in names]
    host = [name for name in names if "cpu" in _aliases(name)]
    return [name for name in names if name not in host] + host


def _aliases(name: str) -> tuple[str, ...]:
    entry = registry.all().get(name)
    return entry.info.aliases if entry is not None else ()
