"""Whether CUDA can run here, found in files alone: nothing is initialised or loaded.

A process that has called ``cuInit`` cannot use CUDA in its forked children, so that
neither the driver's library nor CuPy is opened to find out.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtime.plugin import Device, Probe

from runtime_ep_cuda.libraries import Libraries

OLDEST_DRIVER = 580
"""The first driver that runs CUDA 13."""

GET_DRIVER = "install NVIDIA's driver 580 or newer: https://www.nvidia.com/drivers"
IN_CONTAINER = (
    "in a container, start it with the GPUs (docker run --gpus all) and the NVIDIA "
    "container toolkit on the machine"
)


@dataclass(frozen=True)
class Machine:
    """Where to look: a root of files, the environment, the system, and packages."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    system: str = sys.platform
    processor: str = field(default_factory=platform.machine)
    libraries: Libraries = field(default_factory=Libraries)

    def at(self, path: str) -> Path:
        """Return a file of this machine by its absolute path."""
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str:
        """Return a file's text, or none where it cannot be read."""
        try:
            return self.at(path).read_text(errors="replace")
        except OSError:
            return ""


@dataclass(frozen=True)
class Card:
    """A GPU as the driver's files tell of it."""

    name: str = ""
    uuid: str = ""


def probe(machine: Machine | None = None) -> Probe:
    """Look for a driver, its devices and the libraries, in this order."""
    machine = machine or Machine()
    if machine.system == "darwin":
        return Probe(
            reason="there is no CUDA for macOS",
            remedy="use it on Linux or Windows; on a Mac there is Core ML: providers='coreml'",
        )
    driver = _driver(machine)
    if isinstance(driver, Probe):
        return driver
    details = {"driver": driver or "unknown"}
    cards = visible(present(machine), machine.environ.get("CUDA_VISIBLE_DEVICES"))
    if not cards:
        return _none_visible(machine, details)
    details |= {f"cuda:{i}": card.name for i, card in enumerate(cards) if card.name}
    missing = machine.libraries.missing()
    details |= machine.libraries.versions()
    if missing:
        wanted = " ".join(f'"{each.requirement}"' for each in missing)
        reason = machine.libraries.told(missing)
        return Probe(reason=reason, remedy=f"pip install {wanted}", details=details)
    devices = tuple(Device("cuda", index) for index in range(len(cards)))
    return Probe(devices, details=details)


def _driver(machine: Machine) -> str | Probe:
    """Return the driver's version, empty if it does not say, or what stands against it."""
    if not _is_loaded(machine):
        return Probe(reason="no NVIDIA driver is loaded", remedy=GET_DRIVER)
    found = _library(machine)
    if found is None:
        name = "nvcuda.dll" if machine.system == "win32" else "libcuda.so.1"
        return Probe(
            reason=f"the driver's library {name} is not found",
            remedy=f"{GET_DRIVER}; {IN_CONTAINER}",
        )
    version = _version_of(found) or _loaded_version(machine)
    major = version.partition(".")[0]
    if major.isdigit() and int(major) < OLDEST_DRIVER:
        return Probe(
            reason=f"the NVIDIA driver is {version}, and CUDA 13 needs {OLDEST_DRIVER} or "
            "newer",
            remedy=GET_DRIVER,
            details={"driver": version},
        )
    return version


def _is_loaded(machine: Machine) -> bool:
    if machine.system == "win32":
        return True  # told by its library alone
    return any(
        machine.at(path).exists()
        for path in (
            "/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg",
            "/dev/nvhost-ctrl-gpu", "/dev/nvgpu",
        )
    )  # fmt: skip


def _loaded_version(machine: Machine) -> str:
    found = re.search(
        r"Kernel Module\D*(?:x86_64|aarch64)?\s+(\d+(?:\.\d+)+)",
        machine.text("/proc/driver/nvidia/version"),
    )
    return found[1] if found else ""


def _version_of(library: Path) -> str:
    """Return the version in the name of the file that a library's link leads to."""
    found = re.search(r"\.so\.(\d+\.\d+(?:\.\d+)*)$", str(library.resolve()))
    return found[1] if found else ""


