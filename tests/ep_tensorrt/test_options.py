"""onnxruntime's options of its TensorRT provider: read, checked and mapped."""

import ctypes
import warnings
from pathlib import Path

import pytest
from runtime.api.known import _TENSORRT
from runtime.errors import OptionError
from runtime.providers import typed_options
from runtime.settings import Settings
from runtime_ep_tensorrt.autocast import BF16, FP16
from runtime_ep_tensorrt.info import OPTIONS, info
from runtime_ep_tensorrt.meanings import MEANINGS
from runtime_ep_tensorrt.options import Build, Choice, chosen
from runtime_ep_tensorrt.spellings import (
    Range,
    read_profiles,
    read_shapes,
    read_tactics,
)

OURS = {"version_compatible", "fp32_operators", "fp32_nodes"}
SHAPES = {
    "trt_profile_min_shapes": "x:1x3x8x8",
    "trt_profile_opt_shapes": "x:2x3x8x8",
    "trt_profile_max_shapes": "x:4x3x16x16",
}


def choice(**given) -> Choice:
    return chosen(Settings(options=typed_options(info, given), cache_directory="/c"))


def test_every_option_of_onnxruntime_is_there_and_three_of_our_own():
    assert set(OPTIONS) == set(_TENSORRT.split()) | OURS


def test_the_meaning_of_every_option_is_told_for_both_versions():
    assert list(MEANINGS) == list(OPTIONS)
    assert all(len(told) == 2 and all(told) for told in MEANINGS.values())


def test_nothing_is_asked_for_by_default():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = choice()
    excluded = frozenset(("NonMaxSuppression", "NonZero", "RoiAlign"))
    assert found == Choice(excluded=excluded)


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"trt_fp16_enable": "1"}, "half", FP16),
        ({"trt_bf16_enable": "True"}, "half", BF16),
        ({"trt_max_workspace_size": "1073741824"}, "workspace", 1 << 30),
        ({"trt_builder_optimization_level": 5}, "level", 5),
        ({"trt_auxiliary_streams": 0}, "streams", 0),
        ({"trt_tactic_sources": "-cudnn"}, "tactics", (("CUDNN", False),)),
        ({"trt_preview_features": "A,B"}, "previews", ("A", "B")),
        ({"trt_sparsity_enable": 1}, "sparse", True),
        ({"trt_detailed_build_log": 1}, "detailed", True),
        ({"trt_dla_enable": 1, "trt_dla_core": 1}, "dla", 1),
        ({"trt_dla_core": 1}, "dla", None),
        ({"trt_engine_hw_compatible": 1}, "any_hardware", True),
        ({"version_compatible": 1}, "any_version", True),
        ({"trt_weight_stripped_engine_enable": 1}, "stripped", True),
        ({"trt_layer_norm_fp32_fallback": 1}, "wide_normalizations", True),
        ({"fp32_operators": "Softmax, Exp"}, "operators", ("Softmax", "Exp")),
        ({"fp32_nodes": "a,b"}, "nodes", ("a", "b")),
    ],
    ids=str,
)
def test_an_option_tells_how_engines_are_built(given, field, value):
    build = choice(**given).build
    assert getattr(build, field) == value
    assert (build == Build()) is (value is None)


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"device_id": "2"}, "device", 2),
        ({"user_compute_stream": "0x10"}, "stream", 16),
        ({"has_user_compute_stream": 1}, "stream", 0),
        ({"trt_int8_enable": 1}, "int8", True),
        ({"trt_max_partition_iterations": 3}, "iterations", 3),
        ({"trt_min_subgraph_size": 5}, "least", 5),
        ({"trt_op_types_to_exclude": ""}, "excluded", frozenset()),
        ({"trt_op_types_to_exclude": "Exp,"}, "excluded", frozenset(("Exp",))),
        ({"trt_engine_cache_enable": 1}, "files", Path("/c/tensorrt")),
        (
            {"trt_engine_cache_enable": 1, "trt_engine_cache_path": "/e"},
            "files",
            Path("/e"),
        ),
        ({"trt_engine_cache_path": "/e"}, "files", None),
        ({"trt_engine_cache_prefix": "p"}, "prefix", "p"),
        (
            {"trt_timing_cache_enable": 1, "trt_engine_cache_path": "/e"},
            "timing",
            Path("/e"),
        ),
        (
            {"trt_timing_cache_enable": 1, "trt_timing_cache_path": "/t"},
            "timing",
            Path("/t"),
        ),
        ({"trt_timing_cache_path": "/t"}, "timing", None),
        ({"trt_force_timing_cache": 1}, "any_timing", True),
        ({"trt_onnx_model_folder_path": "/m"}, "weights", "/m"),
        ({"trt_ep_context_file_path": "/m/x.onnx"}, "context", "/m/x.onnx"),
        ({"trt_load_user_initializer": 1}, "apart", True),
        ({"trt_extra_plugin_lib_paths": "/a.so;/b.so"}, "plugins", ("/a.so", "/b.so")),
        ({"trt_context_memory_sharing_enable": 1}, "shared_memory", True),
        (
            {"trt_dump_subgraphs": 1, "trt_engine_cache_path": "/e"},
            "dump",
            Path("/e"),
        ),
        ({"trt_cuda_graph_enable": 1}, "graphs", True),
        (
            SHAPES,
            "profiles",
            ({"x": Range((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 16, 16))},),
        ),
    ],
    ids=str,
)
def test_an_option_becomes_a_choice(given, field, value):
    assert getattr(choice(**given), field) == value


