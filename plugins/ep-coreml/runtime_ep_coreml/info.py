"""What is known of the Core ML provider without importing coremltools."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
import warnings
from collections.abc import Callable
from typing import Any

from runtime.plugin import HOST, Option, Probe, ProviderInfo

from runtime_ep_coreml.dims import read_dims

OLDEST = 9
"""The oldest major release of coremltools whose programs were held against ONNX."""

REMEDY = f'install it with: pip install "coremltools>={OLDEST}" (CPython 3.11 to 3.13)'
AHEAD = "run it on a Mac; packages for Macs can be made here: runtime compile -p coreml"
EARLIEST_SYSTEM = (14, 0)
"""The macOS that loads the programs made here unless an option asks for a later one."""


def probe() -> Probe:
    """Look for macOS and for coremltools by its metadata; nothing of it is imported."""
    found = tools()
    if isinstance(found, Probe):
        return found
    if sys.platform != "darwin":
        reason = f"Core ML runs models on macOS only, and this is {platform.system()}"
        return Probe(reason=reason, remedy=AHEAD, details=found)
    version = system()
    if macos() < EARLIEST_SYSTEM:
        wanted = ".".join(map(str, EARLIEST_SYSTEM))
        reason = f"this is macOS {version or 'of unknown version'}; {wanted} is needed"
        return Probe(reason=reason, remedy="update macOS", details=found)
    return Probe((HOST,), details={**found, "macOS": version})


def system() -> str:
    """Return the version of macOS as it calls itself; ``""`` elsewhere."""
    return platform.mac_ver()[0]


def macos() -> tuple[int, ...]:
    """Return the version of macOS, to be compared; ``()`` elsewhere."""
    return tuple(int(n) for n in system().split(".")[:2] if n.isdigit())


def tools() -> Probe | dict[str, str]:
    """Return the version of coremltools, or a probe that says what is missing."""
    if importlib.util.find_spec("coremltools") is None:
        return Probe(reason="the coremltools package is not installed", remedy=REMEDY)
    try:
        version = importlib.metadata.version("coremltools")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    major = version.partition(".")[0]
    if major.isdigit() and int(major) < OLDEST:
        reason = f"coremltools {version} is installed, and {OLDEST} or newer is needed"
        return Probe(reason=reason, remedy=REMEDY)
    return {"coremltools": version}


def _readable(read: Callable[[str], object]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        read(value)

    return check


def _older_format(value: str) -> None:
    """Say, once for each session, that another format is made than was asked for."""
    if value != "MLProgram":
        message = (
            f"CoreMLExecutionProvider: ModelFormat={value!r} is not made; an ML Program "
            "is, and write MLProgram"
        )
        warnings.warn(message, stacklevel=2)


_UNITS = ("ALL", "CPUOnly", "CPUAndGPU", "CPUAndNeuralEngine")
_OLD_UNITS = {
    "CPU_ONLY": "CPUOnly",
    "CPU_AND_GPU": "CPUAndGPU",
    "CPU_AND_NE": "CPUAndNeuralEngine",
    "CPU_AND_NEURAL_ENGINE": "CPUAndNeuralEngine",
    "MLComputeUnitsCPUOnly": "CPUOnly",
    "MLComputeUnitsCPUAndGPU": "CPUAndGPU",
    "MLComputeUnitsAll": "ALL",
    "All": "ALL",
}

OPTIONS = {
    "ModelFormat": Option(
        ("MLProgram", "NeuralNetwork"),
        "MLProgram",
        "The format that is made. `NeuralNetwork` is accepted and warned about: it lacks "
        "half of the operators, and an ML Program is made all the same.",
        check=_older_format,
    ),
    "MLComputeUnits": Option(
        _UNITS,
        "ALL",
        "Where Core ML may compute. The old `CPU_ONLY`, `CPU_AND_GPU` and `CPU_AND_NE` "
        "mean the same.",
        aliases=_OLD_UNITS,
    ),
    "RequireStaticInputShapes": Option(
        bool, False, "Refuse every node that has a dim without a fixed size."
    ),
    "EnableOnSubgraphs": Option(
        bool, False, "Claim nodes in the bodies of `If`, `Loop` and `Scan` too."
    ),
    "SpecializationStrategy": Option(
        ("Default", "FastPrediction"),
        "Default",
        "`FastPrediction` spends more time on loading to predict faster (macOS 15).",
    ),
    "ProfileComputePlan": Option(
        bool,
        False,
        "Ask Core ML which device runs each operation, for the log and `explain()`.",
    ),
    "AllowLowPrecisionAccumulationOnGPU": Option(
        bool, False, "Let a GPU add up in float16 (macOS 15)."
    ),
    "ModelCacheDirectory": Option(
        str,
        "",
        "Keep packages and compiled models in this folder. Empty is the runtime's compile "
        "cache.",
    ),
    "Precision": Option(
        ("FP32", "FP16"),
        "FP32",
        "What float32 values are computed in. The Neural Engine only has `FP16`.",
        aliases={"float32": "FP32", "float16": "FP16", "fp32": "FP32", "fp16": "FP16"},
    ),
    "WeightCompression": Option(
        ("none", "int8", "palettize4", "palettize6", "palettize8"),
        "none",
        "How large weights are kept: as they are, in 8 bits with a scale for each channel, "
        "or as indices into a table of 16, 64 or 256 evenly spaced values.",
    ),
    "MinimumDeploymentTarget": Option(
        ("macOS14", "macOS15"),
        "macOS14",
        "The oldest system that shall load what is made. `macOS15` has one operation for "
        "attention, and several inputs of enumerated shapes.",
        aliases={"iOS17": "macOS14", "iOS18": "macOS15"},
    ),
    "DimBounds": Option(
        str,
        "",
        "Sizes of symbolic dims, which must be bounded: `batch=1..8, sequence=16|32|64`.",
        check=_readable(read_dims),
    ),
}
"""onnxruntime's options of this provider, four of our own, and what they mean here."""

info = ProviderInfo(
    name="CoreMLExecutionProvider",
    aliases=("coreml",),
    vendor="Apple",
    description="Core ML on the CPU, the GPU and the Neural Engine of a Mac",
    url="https://developer.apple.com/documentation/coreml",
    version="1.0.0",
    options=OPTIONS,
    install="pip install runtime-ep-coreml",
    probe=probe,
    flops=1e12,
    overhead=1e-4,
)
"""The description. ``flops`` and ``overhead`` are assumptions, measured on no Mac."""
