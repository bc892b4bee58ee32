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


_NO_PREPACK = Accepted("weights are packed once and shared; there is no knob")
_NO_MLAS = Accepted("MLAS is not used here")
_NO_ORT_FORMAT = Refused("the .ort flatbuffer format is not read; use the .onnx model")
_FORMAT = Accepted("models are ONNX protobuf")
_QDQ = Accepted("quantised models run as the standard says, without rewriting")

SESSION_KEYS: Mapping[str, Acts | Accepted | Refused] = {
    "session.strict": Acts("fallback", lambda v: "error" if _flag(v) else "warn"),
    "session.disable_cpu_ep_fallback": Acts("host_fallback", _not),
    "session.record_ep_graph_assignment_info": Accepted("placement is always recorded"),
    "session.model_external_initializers_file_folder_path": Acts(
        "external_data_directory", str
    ),
    "session.function_expansion_node_limit": Acts("function_node_limit", int),
    "session.intra_op.allow_spinning": Acts("thread_spinning", _flag),
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
    "ep.context_enable": Accepted("no provider in this release writes EPContext nodes"),
    "ep.context_file_path": Accepted(
        "no provider in this release writes EPContext nodes"
    ),
    "ep.context_embed_mode": Accepted(
        "no provider in this release writes EPContext nodes"
    ),
    "ep.share_ep_contexts": Accepted("compiled code is shared by the cache"),
    "ep.stop_share_ep_contexts": Accepted("compiled code is shared by the cache"),
    "mlas.disable_kleidiai": _NO_MLAS,
    "mlas.use_lut_gemm": _NO_MLAS,
    "mlas.qnbit.force_fp32": _NO_MLAS,
}

MAXIMUM_SECONDS = "run.maximum_seconds"

RUN_KEYS: Mapping[str, Acts | Accepted] = {
    MAXIMUM_SECONDS: Acts("the time after which the run is stopped", _seconds),
    "memory.enable_memory_arena_shrinkage": Accepted("use session.trim()"),
    "disable_synchronize_execution_providers": Accepted("values come finished"),
    "gpu_graph_id": Accepted("graphs are captured by shape"),
}
