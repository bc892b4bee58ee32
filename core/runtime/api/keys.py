"""Session and run config keys: each sets something, or is accepted, or refused, with why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.errors import near


@dataclass(frozen=True, slots=True)
class Acts:
    """The key sets a field of the engine's `Settings`."""

    field: str
    read: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The key is taken and changes nothing here, for the reason given."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The key asks for something this runtime does not do."""

    reason: str


@dataclass(frozen=True, slots=True)
class Does:
    """The key is read by the façade itself, for what is told here."""

    what: str


Row = Acts | Accepted | Refused | Does


def _flag(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "on")


def _not(text: str) -> bool:
    return not _flag(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise ValueError(f"a time limit is a positive number, found {text!r}")
    return seconds


def _names(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.replace(";", ",").split(",") if word)


def _policy(text: str) -> str:
    known = ("exact", "bucket", "range")
    if text not in known:
        raise ValueError(f"expected one of {', '.join(known)}{near(text, known)}")
    return text


def _level(text: str) -> str:
    """Return how far graphs are simplified, for the number of an optimisation level."""
    levels = {"0": "none", "1": "basic", "2": "all", "3": "all", "99": "all"}
    if text not in levels:
        raise ValueError(f"expected one of {', '.join(levels)}")
    return levels[text]


_NO_PREPACK = Accepted("weights are packed once and shared; there is no knob")
_NO_MLAS = Accepted("MLAS is not used here")
_NO_ORT_FORMAT = Refused("the .ort flatbuffer format is not read; use the .onnx model")
_FORMAT = Accepted("models are ONNX protobuf")
_QDQ = Accepted("quantised models run as the standard says, without rewriting")

_SPIN = Accepted("workers spin as long as pays, then sleep")
_MOE = Accepted("experts are not moved between devices")
_LOG = Accepted("SessionOptions has attributes for logging")

SESSION_KEYS: Mapping[str, Row] = {
    "session.intra_op_num_threads": Acts("intra_op_threads", int),
    "session.inter_op_num_threads": Accepted("a model is a straight list of steps"),
    "session.use_per_session_threads": Accepted("one pool serves the process"),
    "session.enable_cpu_mem_arena": Acts("arena", _flag),
    "session.enable_profiling": Acts("profiling", _flag),
    "session.graph_optimization_level": Acts("passes", _level),
    "session.use_deterministic_compute": Accepted(
        "results are bitwise the same whatever the threads"
    ),
    "session.enable_mem_pattern": Accepted("memory is always planned"),
    "session.execution_mode": Accepted("a model is a straight list of steps"),
    "session.log_id": _LOG,
    "session.log_severity_level": _LOG,
    "session.log_verbosity_level": _LOG,
    "session.optimized_model_filepath": Accepted(
        "SessionOptions has an attribute for it"
    ),
    "session.intra_op.spin_duration_us": _SPIN,
    "session.intra_op.spin_backoff_max": _SPIN,
    "session.inter_op.spin_duration_us": _SPIN,
    "session.inter_op.spin_backoff_max": _SPIN,
    "session.collect_node_memory_stats_to_file": Accepted("use runtime profile"),
    "session.debug_layout_transformation": Accepted("layouts belong to providers"),
    "session.enable_moe_expert_counting": _MOE,
    "session.enable_moe_expert_statistics": _MOE,
    "session.moe_expert_counter_alpha": _MOE,
    "session.moe_expert_counter_beta": _MOE,
    "session.moe_expert_counter_state_file": _MOE,
    "session.moe.": _MOE,
    "session.gqa_value_layout": Accepted("layouts belong to providers"),
    "session.kernel_dispatch_policy": Accepted("providers choose their kernels"),
    "session.enable_saved_runtime_optimizations": Accepted(
        "the compile cache has what was compiled"
    ),
    "session.fail_on_suboptimal_compiled_model": Accepted(
        "compiled code that does not fit is compiled anew"
    ),
    "session.resource_cuda_partitioning_settings": Accepted(
        "the cost rule decides what pays"
    ),
    "session.strict_workspace_verification": Accepted("providers plan their memory"),
    "session.use_external_initializer_file_buffers_directly": Accepted(
        "given buffers are never copied"
    ),
    "session.external_data_loader.": Accepted("weights are read as they are needed"),
    "session.strict": Acts("fallback", lambda v: "error" if _flag(v) else "warn"),
    "session.disable_cpu_ep_fallback": Acts("host_fallback", _not),
    "session.record_ep_graph_assignment_info": Accepted("placement is always recorded"),
    "session.model_external_initializers_file_folder_path": Acts(
        "external_data_directory", str
    ),
    "session.function_expansion_node_limit": Acts("function_node_limit", int),
    "session.intra_op.allow_spinning": _SPIN,
    "session.inter_op.allow_spinning": Accepted("there is one pool"),
    "session.use_env_allocators": Accepted("memory is shared in the process already"),
    "session.shape_policy": Acts("shape_policy", _policy),
    "session.cost_rule": Acts("cost_rule", _flag),
    "session.hang_warning_seconds": Acts("hang_warning", float),
    "session.cache": Acts("cache", _flag),
    "session.cache_directory": Acts("cache_directory", str),
    "session.maximum_result_bytes": Acts("maximum_bytes", int),
    "optimization.disable_specified_optimizers": Acts("disabled_passes", _names),
    "optimization.enable_gelu_approximation": Accepted("Gelu is exact here"),
    "optimization.enable_cast_chain_elimination": Accepted(
        "cast chains are simplified"
    ),
    "optimization.minimal_build_optimizations": _FORMAT,
    "optimization.constant_folding_max_output_size_in_bytes": Accepted(
        "folding never makes a result much larger than its inputs"
    ),
    "session.disable_prepacking": _NO_PREPACK,
    "session.prepack.enable_parallel": _NO_PREPACK,
    "session.save_external_prepacked_constant_initializers": _NO_PREPACK,
    "session.disable_quant_qdq": _QDQ,
    "session.disable_double_qdq_remover": _QDQ,
    "session.enable_quant_qdq_cleanup": _QDQ,
    "session.disable_qdq_constant_folding": _QDQ,
    "session.qdqisint8allowed": _QDQ,
    "session.x64quantprecision": _QDQ,
    "session.qdq_matmulnbits_accuracy_level": _QDQ,
    "session.qdq_matmulnbits_block_size": _QDQ,
    "session.enable_dq_matmulnbits_fusion": _QDQ,
    "session.disable_aot_function_inlining": Accepted("functions are always inlined"),
    "session.function_expansion_byte_limit": Accepted("the node limit bounds it"),
    "session.strict_shape_type_inference": Accepted("types are always checked"),
    "session.allow_released_opsets_only": Accepted("the onnx package decides"),
    "session.graph_optimizations_loop_level": Accepted("passes run until stable"),
    "session.max_shape_override": Accepted("use free dimension overrides"),
    "session.use_device_allocator_for_initializers": Accepted("providers hold weights"),
    "session.use_ort_model_bytes_directly": Accepted("given bytes are never copied"),
    "session.use_ort_model_bytes_for_initializers": Accepted(
        "weights are views of the given bytes"
    ),
    "session.use_memory_mapped_ort_model": Accepted(
        "files below 1 MiB are read at once, up to 256 MiB piece by piece, larger ones mapped"
    ),
    "session.load_model_format": _FORMAT,
    "session.save_model_format": _FORMAT,
    "session.optimized_model_external_initializers_file_name": Accepted(
        "the optimized model is written in one file"
    ),
    "session.optimized_model_external_initializers_min_size_in_bytes": Accepted(
        "the optimized model is written in one file"
    ),
    "session.set_denormal_as_zero": Accepted("denormals are kept, as ONNX says"),
    "session.dynamic_block_base": Accepted("work is split by shape"),
    "session.force_spinning_stop": Accepted("workers sleep after each run"),
    "session.intra_op_thread_affinities": Accepted(
        "the process's affinity is respected"
    ),
    "session.disable_model_compile": Accepted("there is nothing to compile ahead"),
    "session.node_partition_config_file": Refused(
        "choose providers by their order; explain() shows the result"
    ),
    "session.layer_assignment_settings": Refused("providers choose nodes themselves"),
    "session.name_based_layer_assignment": Refused("providers choose nodes themselves"),
    "session.compile_only": Refused("use runtime compile"),
    "ep.context_enable": Does(
        "has the session write its model compiled, as ModelCompiler does"
    ),
    "ep.context_file_path": Does("where the compiled model is written"),
    "ep.context_embed_mode": Accepted("compiled data is always within the model"),
    "ep.context_source_model_path": Accepted("compiled data is within the model"),
    "ep.context_node_name_prefix": Accepted("partitions have names of their own"),
    "ep.context_model_external_initializers_file_name": Accepted(
        "use ModelCompiler, which has an argument for it"
    ),
    "ep.enable_weightless": Accepted("providers hold weights"),
    "ep.enable_weightless_ep_context_nodes": Accepted("providers hold weights"),
    "ep.enable_weightless_mode": Accepted("providers hold weights"),
    "ep.cpu.": Accepted("the CPU provider has options of its own"),
    "ep.cuda.": Accepted("the CUDA provider has options of its own"),
    "ep.share_ep_contexts": Accepted("compiled code is shared by the cache"),
    "ep.stop_share_ep_contexts": Accepted("compiled code is shared by the cache"),
    "mlas.": _NO_MLAS,
}
"""What each key does; one that ends in a dot stands for all that begin so."""


def row_of(key: str) -> Row | None:
    """Return what is known of a session's config key."""
    found = SESSION_KEYS.get(key)
    while found is None and "." in key:
        key = key.rstrip(".").rpartition(".")[0] + "."
        if key == ".":
            break
        found = SESSION_KEYS.get(key)
    return found


MAXIMUM_SECONDS = "run.maximum_seconds"

RUN_KEYS: Mapping[str, Acts | Accepted] = {
    MAXIMUM_SECONDS: Acts("the time after which the run is stopped", _seconds),
    "memory.enable_memory_arena_shrinkage": Accepted("use session.trim()"),
    "disable_synchronize_execution_providers": Accepted("values come finished"),
    "gpu_graph_id": Accepted("graphs are captured by shape"),
}

DYNAMIC_KEYS: Mapping[str, Accepted] = {
    "ep.dynamic.workload_type": Accepted("the operating system's priorities decide"),
}
