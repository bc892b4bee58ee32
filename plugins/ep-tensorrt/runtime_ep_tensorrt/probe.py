"""Whether TensorRT can run here, found in files alone: nothing of it is loaded.

TensorRT's objects crash a process that has no GPU, and what a process initialises its
forked children inherit, so that neither its libraries nor its bindings are opened.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime.plugin import Probe
from runtime_ep_cuda.probe import probe as cuda_probe

OLDEST, BEYOND = (10, 13), (12,)
"""Versions of TensorRT that the provider is written for."""
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
PACKAGES = ("tensorrt", "tensorrt_bindings")
"""Python packages that hold the bindings, in the order in which they are tried."""
DISTRIBUTIONS = tuple(
    f"tensorrt{build}{part}"
    for build in ("", "_cu13", "_cu12")
    for part in ("", "_bindings")
)
GET = 'install it with: pip install "tensorrt-cu13>=10.13,<12"'


def _version() -> str:
    for name in DISTRIBUTIONS:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _is_package(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _wheel() -> Iterable[Path]:
    """Return where the distribution of the libraries has put them."""
    spec = importlib.util.find_spec("tensorrt_libs")
    return map(Path, (spec.submodule_search_locations or ()) if spec else ())


@dataclass(frozen=True)
class Machine:
    """Where to look; the defaults are this interpreter's packages and this system."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    system: str = sys.platform
    processor: str = field(default_factory=platform.machine)
    is_package: Callable[[str], bool] = _is_package
    version: Callable[[], str] = _version
    wheel: Callable[[], Iterable[Path]] = _wheel
    cuda: Callable[[], Probe] = cuda_probe


def probe(machine: Machine | None = None) -> Probe:
    """Look for the bindings, the libraries, and then for what CUDA needs."""
    machine = machine or Machine()
    if not any(map(machine.is_package, PACKAGES)):
        return Probe(reason="the tensorrt package is not installed", remedy=GET)
    version = machine.version()
    details = {"tensorrt": version or "unknown"}
    if (numbers := _numbers(version)) and not OLDEST <= numbers < BEYOND:
        low, high = (".".join(map(str, each)) for each in (OLDEST, BEYOND))
        reason = (
            f"tensorrt {version} is installed, and {low} to before {high} is needed"
        )
        return Probe(reason=reason, remedy=GET, details=details)
    missing = _missing(machine, numbers[0] if numbers else 0)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        reason = f"{', '.join(missing)} {verb} not found"
        remedy = f"{_libraries(version)}; or add their folder to {_path(machine)}"
        return Probe(reason=reason, remedy=remedy, details=details)
    cuda = machine.cuda()
    return Probe(cuda.devices, cuda.reason, cuda.remedy, {**cuda.details, **details})


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _libraries(version: str) -> str:
    wanted = f"=={version}" if version else ">=10.13,<12"
    return f'pip install "tensorrt-cu13-libs{wanted}"'


def _path(machine: Machine) -> str:
    return "PATH" if machine.system == "win32" else "LD_LIBRARY_PATH"


def _missing(machine: Machine, major: int) -> list[str]:
    """Return the libraries that are not there, by the names they are looked for."""
    names = [_file(machine, name, major or 11) for name in LIBRARIES]
    folders = list(_folders(machine))
    listed = _listed(machine)
    return [
        name
        for name in names
        if name not in listed and not any((f / name).exists() for f in folders)
    ]


def _file(machine: Machine, name: str, major: int) -> str:
    if machine.system == "win32":
        return f"{name}_{major}.dll"
    return f"lib{name}.so.{major}"


def _folders(machine: Machine) -> Iterable[Path]:
    yield from machine.wheel()
    separator = ";" if machine.system == "win32" else ":"
    named = machine.environ.get(_path(machine), "").split(separator)
    yield from map(Path, filter(None, named))
    if machine.system != "win32":
        triple = f"{machine.processor}-linux-gnu"
        for folder in (f"usr/lib/{triple}", "usr/lib64", "usr/lib", f"lib/{triple}"):
            yield machine.root / folder


def _listed(machine: Machine) -> set[str]:
    """Return the libraries of TensorRT that the dynamic linker's list has."""
    try:
        data = (machine.root / "etc/ld.so.cache").read_bytes()
    except OSError:
        return set()
    found = re.findall(
        rb"(lib(?:nvinfer|nvinfer_plugin|nvonnxparser)\.so\.\d+)\0", data
    )
    return {os.fsdecode(name) for name in found}