@pytest.mark.parametrize(
    "given",
    [
        {"trt_force_sequential_engine_build": 1},
        {"trt_ep_context_embed_mode": 1},
    ],
    ids=str,
)
def test_some_are_taken_without_effect(given):
    assert choice(**given) == choice()


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        ({"trt_strict_type_constraints": 1}, DeprecationWarning, "always on"),
        ({"trt_build_heuristics_enable": 1}, UserWarning, "optimization_level"),
        ({"trt_dump_ep_context_model": 1}, UserWarning, "runtime compile"),
    ],
    ids=str,
)
def test_some_are_taken_with_a_warning(given, kind, told):
    with pytest.warns(kind, match=told) as found:
        assert choice(**given) == choice()
    assert len(found) == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"trt_int8_calibration_table_name": "t"}, "TensorRT 11 has no calibration"),
        ({"trt_int8_use_native_calibration_table": 1}, "QuantizeLinear"),
        ({"trt_engine_decryption_enable": 1}, "not decrypted here"),
        ({"trt_engine_decryption_lib_path": "x.so"}, "not decrypted here"),
        ({"trt_external_data_bytestream": "1"}, "trt_onnx_model_folder_path"),
        ({"trt_fp16_enable": 1, "trt_bf16_enable": 1}, "contradict each other"),
        ({"trt_fp16_enabel": 1}, "did you mean 'trt_fp16_enable'"),
        ({"trt_fp16_enable": "maybe"}, "expected true or false"),
        ({"trt_builder_optimization_level": 6}, "expected 0 to 5"),
        ({"trt_min_subgraph_size": 0}, "expected 1 or more"),
        ({"trt_max_workspace_size": -1}, "expected 0 or more"),
        ({"trt_auxiliary_streams": -2}, "expected -1 or more"),
        ({"trt_tactic_sources": "CUDNN"}, "write \\+ or - and one of"),
        ({"trt_tactic_sources": "+TACTICS"}, "is no source of tactics"),
        ({"trt_profile_min_shapes": "x:1x3"}, "go together"),
        ({"trt_profile_min_shapes": "x"}, "write input:1x3x224x224"),
        ({**SHAPES, "trt_profile_max_shapes": "y:4x3x16x16"}, "the same inputs"),
        ({**SHAPES, "trt_profile_max_shapes": "x:4x3x16"}, "must have one rank"),
        ({**SHAPES, "trt_profile_max_shapes": "x:1x3x8x8"}, "rise from min"),
        ({**SHAPES, "trt_profile_max_shapes": "x:4x3x9x9,x:4x3x9x9"}, "as many shapes"),
        ({"trt_onnx_bytestream": "123"}, "go together; give both"),
        ({"user_compute_stream": "mine"}, "invalid literal"),
        ({"device_id": -1}, "expected 0 or more"),
    ],
    ids=str,
)
def test_a_mistake_is_an_error_that_says_what_to_do(given, told):
    with pytest.raises(OptionError, match=told):
        choice(**given)


def test_a_model_in_memory_is_read_by_its_address():
    data = ctypes.create_string_buffer(b"a model", 7)
    address = str(ctypes.addressof(data))
    found = choice(trt_onnx_bytestream=address, trt_onnx_bytestream_size=7)
    assert found.weights == b"a model"


def test_names_of_files_tell_the_precision():
    assert choice().build.suffix == ""
    assert choice(trt_fp16_enable=1).build.suffix == "_fp16"
    assert choice(trt_bf16_enable=1, trt_dla_enable=1).build.suffix == "_bf16_dlacore"


def test_shapes_of_several_inputs_and_profiles_are_read():
    assert read_shapes("a:1x2, b:3,c/d:0:4x5") == {
        "a": [(1, 2)],
        "b": [(3,)],
        "c/d:0": [(4, 5)],
    }
    several = read_profiles("a:1,a:9", "a:2,a:10", "a:4,a:16")
    assert [each["a"] for each in several] == [
        Range((1,), (2,), (4,)),
        Range((9,), (10,), (16,)),
    ]
    assert several[0]["a"].admits((4,))
    assert not several[0]["a"].admits((5,))
    assert not several[0]["a"].admits((1, 1))


def test_sources_of_tactics_are_on_or_off():
    assert read_tactics("-CUDNN,+jit_convolutions") == {
        "CUDNN": False,
        "JIT_CONVOLUTIONS": True,
    }
