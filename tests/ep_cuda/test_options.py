"""Every option of onnxruntime's is there, typed, and says what becomes of it."""

import subprocess
import sys
from pathlib import Path

import pytest
from runtime.api import known
from runtime.errors import OptionError
from runtime.providers import typed_options
from runtime.settings import Settings
from runtime_ep_cuda.info import OPTIONS, info
from runtime_ep_cuda.options import MOST_WORKSPACE, NO_LIMIT, Choice, chosen


def choice(**given):
    return chosen(Settings(options=typed_options(info, given)))


def test_all_of_onnxruntimes_options_are_known():
    assert set(known._CUDA.split()) - {"precision"} == set(OPTIONS) - {"precision"}


def test_the_defaults_are_what_a_choice_begins_with():
    assert choice() == Choice()


def test_options_may_be_texts_as_onnxruntime_passes_them():
    found = choice(
        device_id="1", gpu_mem_limit="2147483648", use_tf32="0", enable_cuda_graph="False",
        cudnn_conv_use_max_workspace="0", arena_extend_strategy="kSameAsRequested",
        cudnn_conv_algo_search="HEURISTIC", prefer_nhwc="0", enable_cudnn="0",
    )  # fmt: skip
    assert found == Choice(
        device=1, limit=2 << 30, tf32=False, graphs=False, workspace=32 << 20,
        strategy="kSameAsRequested", search="HEURISTIC", channels_last=False, cudnn=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "precision", "tf32"),
    [
        ({}, "", True),
        ({"use_tf32": "0"}, "", False),
        ({"precision": "fp32"}, "", False),
        ({"precision": "tf32", "use_tf32": "0"}, "", True),
        ({"precision": "float16"}, "fp16", True),
        ({"precision": "BF16", "use_tf32": "0"}, "bf16", False),
    ],
)
def test_precision_says_what_is_computed_in(given, precision, tf32):
    found = choice(**given)
    assert (found.precision, found.tf32) == (precision, tf32)


@pytest.mark.parametrize("limit", [0, NO_LIMIT, str(NO_LIMIT), (1 << 63) - 1])
def test_the_largest_limit_is_none(limit):
    assert choice(gpu_mem_limit=limit).limit == 0


def test_a_callers_stream_is_an_address():
    assert choice().stream is None
    assert choice(user_compute_stream="0x7f00").stream == 0x7F00
    assert choice(user_compute_stream=str(2**47)).stream == 2**47
    assert choice(user_compute_stream="0").stream is None
    assert choice(user_compute_stream="0", has_user_compute_stream="1").stream == 0


def test_a_callers_allocator_is_two_functions():
    found = choice(gpu_external_alloc="16", gpu_external_free="32")
    assert found.allocator == (16, 32, 0)
    assert choice(gpu_external_alloc="0", gpu_external_free="0").allocator is None
    with pytest.raises(OptionError, match="go together"):
        choice(gpu_external_alloc="16")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("device_id", "-1", "0 or more"),
        ("gpu_mem_limit", "-5", "0 or more"),
        ("gpu_mem_limit", "2GB", "invalid literal"),
        ("arena_extend_strategy", "kNextPowerofTwo", "did you mean|one of"),
        ("cudnn_conv_algo_search", "exhaustive", "one of"),
        ("precision", "int8", "one of"),
        ("user_compute_stream", "stream", "invalid literal"),
        ("cuda_graph", "1", "no option"),
    ],
)
def test_what_cannot_be_is_refused(name, value, told):
    with pytest.raises(OptionError, match=told):
        choice(**{name: value})


def test_what_plans_depend_on_leaves_memory_and_streams_out():
    assert choice(gpu_mem_limit=5, user_compute_stream="64").key == choice().key
    assert choice(precision="fp16").key != choice().key
    assert choice().workspace == MOST_WORKSPACE


def test_options_without_effect_say_so():
    silent = {name for name, o in OPTIONS.items() if "without effect" in o.help}
    used = Path(chosen.__code__.co_filename).read_text()
    for name in OPTIONS:
        assert (name in silent) != (f'"{name}"' in used), name


def test_the_description_needs_nothing_heavy():
    code = (
        "import sys, runtime_ep_cuda.info as i; i.info.probe();"
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"cupy", "cupy_backends", "cudnn", "cuda", "ctypes"} - _host()


def _host():
    """Return what the runtime's own plugin module loads."""
    code = "import sys, runtime.plugin; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())
