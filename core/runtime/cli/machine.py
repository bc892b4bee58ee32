"""What doctor finds out about this machine, this Python and what is installed."""

from __future__ import annotations

import math
import os
import platform
import re
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from runtime import quota

PACKAGES = ("numpy", "onnx", "ml_dtypes", "pluggy", "llvmlite", "rich")
VARIABLES = (
    "RUNTIME_",
    "ORT_INTRA_OP",
    "ORT_INTER_OP",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE",
)
_TELLING = re.compile(
    r"AVX2|AVX512F|AVX512_SPR|AVX512_ICL|AVX512BF16|AVX512_VNNI|FMA3|F16C|AMX|NEON"
    r"|ASIMD|SVE|VSX\d?|VXE|RVV|SSE42"
)


def python() -> dict[str, str]:
    """Return the interpreter and the versions of what the runtime stands on."""
    found = {
        "python": f"{platform.python_version()} ({platform.python_implementation()}, "
        f"{sys.executable})",
        "platform": platform.platform(),
    }
    for name in PACKAGES:
        found[name] = version_of(name) or "not installed"
    return found


def version_of(distribution: str) -> str:
    """Return an installed distribution's version, or ``""``."""
    try:
        return metadata.version(distribution) if distribution else ""
    except metadata.PackageNotFoundError:
        return ""


def processor() -> dict[str, Any]:
    """Return the CPU's name, its instruction sets, and the threads there are to use."""
    seen = os.cpu_count() or 1
    allowed = _affinity() or seen
    granted = quota.cpus()
    return {
        "name": _cpu_name(),
        "features": _features(),
        "threads": seen,
        "allowed": allowed,
        "cgroup": granted,
        "usable": max(1, min(allowed, math.ceil(granted or allowed))),
    }


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return 0


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    named = re.search(r"^(?:model name|Model)\s*: (.+)$", text, re.MULTILINE)
    return named[1].strip() if named else platform.machine()


def _features() -> list[str]:
    """Return the instruction sets that matter for inference, as NumPy detects them."""
    try:
        module = import_module("numpy._core._multiarray_umath")
        features: dict[str, bool] = module.__cpu_features__
    except (ImportError, AttributeError):
        return []
    return [
        name for name, there in features.items() if there and _TELLING.fullmatch(name)
    ]


def cache() -> dict[str, Any]:
    """Return where compiled code is kept, and whether it can be written."""
    from runtime.cache import default_directory

    folder = default_directory()
    problem = ""
    try:
        import tempfile

        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
        held = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    except OSError as error:
        problem, held = f"{error.strerror}: {error.filename}", 0
    return {
        "directory": str(folder),
        "writable": not problem,
        "problem": problem,
        "remedy": "set RUNTIME_CACHE_DIR to a folder you can write" if problem else "",
        "bytes": held,
    }


def variables() -> dict[str, str]:
    """Return the environment variables that change what the runtime does."""
    return {
        key: value for key, value in os.environ.items() if key.startswith(VARIABLES)
    }


def neighbours() -> dict[str, Any]:
    """Return installed onnxruntime distributions; more than one overwrite each other."""
    found = {}
    for distribution in metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower()
        if name.startswith(("onnxruntime", "ort-")):
            found[name] = distribution.version
    owners = [name for name in found if not name.startswith("onnxruntime-ep")]
    owners = [
        n for n in owners if n not in ("onnxruntime-extensions", "onnxruntime-genai")
    ]
    clash = (
        f"{', '.join(sorted(owners))} all install the module onnxruntime, and overwrite "
        "each other's files; keep one (this runtime needs none)"
    )
    return {"installed": found, "conflict": clash if len(owners) > 1 else ""}
