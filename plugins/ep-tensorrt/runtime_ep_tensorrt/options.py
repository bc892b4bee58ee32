"""A session's options as this provider's: precision, caches, profiles, how to build."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.cache import default_directory
from runtime.errors import OptionError
from runtime.settings import Settings

from runtime_ep_tensorrt import spellings
from runtime_ep_tensorrt.autocast import BF16, FP16, Half, Wishes
from runtime_ep_tensorrt.info import NAME
from runtime_ep_tensorrt.spellings import Range


@dataclass(frozen=True, slots=True)
class Build:
    """How engines are built: all of it is part of an engine's key."""

    half: Half | None = None
    operators: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    wide_normalizations: bool = False
    workspace: int = 0
    level: int = 3
    streams: int = -1
    tactics: tuple[tuple[str, bool], ...] = ()
    previews: tuple[str, ...] = ()
    sparse: bool = False
    detailed: bool = False
    dla: int | None = None
    any_hardware: bool = False
    any_version: bool = False
    stripped: bool = False

    @property
    def wishes(self) -> Wishes:
        """What stays in float32 by a user's will."""
        return Wishes(self.operators, self.nodes, self.wide_normalizations)

    @property
    def suffix(self) -> str:
        """What onnxruntime puts into names of files."""
        names = {None: "", FP16: "_fp16", BF16: "_bf16"}
        return names[self.half] + ("_dlacore" if self.dla is not None else "")


@dataclass(frozen=True, slots=True)
class Choice:
    """What one session asked for; ``profiles`` are ranges of shapes by input."""

    build: Build = Build()
    device: int = 0
    stream: int | None = None
    int8: bool = False
    iterations: int = 1000
    least: int = 1
    excluded: frozenset[str] = frozenset()
    profiles: tuple[Mapping[str, Range], ...] = ()
    files: Path | None = None
    prefix: str = ""
    timing: Path | None = None
    any_timing: bool = False
    weights: str | bytes = ""
    context: str = ""
    apart: bool = False
    plugins: tuple[str, ...] = ()
    shared_memory: bool = False
    dump: Path | None = None
    graphs: bool = False


def chosen(settings: Settings) -> Choice:
    """Return what a session's settings ask for.

    Raises `OptionError` for options that contradict each other.
    """
    options = settings.options
    folder = _folder(settings)
    given = options["user_compute_stream"] or options["has_user_compute_stream"]
    address = spellings.read_address(options["user_compute_stream"])
    return Choice(
        build=_build(options),
        device=options["device_id"],
        stream=address if given else None,
        int8=options["trt_int8_enable"],
        iterations=options["trt_max_partition_iterations"],
        least=options["trt_min_subgraph_size"],
        excluded=frozenset(spellings.read_words(options["trt_op_types_to_exclude"])),
        profiles=_profiles(options),
        files=folder if options["trt_engine_cache_enable"] else None,
        prefix=options["trt_engine_cache_prefix"],
        timing=_timing(options, folder),
        any_timing=options["trt_force_timing_cache"],
        weights=_weights(options),
        context=options["trt_ep_context_file_path"],
        apart=options["trt_load_user_initializer"],
        plugins=spellings.read_paths(options["trt_extra_plugin_lib_paths"]),
        shared_memory=options["trt_context_memory_sharing_enable"],
        dump=folder if options["trt_dump_subgraphs"] else None,
        graphs=options["trt_cuda_graph_enable"],
    )


def _folder(settings: Settings) -> Path:
    named = settings.options["trt_engine_cache_path"]
    base = Path(settings.cache_directory or default_directory())
    return Path(named) if named else base / "tensorrt"


def _timing(options: Mapping[str, Any], folder: Path) -> Path | None:
    if not options["trt_timing_cache_enable"]:
        return None
    named = options["trt_timing_cache_path"]
    return Path(named) if named else folder


def _build(options: Mapping[str, Any]) -> Build:
    if options["trt_fp16_enable"] and options["trt_bf16_enable"]:
        raise OptionError(
            "trt_fp16_enable and trt_bf16_enable contradict each other: float32 values are "
            "computed in one of them; leave one out"
        )
    half = FP16 if options["trt_fp16_enable"] else None
    return Build(
        half=BF16 if options["trt_bf16_enable"] else half,
        operators=spellings.read_words(options["fp32_operators"]),
        nodes=spellings.read_words(options["fp32_nodes"]),
        wide_normalizations=options["trt_layer_norm_fp32_fallback"],
        workspace=options["trt_max_workspace_size"],
        level=options["trt_builder_optimization_level"],
        streams=options["trt_auxiliary_streams"],
        tactics=tuple(
            sorted(spellings.read_tactics(options["trt_tactic_sources"]).items())
        ),
        previews=spellings.read_words(options["trt_preview_features"]),
        sparse=options["trt_sparsity_enable"],
        detailed=options["trt_detailed_build_log"],
        dla=options["trt_dla_core"] if options["trt_dla_enable"] else None,
        any_hardware=options["trt_engine_hw_compatible"],
        any_version=options["version_compatible"],
        stripped=options["trt_weight_stripped_engine_enable"],
    )


def _profiles(options: Mapping[str, Any]) -> tuple[Mapping[str, Range], ...]:
    texts = [options[f"trt_profile_{word}_shapes"] for word in ("min", "opt", "max")]
    if any(texts) and not all(texts):
        raise OptionError(
            "trt_profile_min_shapes, trt_profile_opt_shapes and trt_profile_max_shapes go "
            "together: give all three, or none"
        )
    try:
        return tuple(spellings.read_profiles(*texts))
    except ValueError as error:
        raise OptionError(f"{NAME}: {error}") from error


def _weights(options: Mapping[str, Any]) -> str | bytes:
    """Return where stripped engines get their weights: a folder, or a model's bytes."""
    address = spellings.read_address(options["trt_onnx_bytestream"])
    size = options["trt_onnx_bytestream_size"]
    if bool(address) != bool(size):
        raise OptionError(
            "trt_onnx_bytestream and trt_onnx_bytestream_size go together; give both"
        )
    if address:
        return ctypes.string_at(address, size)
    return str(options["trt_onnx_model_folder_path"])


def warn(message: str) -> None:
    """Say that something asked for has no effect."""
    warnings.warn(f"{NAME}: {message}", stacklevel=3)
