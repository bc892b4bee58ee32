"""What each option means to TensorRT 10 and to 11, for the provider's page."""

from __future__ import annotations

from collections.abc import Mapping

_OURS = "the runtime's own"
_GONE = "no such thing any more"

MEANINGS: Mapping[str, tuple[str, str]] = {
    "device_id": (_OURS, _OURS),
    "user_compute_stream": ("`execute_async_v3`", "`execute_async_v3`"),
    "has_user_compute_stream": (_OURS, _OURS),
    "trt_max_partition_iterations": ("`supports_model_v2`", "`supports_model_v2`"),
    "trt_min_subgraph_size": (_OURS, _OURS),
    "trt_max_workspace_size": ("`MemoryPoolType.WORKSPACE`", "`MemoryPoolType.WORKSPACE`"),
    "trt_fp16_enable": (
        "casts in the model, and `STRONGLY_TYPED`",
        "casts in the model; every network is strongly typed",
    ),
    "trt_bf16_enable": ("the same", "the same"),
    "trt_int8_enable": ("the model's Q and DQ nodes", "the model's Q and DQ nodes"),
    "trt_int8_calibration_table_name": ("refused", f"refused: {_GONE}"),
    "trt_int8_use_native_calibration_table": ("refused", f"refused: {_GONE}"),
    "trt_dla_enable": (
        "`DeviceType.DLA` and `GPU_FALLBACK`", "`DeviceType.DLA` and `GPU_FALLBACK`",
    ),
    "trt_dla_core": ("`DLA_core`", "`DLA_core`"),
    "trt_engine_cache_enable": (_OURS, _OURS),
    "trt_engine_cache_path": (_OURS, _OURS),
    "trt_engine_cache_prefix": (_OURS, _OURS),
    "trt_timing_cache_enable": ("`set_timing_cache`", "`set_timing_cache`"),
    "trt_timing_cache_path": (_OURS, _OURS),
    "trt_force_timing_cache": ("`ignore_mismatch`", "`ignore_mismatch`"),
    "trt_engine_hw_compatible": ("`AMPERE_PLUS`", "`AMPERE_PLUS`"),
    "trt_engine_decryption_enable": ("refused", "refused"),
    "trt_engine_decryption_lib_path": ("refused", "refused"),
    "trt_weight_stripped_engine_enable": (
        "`STRIP_PLAN`, `OnnxParserRefitter`", "`STRIP_PLAN`, `OnnxParserRefitter`",
    ),
    "trt_onnx_model_folder_path": ("`refit_from_bytes`", "`refit_from_bytes`"),
    "trt_onnx_bytestream": ("`refit_from_bytes`", "`refit_from_bytes`"),
    "trt_onnx_bytestream_size": ("`refit_from_bytes`", "`refit_from_bytes`"),
    "trt_external_data_bytestream": ("refused", "refused"),
    "trt_external_data_bytestream_size": ("refused", "refused"),
    "trt_load_user_initializer": ("`load_initializer`", "`load_initializer`"),
    "trt_dump_ep_context_model": ("warned about", "warned about"),
    "trt_ep_context_file_path": (_OURS, _OURS),
    "trt_ep_context_embed_mode": ("without effect", "without effect"),
    "trt_profile_min_shapes": ("`IOptimizationProfile`", "`IOptimizationProfile`"),
    "trt_profile_opt_shapes": ("`IOptimizationProfile`", "`IOptimizationProfile`"),
    "trt_profile_max_shapes": ("`IOptimizationProfile`", "`IOptimizationProfile`"),
    "trt_builder_optimization_level": (
        "`builder_optimization_level`", "`builder_optimization_level`",
    ),
    "trt_auxiliary_streams": ("`max_aux_streams`", "`max_aux_streams`"),
    "trt_tactic_sources": (
        "`set_tactic_sources`",
        "the same; `CUBLAS`, `CUBLAS_LT` and `CUDNN` are left out, with a warning",
    ),
    "trt_extra_plugin_lib_paths": ("`load_library`", "`load_library`"),
    "trt_context_memory_sharing_enable": ("`USER_MANAGED`", "`USER_MANAGED`"),
    "trt_layer_norm_fp32_fallback": ("casts in the model", "casts in the model"),
    "trt_force_sequential_engine_build": ("without effect", "without effect"),
    "trt_build_heuristics_enable": ("warned about", f"warned about: {_GONE}"),
    "trt_sparsity_enable": ("`SPARSE_WEIGHTS`", "`SPARSE_WEIGHTS`"),
    "trt_detailed_build_log": ("`ProfilingVerbosity.DETAILED`",) * 2,
    "trt_dump_subgraphs": (_OURS, _OURS),
    "trt_cuda_graph_enable": ("a captured `execute_async_v3`",) * 2,
    "trt_op_types_to_exclude": (_OURS, _OURS),
    "trt_preview_features": (
        "`set_preview_feature`",
        "the same; features that are no more are left out, with a warning",
    ),
    "trt_strict_type_constraints": (
        "always so: `STRONGLY_TYPED`; deprecated", "always so; deprecated",
    ),
    "version_compatible": ("`VERSION_COMPATIBLE`", "`VERSION_COMPATIBLE`"),
    "fp32_operators": ("casts in the model", "casts in the model"),
    "fp32_nodes": ("casts in the model", "casts in the model"),
}  # fmt: skip
