"""CUDA's libraries and headers: which are needed, where they lie, what brings them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Needed:
    """One thing the provider needs: its file, and the distribution that brings it.

    ``folder`` is where the distribution puts it, below ``site-packages``; a file without
    one is a Python package. ``releases`` are the versions that will do, from the first to
    before the last.
    """

    file: str
    distribution: str
    releases: tuple[tuple[int, ...], tuple[int, ...]]
    folder: str = ""

    @property
    def requirement(self) -> str:
        """What to give to pip."""
        low, high = (".".join(map(str, numbers)) for numbers in self.releases)
        return f"{self.distribution}>={low},<{high}"


_LIB, _INCLUDE = "nvidia/cu13/lib", "nvidia/cu13/include"
_13: tuple[tuple[int, ...], tuple[int, ...]] = ((13,), (14,))

NEEDED = (
    Needed("cupy", "cupy-cuda13x", ((14, 2), (15,))),
    Needed("libnvrtc.so.13", "nvidia-cuda-nvrtc", _13, _LIB),
    Needed("cuda_fp16.h", "nvidia-cuda-runtime", _13, _INCLUDE),
    Needed("crt/host_defines.h", "nvidia-cuda-crt", _13, _INCLUDE),
    Needed("libcublasLt.so.13", "nvidia-cublas", _13, _LIB),
    Needed("libcudnn.so.9", "nvidia-cudnn-cu13", ((9, 19), (10,)), "nvidia/cudnn/lib"),
    Needed("cudnn", "nvidia-cudnn-frontend", ((1, 28), (1, 29))),
)
"""In the order in which they are looked for; names of files are those of Linux."""

_WINDOWS = {
    "libnvrtc.so.13": "nvrtc64_130_0.dll",
    "libcublasLt.so.13": "cublasLt64_13.dll",
    "libcudnn.so.9": "cudnn64_9.dll",
}
_WINDOWS_FOLDERS = {
    "nvidia/cu13/lib": "nvidia/cu13/bin/x86_64",
    "nvidia/cudnn/lib": "nvidia/cudnn/bin",
}


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _sites() -> tuple[Path, ...]:
    """Return the folders that may have an ``nvidia`` folder: those of its namespace."""
    spec = importlib.util.find_spec("nvidia")
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    return tuple(Path(place).parent for place in places)


def _is_package(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@dataclass(frozen=True)
class Libraries:
    """Where to look; the defaults are this interpreter's packages and environment."""

    sites: Callable[[], Iterable[Path]] = _sites
    is_package: Callable[[str], bool] = _is_package
    version: Callable[[str], str] = _version
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    system: str = sys.platform

    def find(self, needed: Needed) -> Path | None:
        """Return a file's path: of a wheel, else of a toolkit that the environment names."""
        name, folder = needed.file, needed.folder
        if self.system == "win32":
            name = _WINDOWS.get(name, name)
            folder = _WINDOWS_FOLDERS.get(folder, folder)
        paths = [site / folder / name for site in self.sites()]
        paths += [Path(place, name) for place in self._toolkit(needed)]
        return next((path for path in paths if path.exists()), None)

    def missing(self) -> list[Needed]:
        """Return what is not there, or there in a release that will not do."""
        return [each for each in NEEDED if not self._is_there(each)]

    def told(self, missing: Iterable[Needed]) -> str:
        """Return which of those that are missing are absent, and which too old or new."""
        absent = [each.file for each in missing if not self._has(each)]
        verb = "is" if len(absent) == 1 else "are"
        parts = [f"{', '.join(absent)} {verb} not installed"] if absent else []
        for each in missing:
            if each.file not in absent:
                low, high = (".".join(map(str, numbers)) for numbers in each.releases)
                parts.append(
                    f"{each.distribution} {self.version(each.distribution)} is installed, "
                    f"and a release from {low} to before {high} is needed"
                )
        return "; ".join(parts)

    def versions(self) -> dict[str, str]:
        """Return the installed distributions with their versions."""
        found = {each.distribution: self.version(each.distribution) for each in NEEDED}
        return {name: version for name, version in found.items() if version}

    def headers(self) -> list[Path]:
        """Return the folders of headers that NVRTC needs."""
        found: dict[Path, None] = {}
        for needed in NEEDED:
            path = self.find(needed) if needed.folder == _INCLUDE else None
            if path is not None:
                depth = len(Path(needed.file).parts)
                found[path.parents[depth - 1]] = None
        return list(found)

    def _is_there(self, needed: Needed) -> bool:
        there = self._has(needed)
        version = self.version(needed.distribution)
        if not there or not version:
            return there  # a toolkit's own, or built from source: taken at its word
        numbers = tuple(int(n) for n in version.split(".")[:3] if n.isdigit())
        low, high = needed.releases
        return low <= numbers < high

    def _has(self, needed: Needed) -> bool:
        if needed.folder:
            return self.find(needed) is not None
        return self.is_package(needed.file)

    def _toolkit(self, needed: Needed) -> list[Any]:
        """Return the folders of a toolkit installed without pip."""
        homes = [
            self.environ[name]
            for name in ("CUDA_PATH", "CUDA_HOME")
            if self.environ.get(name)
        ]
        if needed.folder == _INCLUDE:
            return [f"{home}/include" for home in homes]
        listed = "PATH" if self.system == "win32" else "LD_LIBRARY_PATH"
        inner = "bin" if self.system == "win32" else "lib64"
        folders = self.environ.get(listed, "").split(os.pathsep)
        return [*(f"{home}/{inner}" for home in homes), *filter(None, folders)]
