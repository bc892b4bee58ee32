"""What is known of the TensorRT provider without importing TensorRT."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from runtime.plugin import Option, ProviderInfo

from runtime_ep_tensorrt import spellings
from runtime_ep_tensorrt.probe import probe

NAME = "TensorrtExecutionProvider"


def _at_least(limit: int) -> Callable[[Any], None]:
    def check(value: int) -> None:
        if value < limit:
            raise ValueError(f"expected {limit} or more")

    return check


def _within(low: int, high: int) -> Callable[[Any], None]:
    def check(value: int) -> None:
        if not low <= value <= high:
            raise ValueError(f"expected {low} to {high}")

    return check


def _readable(read: Callable[[str], object]) -> Callable[[Any], None]:
    def check(value: str) -> None:
        read(value)

    return check


def _refused(why: str) -> Callable[[Any], None]:
    """Refuse anything but the default, which is empty, 0 or false."""

    def check(value: Any) -> None:
        if value:
            raise ValueError(why)

    return check


def _warned(message: str, kind: type[Warning] = UserWarning) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if value:
            warnings.warn(f"{NAME}: {message}", kind, stacklevel=2)

    return check


_NO_TABLES = (
    "TensorRT 11 has no calibration; quantise the model instead, with QuantizeLinear and "
    "DequantizeLinear nodes (onnxruntime.quantization writes them), and leave this out"
)
_NO_DECRYPTION = (
    "engines are not decrypted here; decrypt the file first, and keep it where others "
    "cannot read it"
)
_NO_EXTERNAL_BYTES = (
    "external weights are read from files; name their folder with "
    "trt_onnx_model_folder_path"
)

OPTIONS = {
    "device_id": Option(int, 0, "The GPU, as CUDA counts them.", check=_at_least(0)),
    "user_compute_stream": Option(
        str,
        "",
        "The address of a CUDA stream, as text; runs are put into it.",
        check=_readable(spellings.read_address),
    ),
    "has_user_compute_stream": Option(
        bool, False, "Whether `user_compute_stream` is given even if it is 0."
    ),
    "trt_max_partition_iterations": Option(
        int,
        1000,
        "How often regions that the parser refuses are cut smaller and asked about again.",
        check=_at_least(0),
    ),
    "trt_min_subgraph_size": Option(
        int, 1, "The least number of nodes that an engine is built for.",
        check=_at_least(1),
    ),
    "trt_max_workspace_size": Option(
        int, 0, "Bytes of scratch memory for tactics; 0 is all that the GPU has.",
        check=_at_least(0),
    ),
    "trt_fp16_enable": Option(
        bool, False, "Compute float32 subgraphs in float16, except where that would spoil "
        "them (see Precision).",
    ),
    "trt_bf16_enable": Option(bool, False, "The same in bfloat16."),
    "trt_int8_enable": Option(
        bool, False, "Run quantised models in 8 bits: those with `QuantizeLinear` and "
        "`DequantizeLinear`. Without such nodes it says so and has no effect.",
    ),
    "trt_int8_calibration_table_name": Option(
        str, "", "Refused unless empty: calibration tables are no more.",
        check=_refused(_NO_TABLES),
    ),
    "trt_int8_use_native_calibration_table": Option(
        bool, False, "Refused unless false, likewise.", check=_refused(_NO_TABLES)
    ),
    "trt_dla_enable": Option(
        bool, False, "Build for a deep learning accelerator; the rest runs on the GPU."
    ),
    "trt_dla_core": Option(int, 0, "Which accelerator.", check=_at_least(0)),
    "trt_engine_cache_enable": Option(
        bool, False, "Keep engines as files under onnxruntime's names. Off, they are kept "
        "in the runtime's compile cache.",
    ),
    "trt_engine_cache_path": Option(
        str, "", "The folder of these files; empty is `tensorrt` in the compile cache's."
    ),
    "trt_engine_cache_prefix": Option(
        str, "", "What the names of these files begin with, in place of the provider's."
    ),
    "trt_timing_cache_enable": Option(
        bool, False, "Keep what timing tactics has told, for later builds."
    ),
    "trt_timing_cache_path": Option(
        str, "", "The folder of the timing cache; empty is that of engines."
    ),
    "trt_force_timing_cache": Option(
        bool, False, "Use a timing cache of another GPU of the same compute capability."
    ),
    "trt_engine_hw_compatible": Option(
        bool, False, "Build engines for every GPU from Ampere on, somewhat slower."
    ),
    "trt_engine_decryption_enable": Option(
        bool, False, "Refused unless false: engines are not decrypted here.",
        check=_refused(_NO_DECRYPTION),
    ),
    "trt_engine_decryption_lib_path": Option(
        str, "", "Refused unless empty, likewise.", check=_refused(_NO_DECRYPTION)
    ),
    "trt_weight_stripped_engine_enable": Option(
        bool, False, "Keep engines without weights, which are put in from the model when "
        "an engine is loaded.",
    ),
    "trt_onnx_model_folder_path": Option(
        str, "", "Where the model lies that a compiled one takes its weights from."
    ),
    "trt_onnx_bytestream": Option(
        str, "0", "The address of that model in memory, as text.",
        check=_readable(spellings.read_address),
    ),
    "trt_onnx_bytestream_size": Option(int, 0, "Its bytes.", check=_at_least(0)),
    "trt_external_data_bytestream": Option(
        str, "", "Refused unless empty: external weights are read from files.",
        check=_refused(_NO_EXTERNAL_BYTES),
    ),
    "trt_external_data_bytestream_size": Option(
        int, 0, "Refused unless 0, likewise.", check=_refused(_NO_EXTERNAL_BYTES)
    ),
    "trt_load_user_initializer": Option(
        bool, False, "Hand weights to the parser apart from the model. Beyond 2 GB that is "
        "done anyhow.",
    ),
    "trt_dump_ep_context_model": Option(
        bool, False, "Accepted with a warning: `runtime compile` and `ep.context_enable` "
        "write compiled models.",
        check=_warned(
            "trt_dump_ep_context_model writes nothing; set ep.context_enable, or use "
            "`runtime compile`"
        ),
    ),
    "trt_ep_context_file_path": Option(
        str, "", "The compiled model that is opened, where it is given as bytes: engines "
        "that lie beside it are looked for there.",
    ),
    "trt_ep_context_embed_mode": Option(
        int, 0, "Accepted without effect: engines are written into the model. Models with "
        "either are read.", check=_within(0, 1),
    ),
    "trt_profile_min_shapes": Option(
        str, "", "The least shapes of inputs: `x:1x3x224x224,y:1x64`. An input may come "
        "several times, once for each profile.",
        check=_readable(spellings.read_shapes),
    ),
    "trt_profile_opt_shapes": Option(
        str, "", "The shapes to be fastest for.", check=_readable(spellings.read_shapes)
    ),
    "trt_profile_max_shapes": Option(
        str, "", "The largest shapes. Either all three are given, or none: then an engine "
        "is built for the shapes seen, and again when others come.",
        check=_readable(spellings.read_shapes),
    ),
    "trt_builder_optimization_level": Option(
        int, 3, "How long is searched for fast tactics, 0 to 5.", check=_within(0, 5)
    ),
    "trt_auxiliary_streams": Option(
        int, -1, "Streams beside the main one; -1 leaves it to TensorRT, 0 takes least "
        "memory.", check=_at_least(-1),
    ),
    "trt_tactic_sources": Option(
        str, "", "Sources of tactics, on or off: `-JIT_CONVOLUTIONS`. Those that TensorRT "
        "has dropped are left out with a warning.",
        check=_readable(spellings.read_tactics),
    ),
    "trt_extra_plugin_lib_paths": Option(
        str, "", "Libraries of TensorRT plugins to load, between semicolons."
    ),
    "trt_context_memory_sharing_enable": Option(
        bool, False, "Let all engines of a session use one block of working memory; they "
        "then run one after another.",
    ),
    "trt_layer_norm_fp32_fallback": Option(
        bool, False, "Keep normalisations and softmax in float32 in halves, too."
    ),
    "trt_force_sequential_engine_build": Option(
        bool, False, "Accepted without effect: engines are built one after another."
    ),
    "trt_build_heuristics_enable": Option(
        bool, False, "Accepted with a warning: TensorRT has no such heuristics any more.",
        check=_warned(
            "trt_build_heuristics_enable has no effect; lower "
            "trt_builder_optimization_level to build faster"
        ),
    ),
    "trt_sparsity_enable": Option(
        bool, False, "Use tactics for weights of which two in four are 0."
    ),
    "trt_detailed_build_log": Option(
        bool, False, "Log every step of a build, and keep names of layers in the engine."
    ),
    "trt_dump_subgraphs": Option(
        bool, False, "Write each subgraph as TensorRT gets it into the folder of engines."
    ),
    "trt_cuda_graph_enable": Option(
        bool, False, "Record what a run does, once for each combination of shapes and "
        "addresses, and replay it.",
    ),
    "trt_op_types_to_exclude": Option(
        str, "NonMaxSuppression,NonZero,RoiAlign", "Operators left to other providers."
    ),
    "trt_preview_features": Option(
        str, "", "Features in preview to switch on; those that TensorRT does not have are "
        "left out with a warning.",
    ),
    "trt_strict_type_constraints": Option(
        bool, False, "Deprecated, and always so: each layer is computed in the types that "
        "the model says.",
        check=_warned(
            "trt_strict_type_constraints is deprecated and always on; leave it out",
            DeprecationWarning,
        ),
    ),
    "version_compatible": Option(
        bool, False, "Build engines that later minor versions of TensorRT run, too."
    ),
    "fp32_operators": Option(
        str, "", "Operators to leave in float32 in halves, between commas."
    ),
    "fp32_nodes": Option(
        str, "", "Nodes to leave in float32 in halves, by name, between commas."
    ),
}  # fmt: skip
"""onnxruntime's options of this provider, three of our own, and what they mean here."""

info = ProviderInfo(
    name=NAME,
    aliases=("tensorrt", "trt"),
    vendor="NVIDIA",
    description="NVIDIA GPUs, by engines that TensorRT builds",
    url="https://developer.nvidia.com/tensorrt",
    version="1.0.0",
    options=OPTIONS,
    device_kinds=("cuda",),
    install="pip install runtime-ep-tensorrt",
    probe=probe,
    flops=5e13,
    bandwidth=1e10,
    overhead=3e-5,
)
"""The description. ``flops``, ``bandwidth`` and ``overhead`` are assumptions, not measured."""
