"""What is known of the OpenVINO provider without importing OpenVINO."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any

from runtime.plugin import HOST, Option, Probe, ProviderInfo

from runtime_ep_openvino import spellings

OLDEST = (2026, 4)
"""The oldest release of OpenVINO that was held against ONNX; others go wrong elsewhere."""

_OLDEST = ".".join(map(str, OLDEST))
REMEDY = f'install it with: pip install "openvino>={_OLDEST}"'


def probe() -> Probe:
    """Look for the openvino package by its metadata; nothing of it is imported."""
    if importlib.util.find_spec("openvino") is None:
        return Probe(reason="the openvino package is not installed", remedy=REMEDY)
    try:
        version = importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    numbers = tuple(int(n) for n in version.split(".")[:2] if n.isdigit())
    if numbers and numbers < OLDEST:
        reason = f"openvino {version} is installed, and {_OLDEST} or newer is needed"
        return Probe(reason=reason, remedy=REMEDY)
    return Probe((HOST,), details={"openvino": version})


def _readable(read: Callable[[str], object]) -> Callable[[Any], None]:
    return lambda value: read(value) and None


def _at_least(limit: int) -> Callable[[Any], None]:
    def check(value: int) -> None:
        if value < limit:
            raise ValueError(f"expected {limit} or more")

    return check


def _empty(why: str) -> Callable[[Any], None]:
    def check(value: str) -> None:
        if value not in ("", "0"):
            raise ValueError(why)

    return check


_PRECISIONS = ("", "FP32", "FP16", "BF16", "ACCURACY")
_SPELLINGS = {"f32": "FP32", "f16": "FP16", "bf16": "BF16", "float32": "FP32"}
_NO_LUID = "devices are chosen by device_type, e.g. GPU.1"
_NO_CONTEXT = "an OpenCL context cannot be handed over from Python"

OPTIONS = {
    "device_type": Option(
        str,
        "CPU",
        "Where to run: `CPU`, `GPU`, `NPU`, `GPU.1`, `AUTO:GPU,CPU`, `HETERO:GPU,CPU`, "
        "`MULTI:GPU,CPU`. The old `CPU_FP32`, `GPU_FP16` and so on set `precision` too; "
        "they are deprecated.",
        check=_readable(spellings.read_device),
    ),
    "device_id": Option(
        str, "", "Deprecated: the part after the point in `device_type`, as in `GPU.1`."
    ),
    "device_luid": Option(
        str, "", f"Refused unless empty: {_NO_LUID}.", check=_empty(_NO_LUID)
    ),
    "precision": Option(
        _PRECISIONS,
        "",
        "What floating point is computed in. `ACCURACY` is the model's own types; empty "
        "is `FP32`, and `FP16` on an NPU, which has no other.",
        aliases={name.lower(): name for name in _PRECISIONS if name} | _SPELLINGS,
    ),
    "num_of_threads": Option(
        int,
        0,
        "Threads of one run on the CPU; 0 is the session's `intra_op_num_threads`, and "
        "without that every core granted.",
        check=_at_least(0),
    ),
    "num_streams": Option(
        int, 1, "Runs that go side by side, sharing the threads.", check=_at_least(1)
    ),
    "cache_dir": Option(
        str,
        "",
        "Keep every compiled model in this folder. Empty is the runtime's compile cache, "
        "into which models with up to 64 MiB of weights go (see Caching).",
    ),
    "load_config": Option(
        str,
        "",
        'A JSON file of OpenVINO properties by device: `{"CPU": {"NUM_STREAMS": 2}}`.',
        check=_readable(spellings.read_config),
    ),
    "reshape_input": Option(
        str,
        "",
        "Fix or bound dims of inputs: `x[1,3,60..100,?]`.",
        check=_readable(spellings.read_shapes),
    ),
    "layout": Option(
        str,
        "",
        "What the dims of inputs and outputs mean: `x[NCHW]`.",
        check=_readable(spellings.read_layouts),
    ),
    "disable_dynamic_shapes": Option(
        bool,
        False,
        "Compile once for each combination of input shapes, as they are seen.",
    ),
    "model_priority": Option(
        ("DEFAULT", "LOW", "MEDIUM", "HIGH"),
        "DEFAULT",
        "Which models go first on a shared device; the CPU knows no priorities.",
    ),
    "enable_opencl_throttling": Option(
        bool, False, "Let the GPU's queue wait without spinning."
    ),
    "enable_qdq_optimizer": Option(
        bool, False, "Accepted without effect: OpenVINO fuses QDQ pairs by itself."
    ),
    "enable_causallm": Option(
        bool, False, "Accepted without effect: past keys and values stay inputs."
    ),
    "context": Option(
        str, "", f"Refused unless empty: {_NO_CONTEXT}.", check=_empty(_NO_CONTEXT)
    ),
}
"""onnxruntime's options of this provider, and what they mean here."""

info = ProviderInfo(
    name="OpenVINOExecutionProvider",
    aliases=("openvino", "ov"),
    vendor="Intel",
    description="Intel's inference engine on the CPU, and on a GPU or NPU of Intel's",
    url="https://docs.openvino.ai",
    version="1.0.0",
    options=OPTIONS,
    install="pip install runtime-ep-openvino",
    probe=probe,
    flops=2e11,
    overhead=1e-5,
)
"""The description. ``flops`` is what two cores of a server do in float32."""