def _library(machine: Machine) -> Path | None:
    if machine.system == "win32":
        windows = machine.environ.get("SystemRoot", "C:/Windows")
        return _first([Path(windows, "System32", "nvcuda.dll")])
    triple = f"{machine.processor}-linux-gnu"
    folders = [*filter(None, machine.environ.get("LD_LIBRARY_PATH", "").split(":"))]
    folders += [
        "/usr/local/cuda/compat", "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib",
        f"/usr/lib/{triple}", f"/usr/lib/{triple}/nvidia", f"/usr/lib/{triple}/tegra",
        f"/lib/{triple}", "/usr/lib64", "/usr/lib64/nvidia", "/usr/lib", "/lib64",
        "/usr/lib/wsl/lib", "/run/opengl-driver/lib",
    ]  # fmt: skip
    paths = [machine.at(f"{folder}/libcuda.so.1") for folder in folders]
    return _first(paths) or _linked(machine)


def _linked(machine: Machine) -> Path | None:
    """Return where the dynamic linker's own list says the library is."""
    try:
        listed = machine.at("/etc/ld.so.cache").read_bytes()
    except OSError:
        return None
    names = re.findall(rb"(/[^\0]+/libcuda\.so\.1)\0", listed)
    return _first([machine.at(os.fsdecode(name)) for name in names])


def _first(paths: Sequence[Path]) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def present(machine: Machine) -> list[Card]:
    """Return the GPUs there are, in the order of their numbers."""
    if machine.system == "win32" or _has_one(machine):
        return [Card()]
    numbers = {
        int(path.name.removeprefix("nvidia"))
        for path in _listed(machine, "/dev")
        if re.fullmatch(r"nvidia\d+", path.name)
    }
    told = {}
    for folder in _listed(machine, "/proc/driver/nvidia/gpus"):
        text = machine.text(f"/proc/driver/nvidia/gpus/{folder.name}/information")
        lines = dict(re.findall(r"^([^:\n]+):\s*(.*?)\s*$", text, re.MULTILINE))
        number = lines.get("Device Minor", "")
        if number.isdigit():
            told[int(number)] = Card(lines.get("Model", ""), lines.get("GPU UUID", ""))
    return [told.get(number, Card()) for number in sorted(numbers)]


def _has_one(machine: Machine) -> bool:
    """Whether the GPU is reached by other files, which do not tell how many there are."""
    if machine.at("/dev/nvidia0").exists():
        return False
    paths = ("/dev/dxg", "/dev/nvhost-ctrl-gpu", "/dev/nvgpu")
    return any(machine.at(path).exists() for path in paths)


def _listed(machine: Machine, path: str) -> list[Path]:
    try:
        return sorted(machine.at(path).iterdir())
    except OSError:
        return []


def visible(cards: Sequence[Card], asked: str | None) -> list[Card]:
    """Return what ``CUDA_VISIBLE_DEVICES`` leaves of the GPUs.

    As CUDA has it: numbers or beginnings of UUIDs, up to the first that is none.
    """
    if asked is None:
        return list(cards)
    found: list[Card] = []
    for word in asked.split(","):
        card = _meant(word.strip(), cards)
        if card is None or (card in found and card.uuid):
            break
        found.append(card)
    return found


def _meant(word: str, cards: Sequence[Card]) -> Card | None:
    if re.fullmatch(r"\d+", word):
        return cards[int(word)] if int(word) < len(cards) else None
    if word.startswith("MIG-"):
        return Card(word) if cards else None
    if not word.startswith("GPU-"):
        return None
    if not any(card.uuid for card in cards):
        return Card(uuid=word) if cards else None
    matching = [card for card in cards if card.uuid.startswith(word)]
    return matching[0] if len(matching) == 1 else None


def _none_visible(machine: Machine, details: Mapping[str, str]) -> Probe:
    asked = machine.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None and present(machine):
        return Probe(
            reason=f"CUDA_VISIBLE_DEVICES is {asked!r}, which leaves no GPU",
            remedy="unset CUDA_VISIBLE_DEVICES, or name a GPU: CUDA_VISIBLE_DEVICES=0",
            details=details,
        )
    return Probe(
        reason="the NVIDIA driver is loaded and there is no GPU (/dev/nvidia0)",
        remedy=IN_CONTAINER,
        details=details,
    )
