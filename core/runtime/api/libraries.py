"""preload_dlls and print_debug_info: what is loaded into the process, and what is there."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from runtime.version import __version__

logger = logging.getLogger("runtime")

# in the order they need each other
_CUDA = ("cublasLt", "cublas", "nvrtc", "curand", "cufft", "cudart")
_CUDNN = ("cudnn",)


def preload_dlls(
    cuda: bool = True,
    cudnn: bool = True,
    msvc: bool = True,
    directory: str | None = None,
) -> None:
    """Load NVIDIA's libraries from a folder or from their own distributions.

    ``directory`` of ``None`` or ``""`` means the ``nvidia`` folder of the site-packages.
    What is not there is left to the system's loader; what is loaded is logged.
    """
    names = (*(_CUDA if cuda else ()), *(_CUDNN if cudnn else ()))
    folders = [Path(directory)] if directory else list(_site_folders())
    for name in names:
        path = next(_files(folders, name), None)
        if path is None:
            logger.debug("no lib%s under %s", name, folders)
            continue
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            logger.info("loaded %s", path)
        except OSError as error:
            logger.warning("%s cannot be loaded: %s", path, error)


def _site_folders() -> Iterator[Path]:
    found = importlib.util.find_spec("nvidia")
    for place in (found.submodule_search_locations or ()) if found else ():
        for folder in ("lib", "bin"):
            yield from sorted(Path(place).glob(f"*/{folder}"))


def _files(folders: Sequence[Path], name: str) -> Iterator[Path]:
    windows = sys.platform == "win32"
    pattern = f"{name}64_*.dll" if windows else f"lib{name}.so.*"
    for folder in folders:
        yield from sorted(folder.glob(pattern))


def print_debug_info() -> None:
    """Print what a report of a problem needs: versions, providers, and whether they run."""
    sys.stdout.write("\n".join(_lines()) + "\n")


def _lines() -> Iterator[str]:
    from importlib.metadata import PackageNotFoundError, version

    from runtime.providers import registry

    yield f"runtime version: {__version__}"
    yield f"platform: {platform.platform()}"
    yield f"Python: {platform.python_version()}"
    yield ""
    yield "Providers:"
    for entry in registry.all().values():
        probe = entry.probe()
        state = ", ".join(map(str, probe.devices)) if probe.usable else probe.reason
        yield f"{entry.name} {entry.info.version}: {state}".rstrip()
    yield ""
    yield "Python packages:"
    for name in ("numpy", "onnx", "ml_dtypes", "llvmlite", "onnxruntime", "torch"):
        try:
            yield f"{name}=={version(name)}"
        except PackageNotFoundError:
            yield f"{name} not installed"
    yield ""
    yield "Environment variables:"
    variable = "PATH" if sys.platform == "win32" else "LD_LIBRARY_PATH"
    names = sorted(name for name in os.environ if name.startswith(("RUNTIME_", "ORT_")))
    for name in (variable, *names):
        yield f"{name}={os.environ.get(name, '(unset)')}"
