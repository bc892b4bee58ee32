"""What is known of the OpenVINO provider without importing OpenVINO."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
from pathlib import Path

from runtime.errors import near
from runtime.plugin import HOST, Option, Probe, ProviderInfo

OLDEST = 2025
"""The first release whose behaviour this provider was tested with."""

INSTALL = "pip install runtime-ep-openvino"
REMEDY = f'install it with: pip install "openvino>={OLDEST}"'


def probe() -> Probe:
    """Look for the openvino package by its metadata; nothing of it is imported."""
    if importlib.util.find_spec("openvino") is None:
        return Probe(reason="the openvino package is not installed", remedy=REMEDY)
    try:
        version = importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    year = version.partition(".")[0]
    if year.isdigit() and int(year) < OLDEST:
        reason = f"openvino {version} is installed, and {OLDEST} or newer is needed"
        return Probe(reason=reason, remedy=REMEDY)
    return Probe((HOST,), details={"openvino": version or "unknown"})


DEVICES = ("CPU", "GPU", "NPU")
TOGETHER = ("AUTO", "HETERO", "MULTI", "BATCH")
PRECISIONS = ("", "FP32", "FP16", "BF16", "ACCURACY")

_ONE = re.compile(r"(CPU|GPU|NPU)(\.[\w.]+)?(\(\d+\))?")


def _device(value: str) -> None:
    """Check a device: one, one with the old ``_FP32``, or several by a mode."""
    mode, colon, listed = value.partition(":")
    if mode in TOGETHER:
        members = listed.split(",") if colon else ["CPU"]
    else:
        members = [re.sub(r"_FP(32|16)$", "", value)]
    for member in members:
        if not _ONE.fullmatch(member.strip().removeprefix("-")):
            known = (*DEVICES, *TOGETHER)
            raise ValueError(
                f"expected {', '.join(DEVICES)}, one of these with a number (GPU.1), or "
                f"{', '.join(TOGETHER)} with a list (AUTO:GPU,CPU)"
                f"{near(member.partition('_')[0], known)}"
            )


def _not_negative(value: int) -> None:
    if value < 0:
        raise ValueError("expected 0, which is automatic, or more")


def _positive(value: int) -> None:
    if value < 1:
        raise ValueError("expected 1 or more")


def _config_file(value: str) -> None:
    if value:
        read_config(value)


def read_config(path: str) -> dict[str, dict[str, object]]:
    """Return a ``load_config`` file: device to property to value.

    Raises ``ValueError`` for a file that is missing or is no such table.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"the file is no JSON: {error}") from error
    if not isinstance(found, dict) or not all(
        isinstance(entry, dict) for entry in found.values()
    ):
        raise ValueError('expected {"CPU": {"PROPERTY": value, ...}, ...}')
    return found


_SHAPE = re.compile(r"\s*([^\[\],]+)\[([^\]]*)\]\s*")
_DIM = re.compile(r"\s*(?:\?|-1|(\d+)|(\d*)\s*\.\.\s*(\d*))\s*")


def read_shapes(text: str) -> dict[str, list[tuple[int, int]]]:
    """Return ``x[1,3,60..100]`` as input to bounds of each dim; -1 is without bound.

    Raises ``ValueError`` where the text is not of that form.
    """
    shapes = {}
    for name, dims in _entries(text):
        bounds = []
        for dim in dims.split(",") if dims.strip() else []:
            match = _DIM.fullmatch(dim)
            if match is None:
                raise ValueError(
                    f"{dim!r} of {name!r} is no size, ? or range like 1..9"
                )
            size, low, high = match.groups()
            if size is not None:
                bounds.append((int(size), int(size)))
            else:
                bounds.append((int(low or 0), int(high or -1)))
        shapes[name] = bounds
    return shapes


def read_layouts(text: str) -> dict[str, str]:
    """Return ``x[NCHW],y[NC]`` as value to layout; ``ValueError`` for another form."""
    return {name: layout.strip() for name, layout in _entries(text)}


def _entries(text: str) -> list[tuple[str, str]]:
    found, end = [], 0
    while end < len(text):
        match = _SHAPE.match(text, end)
        if match is None:
            raise ValueError(f"expected name[...],name[...], found {text[end:]!r}")
        found.append((match[1].strip(), match[2]))
        end = match.end()
        if end < len(text) and text[end] != ",":
            raise ValueError(f"expected a comma before {text[end:]!r}")
        end += 1
    return found


def _must_be_empty(why: str) -> object:
    def check(value: str) -> None:
        if value not in ("", "0"):
            raise ValueError(why)

    return check


OPTIONS = {
    "device_type": Option(
        str,
        "CPU",
        "Where to run: CPU, GPU, NPU, GPU.1, AUTO:GPU,CPU, HETERO:GPU,CPU, "
        "MULTI:GPU,CPU. The old CPU_FP32, GPU_FP16 and so on set `precision` too; they "
        "are deprecated.",
        check=_device,
    ),
    "device_id": Option(
        str, "", "Deprecated: the number after the point in `device_type`, as in GPU.1."
    ),
    "device_luid": Option(
        str,
        "",
        "Refused unless empty: choose the device by `device_type`.",
        check=_must_be_empty("devices are chosen by device_type, e.g. GPU.1"),  # type: ignore[arg-type]
    ),
    "precision": Option(
        PRECISIONS,
        "",
        "What floating point is computed in: FP32, FP16, BF16, or ACCURACY, which is "
        "the model's own types. Empty is FP32 (FP16 on an NPU, which has no other).",
        aliases={name.lower(): name for name in PRECISIONS}
        | {"f32": "FP32", "f16": "FP16"},
    ),
    "num_of_threads": Option(
        int, 0, "Threads of one run; 0 is the session's setting.", check=_not_negative
    ),
    "num_streams": Option(
        int, 1, "Runs that go side by side, each with its threads.", check=_positive
    ),
    "cache_dir": Option(
        str,
        "",
        "Keep every compiled model in this folder. Empty is the runtime's compile cache, "
        "where models for the CPU go only up to 64 MiB: compiling again is faster.",
    ),
    "load_config": Option(
        str,
        "",
        'A JSON file of properties by device: {"CPU": {"NUM_STREAMS": 2}}.',
        check=_config_file,
    ),
    "reshape_input": Option(
        str,
        "",
        "Fix or bound input dims: `x[1,3,60..100,?]`.",
        check=lambda value: read_shapes(value) and None,
    ),
    "layout": Option(
        str,
        "",
        "What the dims of inputs mean: `x[NCHW]`.",
        check=lambda value: read_layouts(value) and None,
    ),
    "disable_dynamic_shapes": Option(
        bool, False, "Compile once for each combination of input shapes seen."
    ),
    "model_priority": Option(
        ("DEFAULT", "LOW", "MEDIUM", "HIGH"),
        "DEFAULT",
        "Which models go first on a shared device; the CPU knows no priorities.",
    ),
    "enable_opencl_throttling": Option(
        bool, False, "Let the GPU's queue wait instead of spin."
    ),
    "enable_qdq_optimizer": Option(
        bool, False, "Accepted without effect: OpenVINO itself fuses QDQ pairs."
    ),
    "enable_causallm": Option(
        bool, False, "Accepted without effect: past keys and values stay inputs."
    ),
    "context": Option(
        str,
        "",
        "Refused unless empty: an OpenCL context cannot be handed over from Python.",
        check=_must_be_empty("an OpenCL context cannot be handed over from Python"),  # type: ignore[arg-type]
    ),
}
"""onnxruntime's options of this provider, and what they are here."""

info = ProviderInfo(
    name="OpenVINOExecutionProvider",
    aliases=("openvino", "ov"),
    vendor="Intel",
    description="Intel's inference engine: CPU, and GPU and NPU where there is one",
    url="https://docs.openvino.ai",
    version="1.0.0",
    options=OPTIONS,
    install=INSTALL,
    probe=probe,
    flops=2e11,
    overhead=1e-5,
    bakes_weights=True,
)
"""The provider's description; the figures of the cost rule are those of two cores."""
